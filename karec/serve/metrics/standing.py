"""How a worker stands: versions and ages of what it serves, lags, observers, memory; read every few
seconds."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from karec.bundle import Bundle
from karec.bundle.hot_swap import ReloadCounts
from karec.pipeline.cascade import Cascade
from karec.pipeline.side_effects import SideEffectCounts
from karec.refresh.library_state import library_state
from karec.serve.metrics.counted import Counted, Labels
from karec.serve.metrics.exposed import Catalogue

if TYPE_CHECKING:  # a service without a table ``live`` loads no compiler of folds
    from karec.online.follow import Follower

Readings = dict[str, dict[Labels, float]]
LIBRARY_SHARE = 0.01  # of the time is spent at most on reading how old the library's vectors are


class Served(Protocol):
    """What is watched: a ``karec.bundle.hot_swap.HotSwap``."""

    @property
    def cascades(self) -> Mapping[str, Cascade]: ...
    @property
    def reloads(self) -> ReloadCounts: ...
    @property
    def closed_side_effects(self) -> Mapping[tuple[str, str], SideEffectCounts]: ...


class Standing:
    """Reads ``live`` for one worker. One thread at a time may call it."""

    def __init__(self, live: Served, worker: str) -> None:
        self._live, self._worker = live, worker
        self._reloads = ReloadCounts()
        self._observed: dict[Labels, int] = {}
        self._library: Readings = {}
        self._library_due_s = 0.0

    def readings(self, counted: Counted) -> Readings:
        """Gauges of now; what observers and reloads counted since the last time goes into ``counted``."""
        found: defaultdict[str, dict[Labels, float]] = defaultdict(dict)
        before = self._live.closed_side_effects  # first: else a version that goes meanwhile is counted twice
        cascades = dict(self._live.cascades)
        bundle = bundle_of(cascades)
        if bundle is not None:
            self._read_bundle(bundle, found)
        self._read_state(cascades, found)
        for scene, cascade in cascades.items():
            if cascade.exposure is not None:
                self._read_exposure(scene, cascade.exposure.snapshot(), found)
        self._read_observers(cascades, before, counted, found)
        self._count_reloads(counted)
        for name, value in memory_of_this_process().items():
            found[f"karec_worker_{name}_bytes"][self._worker,] = value
        found["karec_worker_cpu_seconds"][self._worker,] = time.process_time()
        return dict(found)

    def library(self, now_s: float) -> Readings:
        """How old the vectors are, by the files; read again when 99 times as long as it took has passed."""
        bundle = bundle_of(self._live.cascades)
        if bundle is not None and now_s >= self._library_due_s:
            begin = time.monotonic()
            state = library_state(bundle, time.time_ns() // 1_000_000)
            ages = {"youngest": state.youngest_ms, "median": state.median_ms, "oldest": state.oldest_ms}
            self._library = {
                "karec_vectors_age_seconds": {(which,): ms / 1e3 for which, ms in ages.items()},
                "karec_refresh_round": {(): state.round},
                "karec_refresh_share": {(): state.refreshed / max(state.works, 1)},
            }
            self._library_due_s = now_s + max((time.monotonic() - begin) / LIBRARY_SHARE, 30.0)
        return self._library

    def scenes_of_works(self) -> frozenset[str]:
        """Scenes that recommend works: the others' items have ids of their own, which may be those of
        works."""
        return frozenset(
            scene for scene, each in self._live.cascades.items() if isinstance(each.bundle, Bundle)
        )

    def catalogue(self) -> Catalogue | None:
        """What is known of works now; None where no scene recommends works."""
        cascades = dict(self._live.cascades)
        bundle = bundle_of(cascades)
        if bundle is None:
            return None
        live = live_of(cascades)
        return Catalogue(bundle.snapshot, None if live is None else live.items)

    def _read_bundle(self, bundle: Bundle, found: Readings) -> None:
        found["karec_bundle"][bundle.path.name, str(bundle.model_version)] = 1
        found["karec_bundle_age_seconds"][()] = max(time.time() - bundle.snapshot.time_ms / 1e3, 0.0)
        for space, index in (("prerank", bundle.index), ("recall", bundle.recall_index)):
            if index is not None:
                found["karec_index_generation"][space,] = index.generation
                for version in index.versions:
                    found["karec_index_rows"][space, str(version.number)] = version.n_items

    def _read_state(self, cascades: Mapping[str, Cascade], found: Readings) -> None:
        live = live_of(cascades)
        if live is not None:
            events, oldest_ms = live.lag()
            found["karec_state_events_behind"][()] = events
            found["karec_state_seconds_behind"][()] = (
                max(time.time() - oldest_ms / 1e3, 0.0) if events else 0.0
            )

    def _read_exposure(self, scene: str, stands: Mapping[str, Any], found: Readings) -> None:
        for target in stands["targets"]:
            found["karec_exposure_share"][scene, target["name"]] = target["share"]
            found["karec_exposure_price"][scene, target["name"]] = target["price"]
        for line in stands["unmet"]:  # what, and how far it is off
            found["karec_exposure_unmet"][scene, line.split(":")[0]] = 1

    def _read_observers(
        self,
        cascades: Mapping[str, Cascade],
        before: Mapping[tuple[str, str], SideEffectCounts],
        counted: Counted,
        found: Readings,
    ) -> None:
        """While a version is on its way out its counts are nowhere: what was counted once stays."""
        now = dict(before)
        for scene, cascade in cascades.items():
            for queue in cascade.side_effects:
                counts, key = queue.counts(), (scene, queue.name)
                now[key] = now[key].plus(counts) if key in now else counts
                found["karec_observer_pending"][key] = (
                    found["karec_observer_pending"].get(key, 0) + counts.pending
                )
        for key, counts in now.items():
            self._count("karec_observer_seen", key, counts.seen, counted)
            for why in ("dropped", "failed"):
                self._count("karec_observer_lost", (*key, why), getattr(counts, why), counted)
            if rows := counts.own.get("rows_lost", 0):
                self._count("karec_observer_lost", (*key, "rows of its log"), rows, counted)

    def _count(self, name: str, labels: Labels, total: int, counted: Counted) -> None:
        """``total`` since the beginning, of which some is counted already."""
        already = self._observed.get((name, *labels), 0)
        counted.count(name, labels, max(total - already, 0))
        self._observed[name, *labels] = max(total, already)

    def _count_reloads(self, counted: Counted) -> None:
        now, before = self._live.reloads, self._reloads
        for outcome in ("done", "refused"):
            counted.count("karec_reloads", (outcome,), getattr(now, outcome) - getattr(before, outcome))
        self._reloads = now


def bundle_of(cascades: Mapping[str, Cascade]) -> Bundle | None:
    """The bundle of the scenes that recommend works."""
    for cascade in cascades.values():
        if isinstance(cascade.bundle, Bundle):
            return cascade.bundle
    return None


def live_of(cascades: Mapping[str, Cascade]) -> Follower | None:
    """What happened since the bundle was made; None: nobody keeps it."""
    return next((each.online for each in cascades.values() if each.online is not None), None)


def memory_of_this_process() -> dict[str, float]:
    """{"rss": bytes, "pss": bytes}, where the system tells them."""
    found = {}
    try:
        text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        text = ""
    for name in ("Rss", "Pss"):
        if f"\n{name}:" in text:
            found[name.lower()] = float(text.split(f"\n{name}:")[1].split()[0]) * 1024
    if "rss" not in found:
        try:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            return found
        found["rss"] = float(pages * os.sysconf("SC_PAGE_SIZE"))
    return found
