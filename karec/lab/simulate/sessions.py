"""A day of users: sessions of pages, made by the real cascade, with feedback by the users' hidden tastes.

``Request.shown`` has the works that the user was shown earlier on this day, which the snapshot does not have
yet. The time of an impression is that of its page, so that the rank log and the feedback can be joined.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.snapshot import Snapshot
from karec.exposure.controller import ExposureController
from karec.exposure.counters import PageImpressions
from karec.lab.simulate.population import PAGE, Population
from karec.lab.simulate.returns import (
    MAX_PAGES,
    PAGE_MS,
    PAGE_PROBABILITY,
    VISIT_PROBABILITY,
    next_level,
    visit_probability,
)
from karec.lab.simulate.world.feedback import (
    expected_play_ms,
    feedback_coins,
    feedback_labels,
    realised_play_ms,
)
from karec.lab.simulate.world.tastes import SCENES, TASKS
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Request

SCENE = "home"
LOG_INTERVAL = 10  # if the arm learns, one of this many potential sessions is logged
FLUSH_INTERVAL = 50  # logged requests between two flushes: a full side-effect queue drops requests
EXPECTED = ("p_play_s", "p_long_view", "p_like", "p_follow")
NEVER = 2**63 - 1  # ms
COLUMNS = ("user", "session", "position", "work", "time_ms", "play_ms", *TASKS, *EXPECTED)

CountedPage = tuple[int, int, PageImpressions]  # time, user, impressions: counted in this order


@dataclass(frozen=True, eq=False)
class SimulatedDay:
    """The cascades of one day, on the bundle of ``snapshot``, the platform at the beginning of the day.

    ``number``: of the day, from 0. ``cascade`` makes pages; ``logging_cascade`` also writes the rank
    log (None: no log). ``exposure``: the exposure controller of both; None without exposure control.
    ``returns``: scale of the effect of enjoyment on sessions.
    """

    population: Population
    number: int
    snapshot: Snapshot
    cascade: Cascade
    logging_cascade: Cascade | None = None
    exposure: ExposureController | None = None
    returns: float = 1.0


@dataclass(frozen=True, eq=False)
class DayResult:
    """A day of some users. ``impressions``: {column: (M,)} of COLUMNS, of each user in time order.

    ``users`` (V,) had potential sessions; ``levels`` (V,), ``recent_works`` (V, window) and ``sessions`` (V,)
    are their state at the end of the day. ``ms``: time of all requests.
    """

    users: NDArray[Any]
    levels: NDArray[Any]
    recent_works: NDArray[Any]
    sessions: NDArray[Any]
    impressions: dict[str, NDArray[Any]]
    requests: int
    ms: float

    @classmethod
    def from_parts(cls, parts: Sequence[DayResult]) -> DayResult:
        def concatenate(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(part, name) for part in parts])

        return cls(
            users=concatenate("users"),
            levels=concatenate("levels"),
            recent_works=concatenate("recent_works"),
            sessions=concatenate("sessions"),
            impressions={
                name: np.concatenate([part.impressions[name] for part in parts]) for name in COLUMNS
            },
            requests=sum(part.requests for part in parts),
            ms=sum(part.ms for part in parts),
        )


class Players:
    """Some users during one day.

    ``visits`` (N,): all their potential sessions of this day, as rows of the population's ``visits``.
    ``levels`` (U,) and ``recent_works`` (U, window) are the state of all users at the beginning of the day.
    """

    def __init__(
        self, day: SimulatedDay, visits: NDArray[Any], levels: NDArray[Any], recent_works: NDArray[Any]
    ) -> None:
        self._diary = _Diary()
        self._logging_cascade = day.logging_cascade
        self._user_rows, starts = np.unique(day.population.visits.user[visits], return_index=True)
        visits_of_users = np.split(visits, starts[1:]) if len(starts) else []
        self._users = [_User(day, int(user), levels, recent_works, self._diary) for user in self._user_rows]
        self._pages = [user.pages(rows) for user, rows in zip(self._users, visits_of_users, strict=True)]
        self._next_ms = [next(pages, NEVER) for pages in self._pages]
        self._width = recent_works.shape[1]

    def play(self, until_ms: int) -> list[CountedPage]:
        """Plays every page before ``until_ms``. Returns those that exposure control counts."""
        for n, pages in enumerate(self._pages):
            while self._next_ms[n] < until_ms:
                self._next_ms[n] = next(pages, NEVER)
        if self._logging_cascade is not None and self._diary.n_unflushed:
            self._diary.flush(self._logging_cascade)
        counted = self._diary.counted
        self._diary.counted = []
        return counted

    def result(self) -> DayResult:
        impressions = {}
        for name in COLUMNS:
            empty = np.empty(0, _dtype(name))
            impressions[name] = np.concatenate(
                [empty, *self._diary.pages[name]], dtype=empty.dtype, casting="same_kind"
            )
        return DayResult(
            users=self._user_rows,
            levels=np.array([user.level for user in self._users], np.float64),
            recent_works=np.array([user.recent_works for user in self._users], np.int32).reshape(
                len(self._users), self._width
            ),
            sessions=np.array([user.sessions for user in self._users], np.int32),
            impressions=impressions,
            requests=self._diary.requests,
            ms=self._diary.ms,
        )


def _dtype(name: str) -> type[np.generic]:
    if name in TASKS:
        return np.uint8
    return np.float32 if name in EXPECTED else np.int64


@dataclass
class _Diary:
    """Pages in the order of requests."""

    pages: dict[str, list[NDArray[Any]]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    counted: list[CountedPage] = field(default_factory=list)
    requests: int = 0
    n_unflushed: int = 0  # logged requests since the last flush
    ms: float = 0.0

    def flush(self, logging_cascade: Cascade) -> None:
        for queue in logging_cascade.side_effects:
            queue.flush()
        self.n_unflushed = 0


class _User:
    """One user on one day."""

    def __init__(
        self, day: SimulatedDay, user: int, levels: NDArray[Any], recent_works: NDArray[Any], diary: _Diary
    ) -> None:
        self.day = day
        self.user = user
        self.diary = diary
        self.level = float(levels[user])
        self.start_level = float(day.population.levels[user])
        self.recent_works: NDArray[Any] = recent_works[user]
        self.sessions = 0
        self.shown_ids: list[int] = []
        self.followed_ids = set(day.snapshot.relations["follows"].row_values(user).tolist())

    def pages(self, visits: NDArray[Any]) -> Iterator[int]:
        """Yields the time of each page in ms before it is requested."""
        all_visits = self.day.population.visits
        for visit in visits.tolist():
            if all_visits.coin[visit] < self._probability(VISIT_PROBABILITY):
                yield from self._session(visit)
                self.sessions += 1

    def _session(self, visit: int) -> Iterator[int]:
        visits = self.day.population.visits
        for page in range(MAX_PAGES):
            time_ms = int(visits.start_ms[visit]) + page * PAGE_MS
            yield time_ms
            works = self._request_page(visit, page, time_ms)
            if not len(works):
                return
            self._give_feedback(works, page, time_ms)
            if page < MAX_PAGES - 1 and visits.page_coins[visit, page] >= self._probability(PAGE_PROBABILITY):
                return

    def _probability(self, base: float) -> float:
        return visit_probability(self.level, self.start_level, base, self.day.returns)

    def _request_page(self, visit: int, page: int, time_ms: int) -> NDArray[Any]:
        """Requests a page and returns its (N,) work rows."""
        day, diary, population = self.day, self.diary, self.day.population
        request = Request(
            int(population.snapshot.users.ids[self.user]),
            k=PAGE,
            scene=SCENE,
            time_ms=time_ms,
            shown=tuple(self.shown_ids),
            request_id=f"{day.number}-{self.user}-{self.sessions}-{page}",
        )
        logging_cascade = day.logging_cascade if visit % LOG_INTERVAL == 0 else None
        begin = time.perf_counter()
        candidates = (logging_cascade or day.cascade).run(request).candidates
        diary.ms += 1e3 * (time.perf_counter() - begin)
        diary.requests += 1
        if logging_cascade is not None:
            diary.n_unflushed += 1
            if diary.n_unflushed == FLUSH_INTERVAL:
                diary.flush(logging_cascade)
        ids = candidates.ids
        self.shown_ids += ids.tolist()
        if day.exposure is not None:
            with day.exposure.index.pinned() as view:
                impressions = day.exposure.page_impressions(request.with_view(view), candidates)
            diary.counted.append((time_ms, self.user, impressions))
        return population.snapshot.works.lookup(ids)

    def _give_feedback(self, work: NDArray[Any], page: int, time_ms: int) -> None:
        truth = self.day.population.truth
        n = len(work)
        user = np.full(n, self.user)
        recent = self.recent_works[self.recent_works >= 0]
        counts = truth.repeats(np.zeros(len(recent) + n, np.int64), np.concatenate([recent, work]))
        repeats = {cause: count[len(recent) :] for cause, count in counts.items()}
        scene = SCENES.index(SCENE)
        probabilities = truth.probabilities(user, work, time_ms=time_ms, scene=scene, repeats=repeats)
        creators = self.day.population.snapshot.works["creator_id"][work].tolist()
        probabilities["follow"] = np.where(
            [creator in self.followed_ids for creator in creators], np.float32(0), probabilities["follow"]
        )
        coins = feedback_coins(truth, user, work)
        feedback = feedback_labels(probabilities, coins)
        for place in np.flatnonzero(feedback["follow"]).tolist():  # at most one follow per creator
            feedback["follow"][place] = creators[place] not in self.followed_ids
            self.followed_ids.add(creators[place])
        duration_ms = truth.works.duration_ms[work]
        expected = {f"p_{task}": probabilities[task] for task in ("long_view", "like", "follow")}
        columns = {
            "user": user,
            "session": np.full(n, self.sessions),
            "position": page * PAGE + np.arange(n),
            "work": work,
            "time_ms": np.full(n, time_ms),
            "play_ms": realised_play_ms(duration_ms, feedback, coins["play"]),
            "p_play_s": expected_play_ms(duration_ms, probabilities) / 1000.0,
            **feedback,
            **expected,
        }
        for name in COLUMNS:
            self.diary.pages[name].append(columns[name])
        self.level = next_level(self.level, probabilities["long_view"])
        n_recent = len(self.recent_works)
        self.recent_works = np.concatenate([self.recent_works, work])[-n_recent:].astype(np.int32)
