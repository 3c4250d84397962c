"""Counts Prometheus metrics of all workers of a service, by prometheus_client's multiprocess mode.

Each worker writes its values to its own files in a shared folder. Any worker returns the sums.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import struct
import tempfile
import time
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from karec.bundle import Bundle
from karec.bundle.hot_swap import HotSwap
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Page

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SHARED_MEMORY = Path("/dev/shm")
PREFIX = "karec-metrics-"  # a parent's pid follows
ENDED_PID = 0  # the files of this pid hold the counts of all workers that ended

Labels = tuple[str, ...]
STEP = ("scene", "stage", "step")
EFFECT = ("scene", "side_effect")
COUNTERS: Mapping[str, tuple[str, Labels]] = {  # the exposition adds _total to the name
    "karec_step_input_items": ("Items that a step got.", STEP),
    "karec_step_output_items": ("Items that a step returned.", STEP),
    "karec_step_failures": ("Failures of a step that were skipped.", STEP),
    "karec_step_fallbacks": ("Pages for which the fallback of a stage ran.", ("scene", "stage")),
    "karec_pages_degraded": ("Pages that were degraded.", ("scene",)),
    "karec_page_degradations": ("Pages by the names in their field degraded.", ("scene", "reason")),
    "karec_pages_underfilled": ("Pages with fewer items than requested.", ("scene",)),
    "karec_pages_cold_start": ("Pages of users without events.", ("scene",)),
    "karec_refusals": ("Requests that were refused, or dropped from a queue.", ("reason",)),
    "karec_events": ("Events that were acknowledged.", ()),
    "karec_events_rejected": ("Events that were rejected.", ("reason",)),
    "karec_worker_starts": ("Workers that started.", ()),
    "karec_worker_deaths": ("Workers that ended without closing.", ()),
    "karec_worker_cpu_seconds": ("Processor time of all workers.", ()),
    "karec_bundle_swaps": ("Reloads of bundle or configuration: done, refused.", ("result",)),
    "karec_side_effect_pages": ("Pages that a side effect was offered.", EFFECT),
    "karec_side_effect_losses": ("Pages that a side effect dropped or failed on.", (*EFFECT, "reason")),
}
Mode = Literal["livesum", "livemax", "livemin", "liveall"]  # "live": of running workers only
GAUGES: Mapping[str, tuple[str, Mode, Labels]] = {
    "karec_workers": ("Workers that run.", "livesum", ()),
    "karec_requests_in_flight": ("Requests without a response.", "livesum", ("route",)),
    "karec_worker_resident_bytes": ("Memory; a shared page counts in each worker.", "liveall", ()),
    "karec_worker_proportional_bytes": ("Memory; a page that n share counts 1/n.", "liveall", ()),
    "karec_bundle_workers": ("Workers that serve a bundle.", "livesum", ("bundle", "model_version")),
    "karec_bundle_snapshot_timestamp_seconds": ("Time of the oldest served snapshot.", "livemin", ()),
    "karec_index_items": ("Items of the index.", "livemax", ("model_version",)),
    "karec_index_generation": ("Generation of the index.", "livemax", ()),
    "karec_online_store_lag_seconds": ("Time since a worker read the store to its end.", "livemax", ()),
    "karec_exposure_fraction": ("Measured exposure of a target.", "livemax", ("scene", "target")),
    "karec_exposure_dual_variable": ("Dual variable of a target.", "livemax", ("scene", "target")),
    "karec_exposure_unmet": ("1: its dual variable is at the bound.", "livemax", ("scene", "constraint")),
    "karec_exposure_degraded": ("1: a worker does not share its exposure counters.", "livemax", ("scene",)),
    "karec_side_effect_pending_pages": ("Pages in the queue of a side effect.", "livesum", EFFECT),
}
STEP_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
PAGE_BUCKETS_S = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)
HISTOGRAMS: Mapping[str, tuple[str, tuple[float, ...], Labels]] = {
    "karec_page_seconds": ("Time of the cascade for one page.", PAGE_BUCKETS_S, ("scene",)),
    "karec_step_seconds": ("Time of one step.", STEP_BUCKETS_S, STEP),
    "karec_queue_wait_seconds": ("Time in a queue.", PAGE_BUCKETS_S, ("queue",)),
    "karec_response_seconds": ("Time to a response, with waits.", PAGE_BUCKETS_S, ("route", "status")),
}
_QUOTED = re.compile(r" ('.*'|\".*\")")  # a wrong name in a reason of refusal

_log = logging.getLogger("karec.serve")


@contextmanager
def metrics_folder() -> Iterator[Path]:
    """Yields an empty folder for the workers' files, and sets ``PROMETHEUS_MULTIPROC_DIR`` for them.

    The parent of the workers opens it. It is removed at the end, or by the next service after a kill.
    """
    base = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    for path in base.glob(f"{PREFIX}*-*"):
        if not Path("/proc", path.name.removeprefix(PREFIX).partition("-")[0]).exists():
            shutil.rmtree(path, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=base) as folder:
        os.environ[FOLDER_VARIABLE] = folder
        yield Path(folder)


class Metrics:
    """The metrics of one worker, and through ``folder`` the sums of all. Any thread may call a method.

    Counters and histograms include workers that ended; gauges do not. An update writes to mapped memory: a
    killed worker loses nothing. Create it in the process of the worker.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._totals = Counts[tuple[str, Labels]]()
        self._gauge_labels = defaultdict[str, set[Labels]](set)
        self._cpu_s = 0.0
        os.environ[FOLDER_VARIABLE] = str(folder)
        # prometheus_client decides this when it is imported, which may be before the folder exists
        values.ValueClass = values.MultiProcessValue()
        # a new file is empty for a moment, and reading it fails: all files are made under the lock
        with _lock(folder / "files.lock", fcntl.LOCK_EX):
            self._counters = {
                name: Counter(name, text, labels, registry=None) for name, (text, labels) in COUNTERS.items()
            }
            self._gauges = {
                name: Gauge(name, text, labels, registry=None, multiprocess_mode=mode)
                for name, (text, mode, labels) in GAUGES.items()
            }
            self._histograms = {
                name: Histogram(name, text, labels, registry=None, buckets=buckets)
                for name, (text, buckets, labels) in HISTOGRAMS.items()
            }
            self._histograms["karec_queue_wait_seconds"].labels("recommend")
        self._count("karec_worker_starts")
        self._gauges["karec_workers"].set(1)

    def count_page(self, page: Page, seconds: float) -> None:
        """Counts a page and its steps. ``seconds``: run time of the cascade."""
        scene = page.request.scene
        self._time("karec_page_seconds", seconds, scene)
        for step in page.trace.steps:
            labels = scene, step.stage, step.step
            self._time("karec_step_seconds", step.ms / 1e3, *labels)
            self._count("karec_step_input_items", *labels, n=max(step.n_in, 0))
            self._count("karec_step_output_items", *labels, n=max(step.n_out, 0))
            if step.failure is not None:
                self._count("karec_step_failures", *labels)
        for stage in {step.stage for step in page.trace.steps if step.fallback is not None}:
            self._count("karec_step_fallbacks", scene, stage)
        for reason in page.degraded:
            self._count("karec_page_degradations", scene, reason)
        if page.degraded:
            self._count("karec_pages_degraded", scene)
        if page.shortfall is not None:
            self._count("karec_pages_underfilled", scene)
        if page.is_cold_start:
            self._count("karec_pages_cold_start", scene)

    def count_refusal(self, reason: str) -> None:
        """Counts a request that was refused, or dropped from a queue."""
        self._count("karec_refusals", reason)

    def add_queue_wait(self, queue: str, seconds: float) -> None:
        self._time("karec_queue_wait_seconds", seconds, queue)

    def add_response(self, route: str, status: int, seconds: float) -> None:
        """Counts a response. ``route``: declared path without ids. ``seconds``: with the wait in a queue."""
        self._time("karec_response_seconds", seconds, route, str(status))

    def change_in_flight(self, route: str, change: int) -> None:
        self._gauges["karec_requests_in_flight"].labels(route).inc(change)

    def count_events(self, n_events: int, rejections: Mapping[str, int]) -> None:
        """Counts acknowledged events, and rejected ones by reason."""
        self._count("karec_events", n=n_events)
        for reason, n_rejected in rejections.items():  # without the values that some reasons quote
            self._count("karec_events_rejected", _QUOTED.sub("", reason), n=n_rejected)

    def observe(self, hot_swap: HotSwap) -> None:
        """Reads versions, lags, side effects and memory. One thread calls it every few seconds."""
        closed_counts = (
            hot_swap.closed_side_effects
        )  # Read first: a version that ends now would count twice otherwise.
        cascades = dict(hot_swap.cascades)
        self._observe_bundle(cascades)
        self._observe_exposure(cascades)
        online = next((cascade.online for cascade in cascades.values() if cascade.online is not None), None)
        if online is not None:
            self._gauges["karec_online_store_lag_seconds"].set(online.lag_s())
        totals = dict(closed_counts)
        pending = Counts[Labels]()
        for scene, cascade in cascades.items():
            for queue in cascade.side_effects:
                counts, key = queue.counts(), (scene, queue.name)
                totals[key] = totals[key].plus(counts) if key in totals else counts
                pending[key] += counts.pending
        self._set("karec_side_effect_pending_pages", pending)
        for key, counts in totals.items():
            self._count_to("karec_side_effect_pages", key, counts.seen)
            self._count_to("karec_side_effect_losses", (*key, "dropped"), counts.dropped)
            self._count_to("karec_side_effect_losses", (*key, "failed"), counts.failed)
        self._count_to("karec_bundle_swaps", ("done",), hot_swap.reloads.done)
        self._count_to("karec_bundle_swaps", ("refused",), hot_swap.reloads.refused)
        cpu_s = time.process_time()
        self._count("karec_worker_cpu_seconds", n=cpu_s - self._cpu_s)
        self._cpu_s = cpu_s
        with suppress(OSError):
            lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
            kilobytes = {line.split()[0]: int(line.split()[1]) for line in lines}
            self._gauges["karec_worker_resident_bytes"].set(kilobytes["Rss:"] * 1024)
            self._gauges["karec_worker_proportional_bytes"].set(kilobytes["Pss:"] * 1024)

    def _observe_bundle(self, cascades: Mapping[str, Cascade]) -> None:
        bundle = next((c.bundle for c in cascades.values() if isinstance(c.bundle, Bundle)), None)
        if bundle is None:
            return
        self._set("karec_bundle_workers", {(bundle.path.name, str(bundle.model_version)): 1})
        self._gauges["karec_bundle_snapshot_timestamp_seconds"].set(bundle.snapshot.time_ms / 1e3)
        self._gauges["karec_index_generation"].set(bundle.index.generation)
        items = {(str(version.number),): float(version.n_items) for version in bundle.index.versions}
        self._set("karec_index_items", items)

    def _observe_exposure(self, cascades: Mapping[str, Cascade]) -> None:
        controllers = {scene: c.exposure for scene, c in cascades.items() if c.exposure is not None}
        states = {scene: controller.snapshot() for scene, controller in controllers.items()}
        targets = [(scene, target) for scene, state in states.items() for target in state["targets"]]
        unmet = [(scene, line.split(":")[0]) for scene, state in states.items() for line in state["unmet"]]
        for name, field in (("fraction", "share"), ("dual_variable", "dual_variable")):
            values = {(scene, target["name"]): target[field] for scene, target in targets}
            self._set(f"karec_exposure_{name}", values)
        self._set("karec_exposure_unmet", dict.fromkeys(unmet, 1.0))  # of "name: distance"
        sharing = {(scene,): state["sharing"] for scene, state in states.items() if state["sharing"]}
        self._set("karec_exposure_degraded", {key: counts["is_degraded"] for key, counts in sharing.items()})

    def exposition(self) -> bytes:
        """Returns the values of all workers in Prometheus' text format. Takes milliseconds."""
        pids = {int(path.stem.rpartition("_")[2]) for path in self._folder.glob("*.db")}
        for pid in pids - {ENDED_PID}:
            if not Path(f"/proc/{pid}").exists():
                self.count_death(pid)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._folder))
        with _lock(self._folder / "files.lock", fcntl.LOCK_SH):
            return generate_latest(registry)

    def count_death(self, pid: int) -> None:
        """Counts a death, keeps the counts of the worker and removes its gauges."""
        if self._merge_files(pid):
            self._count("karec_worker_deaths")

    def close(self) -> None:
        """Keeps the counts of this worker and removes its gauges. Its end is then no death."""
        self._merge_files(os.getpid())

    def _merge_files(self, pid: int) -> bool:
        """Adds the counts of an ended worker to the files of ``ENDED_PID``. Returns False if it has no files.

        prometheus_client sums the files of all processes so far, one for each process and type. Its
        ``mark_process_dead`` removes only gauges, so the number of files would grow with each death.
        """
        with _lock(self._folder / "files.lock", fcntl.LOCK_EX):
            mark_process_dead(pid, str(self._folder))
            paths = list(self._folder.glob(f"*_{pid}.db"))
            for path in paths:
                merged = MmapedDict(str(path.with_stem(f"{path.stem.partition('_')[0]}_{ENDED_PID}")))
                try:
                    for key, value, _, _ in merged.read_all_values_from_file(str(path)):
                        merged.write_value(key, merged.read_value(key)[0] + value, 0.0)
                except (
                    struct.error,
                    RuntimeError,
                ) as error:  # The worker was killed while it extended the file.
                    _log.warning("%s: the counts of a worker are lost: %s", path, error)
                merged.close()
                path.unlink()
        return bool(paths)

    def _count(self, name: str, *labels: str, n: float = 1) -> None:
        counter = self._counters[name]
        (counter.labels(*labels) if labels else counter).inc(n)

    def _count_to(self, name: str, labels: Labels, total: int) -> None:
        """Raises a counter to ``total``. While a version ends, ``total`` lacks its counts for a moment."""
        n_new = total - self._totals[name, labels]
        if n_new > 0:
            self._count(name, *labels, n=n_new)
            self._totals[name, labels] = total

    def _time(self, name: str, seconds: float, *labels: str) -> None:
        self._histograms[name].labels(*labels).observe(seconds)

    def _set(self, name: str, values_by_labels: Mapping[Any, float]) -> None:
        """Sets a gauge. Labels that ``values_by_labels`` lacks become 0: the files keep all labels."""
        self._gauge_labels[name] |= values_by_labels.keys()
        for labels in self._gauge_labels[name]:
            self._gauges[name].labels(*labels).set(values_by_labels.get(labels, 0.0))


@contextmanager
def _lock(path: Path, operation: int) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, operation)
        yield
