"""A day of users: sessions of pages, made by the real cascade, with feedback by the users' hidden tastes.

``Request.shown`` has the works shown to the user today in all sessions, which the snapshot does not have yet.
The time of an impression is that of its page, so that the rank log and the feedback can be joined.
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
from karec.lab.simulate.returns import MAX_PAGES, MORE, PAGE_MS, next_level, visit_probability
from karec.lab.simulate.world.answers import coins_of, expected_play_ms, outcomes, play_ms_of
from karec.lab.simulate.world.tastes import SCENES, TASKS
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Request

SCENE = "home"
LOG_INTERVAL = 10  # if the arm learns, one of this many potential sessions is logged
FLUSH_INTERVAL = 50  # logged requests between two flushes: a full side-effect queue drops requests
EXPECTED = ("p_play_s", "p_long_view", "p_like", "p_follow")
NEVER = 2**63 - 1  # ms
COLUMNS = ("user", "session", "position", "work", "time_ms", "play_ms", *TASKS, *EXPECTED)

Counted = tuple[int, int, PageImpressions]  # time, user, impressions: counted in this order


@dataclass(frozen=True, eq=False)
class Today:
    """The cascades of one day, on the bundle of ``snapshot``, the platform at the beginning of the day.

    ``cascade`` makes pages; ``logged`` also writes the rank log (None: no log). ``exposure``: the exposure
    controller of both; None without exposure control.
    """

    population: Population
    day: int
    snapshot: Snapshot
    cascade: Cascade
    logged: Cascade | None = None
    exposure: ExposureController | None = None


@dataclass(frozen=True, eq=False)
class Played:
    """A day of some users. ``shown``: {column: (M,)} of COLUMNS, of each user in time order.

    ``users`` (V,) had potential sessions; ``levels`` (V,), ``lately`` (V, window) and ``sessions`` (V,) are
    their
    state at the end of the day. ``ms``: time of all requests.
    """

    users: NDArray[Any]
    levels: NDArray[Any]
    lately: NDArray[Any]
    sessions: NDArray[Any]
    shown: dict[str, NDArray[Any]]
    requests: int
    ms: float

    @classmethod
    def from_parts(cls, parts: Sequence[Played]) -> Played:

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(part, name) for part in parts])

        shown = {name: np.concatenate([part.shown[name] for part in parts]) for name in COLUMNS}
        requests, ms = sum(part.requests for part in parts), sum(part.ms for part in parts)
        return cls(
            joined("users"), joined("levels"), joined("lately"), joined("sessions"), shown, requests, ms
        )


class Players:
    """Some users during one day.

    ``visits`` (N,): all their potential sessions, rows of the population's ``visits`` of this day; ``levels``
    (U,), ``lately`` (U, window): at the beginning of the day.
    """

    def __init__(
        self, today: Today, visits: NDArray[Any], levels: NDArray[Any], lately: NDArray[Any]
    ) -> None:
        self._today, self._diary = today, _Diary()
        self._ids, first = np.unique(today.population.visits.user[visits], return_index=True)
        cuts = np.split(visits, first[1:]) if len(first) else []
        self._users = [_User(today, int(user), levels, lately, self._diary) for user in self._ids]
        self._pages = [user.pages(rows) for user, rows in zip(self._users, cuts, strict=True)]
        self._next = [next(pages, NEVER) for pages in self._pages]
        self._width = lately.shape[1]

    def play(self, until_ms: int = NEVER) -> list[Counted]:
        """Plays every page before ``until_ms``. Returns what exposure control must count of them."""
        for n, pages in enumerate(self._pages):
            while self._next[n] < until_ms:
                self._next[n] = next(pages, NEVER)
        if self._today.logged is not None:
            for queue in self._today.logged.side_effects:
                queue.flush()
        counted, self._diary.counted = self._diary.counted, []
        return counted

    def result(self) -> Played:
        shown = {}
        for name in COLUMNS:
            nothing = np.empty(0, _dtype(name))
            shown[name] = np.concatenate(
                [nothing, *self._diary.pages[name]], dtype=nothing.dtype, casting="same_kind"
            )
        return Played(
            users=self._ids,
            levels=np.array([user.level for user in self._users], np.float64),
            lately=np.array([user.recent for user in self._users], np.int32).reshape(
                len(self._users), self._width
            ),
            sessions=np.array([user.sessions for user in self._users], np.int32),
            shown=shown,
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
    counted: list[Counted] = field(default_factory=list)
    requests: int = 0
    logged: int = 0
    ms: float = 0.0


class _User:
    """One user on one day."""

    def __init__(
        self, today: Today, user: int, levels: NDArray[Any], lately: NDArray[Any], diary: _Diary
    ) -> None:
        self.today, self.user, self.diary = today, user, diary
        self.level, self.start = float(levels[user]), float(today.population.levels[user])
        self.recent: NDArray[Any] = lately[user]
        self.sessions = 0
        self.shown: list[int] = []
        follows = today.snapshot.relations["follows"].row_values(user)
        self.followed = set(follows.tolist())

    def pages(self, visits: NDArray[Any]) -> Iterator[int]:
        """Yields the time of each page in ms before it is requested."""
        all_visits = self.today.population.visits
        for visit in visits.tolist():
            if all_visits.coin[visit] < visit_probability(self.level, self.start):
                yield from self._session(visit)
                self.sessions += 1

    def _session(self, visit: int) -> Iterator[int]:
        visits = self.today.population.visits
        for page in range(MAX_PAGES):
            time_ms = int(visits.start_ms[visit]) + page * PAGE_MS
            yield time_ms
            works = self._request_page(visit, page, time_ms)
            if not len(works):
                return
            self._give_feedback(works, page, time_ms)
            if page < MAX_PAGES - 1 and visits.more[visit, page] >= visit_probability(
                self.level, self.start, MORE
            ):
                return

    def _request_page(self, visit: int, page: int, time_ms: int) -> NDArray[Any]:
        """Requests a page and returns its (N,) work rows."""
        today, diary, population = self.today, self.diary, self.today.population
        request = Request(
            int(population.snapshot.users.ids[self.user]),
            k=PAGE,
            scene=SCENE,
            time_ms=time_ms,
            shown=tuple(self.shown),
            request_id=f"{today.day}-{self.user}-{self.sessions}-{page}",
        )
        logged = today.logged if visit % LOG_INTERVAL == 0 else None
        begin = time.perf_counter()
        page_result = (logged or today.cascade).run(request)
        diary.ms += 1e3 * (time.perf_counter() - begin)
        diary.requests += 1
        if logged is not None:
            diary.logged += 1
            if diary.logged % FLUSH_INTERVAL == 0:
                for queue in logged.side_effects:
                    queue.flush()
        ids = page_result.candidates.ids
        self.shown += ids.tolist()
        if today.exposure is not None:
            with today.exposure.index.pinned() as view:
                counted = today.exposure.page_impressions(request.with_view(view), page_result.candidates)
            diary.counted.append((time_ms, self.user, counted))
        return population.snapshot.works.lookup(ids)

    def _give_feedback(self, work: NDArray[Any], page: int, time_ms: int) -> None:
        truth = self.today.population.truth
        n, user = len(work), np.full(len(work), self.user)
        recent = self.recent[self.recent >= 0]
        counts = truth.repeats(np.zeros(len(recent) + n, np.int64), np.concatenate([recent, work]))
        repeats = {cause: count[len(recent) :] for cause, count in counts.items()}
        scene = SCENES.index(SCENE)
        probabilities = truth.probabilities(user, work, time_ms=time_ms, scene=scene, repeats=repeats)
        creators = self.today.population.snapshot.works["creator_id"][work].tolist()
        probabilities["follow"] = np.where(
            [creator in self.followed for creator in creators], np.float32(0), probabilities["follow"]
        )
        coins = coins_of(truth, user, work)
        feedback = outcomes(probabilities, coins)
        for place in np.flatnonzero(feedback["follow"]).tolist():  # at most one follow per creator
            feedback["follow"][place] = creators[place] not in self.followed
            self.followed.add(creators[place])
        duration_ms = truth.works.duration_ms[work]
        expected = {f"p_{task}": probabilities[task] for task in ("long_view", "like", "follow")}
        columns = {
            "user": user,
            "session": np.full(n, self.sessions),
            "position": page * PAGE + np.arange(n),
            "work": work,
            "time_ms": np.full(n, time_ms),
            "play_ms": play_ms_of(duration_ms, feedback, coins["play"]),
            "p_play_s": expected_play_ms(duration_ms, probabilities) / 1000.0,
            **feedback,
            **expected,
        }
        for name in COLUMNS:
            self.diary.pages[name].append(columns[name])
        self.level = next_level(self.level, probabilities["long_view"])
        self.recent = np.concatenate([self.recent, work])[-len(self.recent) :].astype(np.int32)
