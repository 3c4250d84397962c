"""A day of users: sessions of pages, each page answered by the real cascade, each work by the user's hidden tastes.

``Request.shown`` holds what the user was shown today, in all sessions, which the snapshot does not know yet. The moment
of a work is that of its page, so that the rank log and what users did can be joined.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from karec.cascade import Cascade
from karec.platform.snapshot import Snapshot
from karec.simulate.population import PAGE, Population
from karec.simulate.returns import MORE, MOST_PAGES, PAGE_MS, chance, moved
from karec.simulate.world.answers import coins_of, expected_play_ms, outcomes, play_ms_of
from karec.simulate.world.tastes import SCENES, TASKS
from karec.types import Array, Request

SCENE = "home"
LOGGED_EACH = 10  # one potential session in so many is logged, where an arm learns
FLUSHED_EACH = 50  # logged requests between two waits for the observers, which would drop what they cannot keep up with
EXPECTED = ("p_play_s", "p_long_view", "p_like", "p_follow")
COLUMNS = ("user", "session", "position", "work", "time_ms", "play_ms", *TASKS, *EXPECTED)


@dataclass(frozen=True, eq=False)
class Today:
    """What serves on one day: ``cascade`` answers, ``logged`` answers and logs (None: nothing is logged), both of the
    bundle of ``snapshot``, the platform as it was when the day began.
    """

    population: Population
    day: int
    snapshot: Snapshot
    cascade: Cascade
    logged: Cascade | None = None


@dataclass(frozen=True, eq=False)
class Played:
    """A day of some users. ``shown`` {column: (M,)} of COLUMNS, user by user, each in order of time.

    ``users (V,)`` had potential sessions; ``levels (V,)``, ``lately (V, window)`` and ``sessions (V,)`` are theirs at
    the day's end. ``ms``: what the requests took, all together.
    """

    users: Array
    levels: Array
    lately: Array
    sessions: Array
    shown: dict[str, Array]
    requests: int
    ms: float

    @classmethod
    def joined(cls, parts: Sequence[Played]) -> Played:
        """The parts one after the other."""

        def each(name: str) -> Array:
            return np.concatenate([getattr(part, name) for part in parts])

        shown = {name: np.concatenate([part.shown[name] for part in parts]) for name in COLUMNS}
        requests, ms = sum(part.requests for part in parts), sum(part.ms for part in parts)
        return cls(each("users"), each("levels"), each("lately"), each("sessions"), shown, requests, ms)


def play(today: Today, visits: Array, levels: Array, lately: Array) -> Played:
    """The potential sessions ``visits (N,)``, rows of the population's ``visits`` of this day, of whole users.

    ``levels (U,)``, ``lately (U, window)``: as the day began.
    """
    population = today.population
    users, first = np.unique(population.visits.user[visits], return_index=True)
    cuts = np.split(visits, first[1:]) if len(users) else []
    diary = _Diary()
    ends = [_User(today, int(user), levels, lately).day(rows, diary) for user, rows in zip(users, cuts, strict=True)]
    if today.logged is not None:
        for queue in today.logged.observers:
            queue.flush()
    shown = {}
    for name in COLUMNS:
        nothing = np.empty(0, _dtype(name))
        shown[name] = np.concatenate([nothing, *diary.pages[name]], dtype=nothing.dtype, casting="same_kind")
    width = lately.shape[1]
    return Played(
        users=users,
        levels=np.array([level for level, _, _ in ends], np.float64),
        lately=np.array([recent for _, recent, _ in ends], np.int32).reshape(len(users), width),
        sessions=np.array([sessions for _, _, sessions in ends], np.int32),
        shown=shown,
        requests=diary.requests,
        ms=diary.ms,
    )


def _dtype(name: str) -> type[np.generic]:
    if name in TASKS:
        return np.uint8
    return np.float32 if name in EXPECTED else np.int64


@dataclass
class _Diary:
    """Pages as they come."""

    pages: dict[str, list[Array]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    requests: int = 0
    logged: int = 0
    ms: float = 0.0


class _User:
    """One user on one day."""

    def __init__(self, today: Today, user: int, levels: Array, lately: Array) -> None:
        self.today, self.user = today, user
        self.level, self.start = float(levels[user]), float(today.population.levels[user])
        self.recent: Array = lately[user]
        self.shown: list[int] = []
        follows = today.snapshot.relations["follows"].of(user)
        self.followed = set(follows.tolist())

    def day(self, visits: Array, diary: _Diary) -> tuple[float, Array, int]:
        """(level, the works shown last, how many sessions) when the day is over."""
        of = self.today.population.visits
        session = 0
        for visit in visits.tolist():
            if of.coin[visit] < chance(self.level, self.start):
                self._session(visit, session, diary)
                session += 1
        return self.level, self.recent, session

    def _session(self, visit: int, session: int, diary: _Diary) -> None:
        of = self.today.population.visits
        for page in range(MOST_PAGES):
            moment = int(of.start_ms[visit]) + page * PAGE_MS
            work = self._ask(visit, session, page, moment, diary)
            if not len(work):
                return
            self._answer(work, session, page, moment, diary)
            if page < MOST_PAGES - 1 and of.more[visit, page] >= chance(self.level, self.start, MORE):
                return

    def _ask(self, visit: int, session: int, page: int, moment: int, diary: _Diary) -> Array:
        """(N,) work rows of a page."""
        today, population = self.today, self.today.population
        request = Request(
            int(population.snapshot.users.ids[self.user]),
            k=PAGE,
            scene=SCENE,
            time_ms=moment,
            shown=tuple(self.shown),
            request_id=f"{today.day}-{self.user}-{session}-{page}",
        )
        logged = today.logged if visit % LOGGED_EACH == 0 else None
        begin = time.perf_counter()
        feed = (logged or today.cascade).run(request)
        diary.ms += 1e3 * (time.perf_counter() - begin)
        diary.requests += 1
        if logged is not None:
            diary.logged += 1
            if diary.logged % FLUSHED_EACH == 0:
                for queue in logged.observers:
                    queue.flush()
        ids = feed.candidates.ids
        self.shown += ids.tolist()
        return population.snapshot.works.lookup(ids)

    def _answer(self, work: Array, session: int, page: int, moment: int, diary: _Diary) -> None:
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
            "session": np.full(n, session),
            "position": page * PAGE + np.arange(n),
            "work": work,
            "time_ms": np.full(n, moment),
            "play_ms": play_ms_of(duration, did, coins["play"]),
            "p_play_s": expected_play_ms(duration, chances) / 1000.0,
            **did,
            **expected,
        }
        for name in COLUMNS:
            diary.pages[name].append(page_of[name])
        self.level = moved(self.level, chances["long_view"])
        self.recent = np.concatenate([self.recent, work])[-len(self.recent) :].astype(np.int32)
