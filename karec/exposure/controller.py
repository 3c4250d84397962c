"""Steering of exposure in one scene: constraints, their prices, and what feeds showed.
``[scenes.NAME.exposure]``.

Threads    Requests read: each takes one version of the prices, an immutable struct, for all its steps
           (``at``). The observer ``exposures`` writes: it counts feeds on its own thread, after the answer,
           and puts a new version in place by one assignment. A lock admits one writer; no reader waits for
           it.
Processes  With ``state``, the processes that serve a scene share one ledger: a file. Each keeps the feeds
           that it has not counted yet, and then, under a lock on a file beside it, reads the ledger, counts
           them, and puts the new one in place, once a second: the file is read and written whole. Without,
           every process has prices of its own. What others showed reaches a process's boosts within a minute,
           and its other prices with its own next feeds.
Fork       ``os.fork()`` waits for a writer that has begun. The child goes on from the same ledger, without
           the feeds that were held back: the parent counts those.
Swap       A cascade that takes the place of another one hands the ledger on: ``hand_over``.
Loop       A simulation asks in several processes and counts in one: ``feed`` there, ``count`` here,
           ``follow`` there.
Order      The ledger depends on the feeds and their order alone. Prices are published every ``PUBLISH_FEEDS``
           feeds, with ``state`` once a second, or when the observer flushes.
Moments    A feed that says that it is of the future counts as of now, by this machine's clock: else nothing
           that was shown would fade until then. Whoever calls ``count`` says what the time is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec._stored import MOST_JSON_BYTES, json_of, read_bytes
from karec.catalog.schema import CREATOR
from karec.catalog.snapshot import Snapshot
from karec.exposure.by_id import Keyed
from karec.exposure.constraints import (
    MOST_HOURS,
    Cap,
    Floor,
    Spread,
    Target,
    absent_values,
    check_columns,
    check_together,
)
from karec.exposure.control import Law
from karec.exposure.counters import ExposureCounters, Feed
from karec.exposure.dual_variables import Prices, groups_of
from karec.exposure.forked import safe_in_forks
from karec.exposure.lifted import Lifted
from karec.exposure.locked import locked, shared_file
from karec.exposure.rates import Rates
from karec.files import write_text_aside
from karec.index import ItemIndex
from karec.pipeline.types import Candidates, Request

PUBLISH_FEEDS = 10
KEPT_VERSIONS = 64  # a request that outlives so many takes the newest prices
SHARED_SECONDS = 1.0  # between two times that a process reads and writes the file of its state
MOST_HELD = 10_000  # feeds that are held back while the state file cannot be written


class Steering:
    """What a scene wants of exposure, and the prices that it has come to.

    targets, caps, floors,
    spread                  see ``karec.exposure.constraints``
    places_a_day            how many works the scene shows a day; floors need it
    explore                 at most so many places of a feed go to works that are behind a floor
    rate                    step of a price after a feed of ten works; a price converges in about 1/rate feeds
                            (``karec.exposure.control``)
    bound                   prices stay in −bound … bound standard deviations, a cap's in 0 … bound
    window_hours            hours over which shares are reported
    state                   a file that keeps the prices, and shares them with other processes; relative to
                            karec.toml

    ValueError: constraints that contradict each other, a column that the index lacks or that holds no
    integers, a state file that is damaged.
    """

    def __init__(
        self,
        index: ItemIndex,
        snapshot: Snapshot | None = None,
        config_folder: Path | None = None,
        targets: tuple[Target, ...] = (),
        caps: tuple[Cap, ...] = (),
        floors: tuple[Floor, ...] = (),
        spread: tuple[Spread, ...] = (),
        places_a_day: int | None = None,
        explore: int = 0,
        rate: float = 0.01,
        bound: float = 3.0,
        window_hours: float = 24.0,
        state: str | None = None,
    ) -> None:
        if not targets and not caps and not floors and not spread:
            raise ValueError("name a target, a cap, a floor or a spread")
        check_together(targets, caps, floors, spread, places_a_day)
        check_columns(index, targets, caps, floors, spread)
        if explore < 0 or (explore and not floors):
            raise ValueError(f"explore = {explore}, expected 0 or, with floors, how many places of a feed")
        if not 0 < window_hours < MOST_HOURS:
            raise ValueError(f"window_hours must be positive, got {window_hours}")
        self.index, self.explore, self.shared = index, explore, state is not None
        self._groups, self._absent = groups_of(targets), absent_values(index, targets)
        self._ledger = ExposureCounters(self._groups, caps, floors, spread, Law(rate, bound), window_hours)
        self._file = None if state is None else shared_file((config_folder or Path()) / state)
        self._writer = Lock()
        self._held: list[Feed] = []
        self._next_s = 0.0  # when the file is read and written again, by time.monotonic
        self._heir: Steering | None = None
        safe_in_forks(self)
        if self._file is not None and self._file.exists():
            self._restore(self._file)
        self._lifted = Lifted(self._ledger, index, Rates(snapshot))
        self._versions: dict[int, Prices] = {}
        self._newest = self._priced()
        self._keep()

    @property
    def newest(self) -> Prices:
        """The prices that were published last."""
        return self._newest

    def at(self, version: int) -> Prices:
        """The prices of ``version``; the newest where that one is not kept any more."""
        return self._versions.get(version, self._newest)

    def show(self, request: Request, shown: Candidates) -> None:
        """Count a feed; ``shown`` have rows in the request's view. Every ``PUBLISH_FEEDS`` feeds, prices
        move."""
        feed, now_ms = self.feed(request, shown), time.time_ns() // 1_000_000
        with self._writer:
            heir = self._heir
            if heir is None:
                self._held.append(replace(feed, time_ms=min(feed.time_ms, now_ms)))
                if len(self._held) >= PUBLISH_FEEDS and (
                    self._file is None or time.monotonic() >= self._next_s
                ):
                    self._settle()
        if heir is not None:
            heir.show(request, shown)

    def settle(self) -> None:
        """Count what is held back, and publish prices. OSError: the state file cannot be read or written."""
        with self._writer:
            if self._held:
                self._settle()

    def begin(self, saved: Mapping[str, Any] | None, now_ms: int) -> None:
        """Go on from what ``kept`` gave, or from prices of 0, and look who is new. ValueError: it is
        something else."""
        with self._writer:
            if saved is not None:
                self._ledger.restore(saved)
            self._lifted.look(now_ms)
            self._lifted.anew()
            self._publish()

    def hand_over(self, heir: Steering) -> None:
        """``heir``, of the same scene and made later, goes on from this ledger; what this one is shown from
        now on is counted there. An heir with a ``state`` file goes on from the file; what this one still
        holds is written there.
        """
        with self._writer:
            if self._held and not heir.shared:
                self._count()
            if self._ledger.time_ms:
                heir.begin(None if heir.shared else self._ledger.as_dict(), self._ledger.time_ms)
            self._heir = None if heir.shared else heir

    def count(self, feeds: Sequence[Feed]) -> None:
        """Count feeds, in their order, and publish prices once."""
        with self._writer:
            self._held += feeds
            self._settle()

    def follow(self, prices: Prices) -> None:
        """Take ``prices`` of another process's steering as the newest."""
        with self._writer:
            self._newest = prices
            self._keep()

    def kept(self) -> dict[str, Any]:
        """The ledger as plain values for JSON, without what is held back."""
        with self._writer:
            return self._ledger.as_dict()

    @property
    def held(self) -> int:
        """How many feeds are held back."""
        return len(self._held)

    def snapshot(self) -> dict[str, Any]:
        """Plain values for metrics: shares and prices of targets, caps, floors, what is unmet."""
        with self._writer:
            ledger = self._ledger
            prices, measured = ledger.prices.tolist(), ledger.measured().tolist()
            capped = map(ledger.cap_prices, range(len(ledger.caps)))
            return {
                "version": self._newest.version,
                "feeds": ledger.feeds,
                "targets": [
                    {"name": group.name, "wanted": group.share, "share": share, "price": price}
                    for group, share, price in zip(self._groups, measured, prices, strict=True)
                ],
                "caps": [
                    {
                        "column": cap.column,
                        "share": cap.share,
                        "priced": len(of),
                        "highest": float(of.max(initial=0.0)),
                    }
                    for cap, (_, of) in zip(ledger.caps, capped, strict=True)
                ],
                "floors": [counts.told(ledger.time_ms) for counts in ledger.floors],
                "spread": [counts.told(ledger.time_ms) for counts in ledger.spread],
                "unmet": [*self._absent, *ledger.unmet()],
            }

    def feed(self, request: Request, shown: Candidates) -> Feed:
        """What the ledger counts of a feed; ``shown`` have rows in the request's view."""
        now = 0 if request.time_ms is None else request.time_ms
        known = shown.take(shown.rows >= 0) if shown.n_unknown else shown

        def values(column: str) -> NDArray[Any]:
            return request.index.gather(column, known.rows)

        members = [int(group.members(values(group.column), now).sum()) for group in self._groups]
        caps = tuple(values(cap.column).astype(np.int64) for cap in self._ledger.caps)
        creators = values(CREATOR).astype(np.int64) if self._ledger.names_creators else np.empty(0, np.int64)
        spread = tuple(
            known.ids if counts.spread.column is None else values(counts.spread.column).astype(np.int64)
            for counts in self._ledger.spread
        )
        return Feed(now, len(shown), np.array(members, np.float64), caps, known.ids, creators, spread)

    def _settle(self) -> None:
        """Under the lock of writers."""
        if self._file is None:
            self._count()
            return
        self._next_s = time.monotonic() + SHARED_SECONDS
        del self._held[:-MOST_HELD]
        with locked(self._file):
            if self._file.exists():
                self._restore(self._file)
            held = list(self._held)
            self._count()
            try:
                write_text_aside(self._file, json.dumps(self._ledger.as_dict()))
            except OSError:
                self._held = held  # they are in no file yet
                raise

    def _restore(self, path: Path) -> None:
        try:
            self._ledger.restore(json_of(read_bytes(path, MOST_JSON_BYTES)))
        except ValueError as error:
            raise ValueError(f"{path}: {error}; remove it to begin with prices of 0") from error

    def _count(self) -> None:
        for feed in self._held:
            self._ledger.show(feed)
            self._lifted.look(feed.time_ms)
        self._lifted.after(self._held)
        self._held = []
        self._publish()

    def _publish(self) -> None:
        self._newest = self._priced(self._newest.version + 1)
        self._keep()

    def _keep(self) -> None:
        self._versions[self._newest.version] = self._newest
        while len(self._versions) > KEPT_VERSIONS:
            del self._versions[next(iter(self._versions))]

    def _priced(self, version: int = 0) -> Prices:
        """What the ledger says by now, for requests."""
        ledger, boosts = self._ledger, self._lifted.boosts
        capped = {cap.column: ledger.cap_prices(i) for i, cap in enumerate(ledger.caps)}
        groups = ledger.prices.copy()
        groups.setflags(write=False)
        notes: dict[str, object] = {"version": version, "feeds": ledger.feeds}
        if self._groups:
            named = zip(self._groups, groups.tolist(), strict=True)
            notes["prices"] = {group.name: round(price, 4) for group, price in named}
        notes |= {f"priced {column}": len(values) for column, (values, _) in capped.items()}
        if ledger.floors:
            notes["behind"] = len(boosts.behind.ids)
        spent = [counts.floor.name for counts in ledger.floors if not counts.has_budget]
        notes |= {"budget_spent": spent} if spent else {}
        unmet = [*self._absent, *ledger.unmet()]
        notes |= {"unmet": unmet} if unmet else {}
        parts = {column: [values] for column, values in capped.items() if len(values[0])}
        if len(boosts.creators):
            parts.setdefault(CREATOR, []).append((boosts.creators.keys, boosts.creators.values))
        columns = [(column, Keyed.sum_of(each)) for column, each in parts.items()]
        works = [boosts.works] if len(boosts.works) else []
        for counts in ledger.spread:
            costs = counts.costs(ledger.time_ms)
            if counts.spread.column is None:
                works += costs
            else:
                columns += [(counts.spread.column, each) for each in costs]
        return Prices(version, self._groups, groups, tuple(columns), tuple(works), boosts.behind, notes)
