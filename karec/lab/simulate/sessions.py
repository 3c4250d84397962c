"""A day of users: sessions of pages, each page answered by the real cascade, each work by the user's hidden
tastes.

``Request.shown`` holds what the user was shown today, in all sessions, which the snapshot does not know yet.
The moment of a work is that of its page, so that the rank log and what users did can be joined.
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
from karec.lab.simulate.returns import MORE, MOST_PAGES, PAGE_MS, chance, moved
from karec.lab.simulate.world.answers import coins_of, expected_play_ms, outcomes, play_ms_of
from karec.lab.simulate.world.tastes import SCENES, TASKS
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Request

SCENE = "home"
LOGGED_EACH = 10  # one potential session in so many is logged, where an arm learns
# logged requests between two waits for the observers, which would drop what they cannot keep up with
FLUSHED_EACH = 50
EXPECTED = ("p_play_s", "p_long_view", "p_like", "p_follow")
NEVER = 2**63 - 1  # ms
COLUMNS = ("user", "session", "position", "work", "time_ms", "play_ms", *TASKS, *EXPECTED)

Counted = tuple[int, int, PageImpressions]  # time, user, impressions: counted in this order


@dataclass(frozen=True, eq=False)
class Today:
    """What serves on one day: ``cascade`` answers, ``logged`` answers and logs (None: nothing is logged),
    both of the bundle of ``snapshot``, the platform as it was when the day began. ``exposure``: the
    controller of both; None if the arm has no exposure control.
    """

    population: Population
    day: int
    snapshot: Snapshot
    cascade: Cascade
    logged: Cascade | None = None
    exposure: ExposureController | None = None


@dataclass(frozen=True, eq=False)
class Played:
    """A day of some users. ``shown`` {column: (M,)} of COLUMNS, each user's in order of time.

    ``users (V,)`` had potential sessions; ``levels (V,)``, ``lately (V, window)`` and ``sessions (V,)`` are
    theirs at the day's end. ``ms``: what the requests took, all together.
    """

    users: NDArray[Any]
    levels: NDArray[Any]
    lately: NDArray[Any]
    sessions: NDArray[Any]
    shown: dict[str, NDArray[Any]]
    requests: int
    ms: float

    @classmethod
    def joined(cls, parts: Sequence[Played]) -> Played:
        """The parts one after the other."""

        def each(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(part, name) for part in parts])

        shown = {name: np.concatenate([part.shown[name] for part in parts]) for name in COLUMNS}
        requests, ms = sum(part.requests for part in parts), sum(part.ms for part in parts)
        return cls(each("users"), each("levels"), each("lately"), each("sessions"), shown, requests, ms)


class Players:
    """Some users on one day, as far as it was played.

    ``visits (N,)``: all their potential sessions, rows of the population's ``visits`` of this day; ``levels
    (U,)``, ``lately (U, window)``: as the day began.
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
        """Plays every page before ``until_ms``; returns their impressions if the arm has exposure control."""
        for at, pages in enumerate(self._pages):
            while self._next[at] < until_ms:
                self._next[at] = next(pages, NEVER)
        if self._today.logged is not None:
            for queue in self._today.logged.side_effects:
                queue.flush()
        counted, self._diary.counted = self._diary.counted, []
        return counted

    def played(self) -> Played:
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
    """Pages as they come."""

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
        """The moment of each page before it is asked for, ms; it is when the next one is wanted."""
        of = self.today.population.visits
        for visit in visits.tolist():
            if of.coin[visit] < chance(self.level, self.start):
                yield from self._session(visit)
                self.sessions += 1

    def _session(self, visit: int) -> Iterator[int]:
        of = self.today.population.visits
        for page in range(MOST_PAGES):
            moment = int(of.start_ms[visit]) + page * PAGE_MS
            yield moment
            work = self._ask(visit, page, moment)
            if not len(work):
                return
            self._answer(work, page, moment)
            if page < MOST_PAGES - 1 and of.more[visit, page] >= chance(self.level, self.start, MORE):
                return

    def _ask(self, visit: int, page: int, moment: int) -> NDArray[Any]:
        """(N,) work rows of a page."""
        today, diary, population = self.today, self.diary, self.today.population
        request = Request(
            int(population.snapshot.users.ids[self.user]),
            k=PAGE,
            scene=SCENE,
            time_ms=moment,
            shown=tuple(self.shown),
            request_id=f"{today.day}-{self.user}-{self.sessions}-{page}",
        )
        logged = today.logged if visit % LOGGED_EACH == 0 else None
        begin = time.perf_counter()
        feed = (logged or today.cascade).run(request)
        diary.ms += 1e3 * (time.perf_counter() - begin)
        diary.requests += 1
        if logged is not None:
            diary.logged += 1
            if diary.logged % FLUSHED_EACH == 0:
                for queue in logged.side_effects:
                    queue.flush()
        ids = feed.candidates.ids
        self.shown += ids.tolist()
        if today.exposure is not None:
            with today.exposure.index.pinned() as view:
                counted = today.exposure.page_impressions(request.with_view(view), feed.candidates)
            diary.counted.append((moment, self.user, counted))
        return population.snapshot.works.lookup(ids)

    def _answer(self, work: NDArray[Any], page: int, moment: int) -> None:
        truth = self.today.population.truth
        n, user = len(work), np.full(len(work), self.user)
        before = self.recent[self.recent >= 0]
        alike = truth.repeats(np.zeros(len(before) + n, np.int64), np.concatenate([before, work]))
        repeats = {cause: count[len(before) :] for cause, count in alike.items()}
        scene = SCENES.index(SCENE)
        chances = truth.probabilities(user, work, time_ms=moment, scene=scene, repeats=repeats)
        creators = self.today.population.snapshot.works["creator_id"][work].tolist()
        chances["follow"] = np.where([c in self.followed for c in creators], np.float32(0), chances["follow"])
        coins = coins_of(truth, user, work)
        did = outcomes(chances, coins)
        for at in np.flatnonzero(did["follow"]).tolist():  # of two works of one creator the first is the one
            did["follow"][at] = creators[at] not in self.followed
            self.followed.add(creators[at])
        duration = truth.works.duration_ms[work]
        expected = {f"p_{task}": chances[task] for task in ("long_view", "like", "follow")}
        page_of = {
            "user": user,
            "session": np.full(n, self.sessions),
            "position": page * PAGE + np.arange(n),
            "work": work,
            "time_ms": np.full(n, moment),
            "play_ms": play_ms_of(duration, did, coins["play"]),
            "p_play_s": expected_play_ms(duration, chances) / 1000.0,
            **did,
            **expected,
        }
        for name in COLUMNS:
            self.diary.pages[name].append(page_of[name])
        self.level = moved(self.level, chances["long_view"])
        self.recent = np.concatenate([self.recent, work])[-len(self.recent) :].astype(np.int32)
