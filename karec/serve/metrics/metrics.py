"""What a worker counts, and what all workers of a service counted together."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from karec.config.serve_settings import SENT, SHOWN
from karec.errors import one_line
from karec.online.poll import Poller
from karec.online.reported import Exposed
from karec.pipeline.types import Array, Page
from karec.serve.metrics.between_workers import Told, Workers
from karec.serve.metrics.counted import Counted, Seen
from karec.serve.metrics.exposed import Catalogue
from karec.serve.metrics.exposition import text_of
from karec.serve.metrics.standing import Readings, Served, Standing
from karec.serve.metrics.status import status_of
from karec.serve.metrics.windows import Windows

EACH_S = 1.0  # so often counts are folded and told
READ_S = 10.0  # so often gauges are read
LATE_S = 2.0  # after a minute workers have so long to tell what they exposed in it
UNKNOWN = "exposures of works that the catalogue lacks"
MOST_WAITING = 65_536  # answers that are not folded yet

_log = logging.getLogger("karec.serve")


class Metrics:
    """The metrics of one worker, and through ``folder``, which all workers of the service share, those of
    all.

    Made in the worker's own process, after any fork. ``worker``: its number, by which the workers' own gauges
    are told apart. ``exposure``: what the windows count, works in answers ("sent") or the exposures that are
    reported ("shown"). ``answered``, ``refused``, ``replied`` and ``recorded`` cost their caller one append,
    from any thread; a thread folds what they said. ``text`` and ``status`` take milliseconds: not on an event
    loop.
    """

    def __init__(self, folder: Path, worker: int | str = 0, exposure: str = SENT) -> None:
        self._workers, self._windows = Workers(folder, str(worker)), Windows(folder / exposure)
        self._exposure = exposure
        self._worker, self._begun_s = str(worker), time.time()
        self._counted = Counted()
        self._standing: Standing | None = None
        self._readings: Readings = {}
        self._read_due_s = 0.0
        self._answers: deque[tuple[Seen, Array, int]] = deque()
        self._shown: deque[Sequence[Exposed]] = deque()
        self._said: deque[tuple[str, tuple[str, ...], float]] = deque()
        self._minute, self._exposed = -1, list[tuple[Array, int]]()
        self._lost = 0
        self._folding = Lock()
        self._why = ""
        self._poller = Poller(self, Metrics._look, EACH_S, "karec-metrics")

    def begin(self, live: Served) -> None:
        """From here on ``live`` is watched, and what is counted is told to the others."""
        with self._folding:
            self._standing = Standing(live, self._worker)
            self._read_due_s = 0.0
        self._poller.start()

    def answered(self, answer: Page, ms: float) -> None:
        """A feed was answered, and took ``ms``. It is not kept, and neither are its candidates but for their
        ids."""
        if len(self._answers) >= MOST_WAITING:
            self._lost += 1
            return
        self._answers.append((Seen.of(answer, ms), answer.candidates.ids, answer.request.time_ms or 0))

    def refused(self, reason: str) -> None:
        """Admission refused a request."""
        self._said.append(("karec_refused", (reason,), 1))

    def replied(self, route: str, status: int) -> None:
        """An HTTP request was replied to. ``route``: the path as the service declares it, with no id in
        it."""
        self._said.append(("karec_requests", (route, str(status)), 1))

    def recorded(self, events: int, refused: Mapping[str, int], exposed: Sequence[Exposed] = ()) -> None:
        """So many events were put into the log, with these exposures among them; others were refused by
        reason."""
        if exposed and self._exposure == SHOWN and len(self._shown) < MOST_WAITING:
            self._shown.append(exposed)
        self._said.append(("karec_events", (), events))
        self._said.extend(("karec_events_refused", (reason,), n) for reason, n in refused.items())

    def text(self) -> bytes:
        """What Prometheus scrapes: of all workers, of this one up to now, of others up to a second ago."""
        self._tell()
        living, ended = self._workers.all()
        return text_of(living, ended, {self._exposure: self._windows.told().get("windows", {})})

    def status(self) -> dict[str, Any]:
        """What the page polls; ``karec.serve.metrics.status`` says what is in it."""
        self._tell()
        living, ended = self._workers.all()
        return status_of(living, ended, {self._exposure: self._windows.told()})

    def close(self) -> None:
        """Tells the last of this worker, which counts as ended from here on. Twice does nothing."""
        self._poller.stop()
        if self._workers.name:
            self._guarded(self._fold)
            self._guarded(self._end_minute)
            self._guarded(self._tell)
            self._workers.close()

    def _look(self) -> None:
        self._guarded(self._tell)
        self._guarded(self._settle)

    def _guarded(self, call: Any) -> None:
        """The thread outlives a full disk, and whatever a bundle or a step does; each kind is logged once in
        a row."""
        try:
            call()
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            if why != self._why:
                _log.warning("%s", one_line(f"metrics are not told: {why}"))
            self._why = why

    def _tell(self) -> None:
        with self._folding:
            self._fold()
            counted = self._counted
            told = Told(
                worker=self._worker,
                pid=os.getpid(),
                keys=counted.keys,
                total=counted.total.tobytes(),
                recent=counted.recent.tobytes(),
                named=counted.named,
                read=self._readings,
                begun_s=self._begun_s,
            )
            self._workers.tell(told)

    def _fold(self) -> None:
        now_s = time.time()
        waiting = [self._answers.popleft() for _ in range(len(self._answers))]
        for _ in range(len(self._said)):
            self._counted.count(*self._said.popleft())
        if self._lost:
            lost, self._lost = self._lost, 0
            self._counted.count("karec_metrics_lost", ("answers",), lost)
        self._counted.fold([seen for seen, _, _ in waiting], time.monotonic())
        if int(now_s // 60) != self._minute:
            self._end_minute()
            self._minute = int(now_s // 60)
        of_works = frozenset[str]() if self._standing is None else self._standing.scenes_of_works()
        if self._exposure == SENT:
            self._exposed += [(ids, moment) for seen, ids, moment in waiting if seen.scene in of_works]
        for _ in range(len(self._shown)):
            shown = [each for each in self._shown.popleft() if each.scene is None or each.scene in of_works]
            self._exposed += [(np.array([each.work]), each.time_ms) for each in shown]
        if self._standing is not None and now_s >= self._read_due_s:
            self._read_due_s = now_s + READ_S
            self._readings = self._standing.readings(self._counted) | self._standing.library(now_s)
            self._readings["karec_worker_start_seconds"] = {(self._worker,): self._begun_s}

    def _end_minute(self) -> None:
        """What this worker exposed in its minute is told to all."""
        exposed, self._exposed = self._exposed, []
        catalogue = None if self._standing is None else self._standing.catalogue()
        if not exposed or catalogue is None:
            return
        ids = np.concatenate([ids for ids, _ in exposed])
        moments = np.repeat([moment for _, moment in exposed], [len(ids) for ids, _ in exposed])
        if self._exposure == SHOWN:  # what hosts report may be of other works
            known = catalogue.has(ids)
            if lost := len(ids) - int(known.sum()):
                self._counted.count("karec_metrics_lost", (UNKNOWN,), lost)
            ids, moments = ids[known], moments[known]
        self._windows.tell(self._minute, self._workers.name, catalogue.exposures(ids, moments))

    def _settle(self) -> None:
        now_s = time.time()
        if now_s % 60 < LATE_S or self._standing is None:
            return
        catalogue = self._standing.catalogue()
        if catalogue is not None:
            self._windows.settle(int(now_s // 60), catalogue, exposed_since(catalogue))


def exposed_since(catalogue: Catalogue) -> Array | None:
    """Works whose exposures since the bundle the state store has counted."""
    return None if catalogue.since is None else catalogue.since.counter_ids
