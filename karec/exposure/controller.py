"""Exposure control of one scene: counts pages, updates the dual variables and publishes them for requests.

Threads    A request reads one version of the dual variables (``newest``), which never changes. A lock admits
           one writer, which counts pages and publishes a version by one assignment. No reader waits.
Processes  With ``state``, the processes of a scene share one state file. Once a second, a process locks the
           file, reads it, counts its pending pages and writes it as a whole. Impressions of other processes
           change boosts within a minute, and other dual variables with the process's next pages.
Fork       ``os.fork()`` waits for a running writer. The child continues from the same state without pending
           pages: the parent counts those.
Simulation A simulation runs requests in several processes and counts in one: ``page_impressions`` there,
           ``add_pages`` here, ``set_newest`` there.
Order      The state depends only on the pages and their order. A version is published every
           ``PAGES_PER_UPDATE`` pages, with ``state`` once a second, or when the side effect flushes.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR
from karec.catalog.snapshot import Snapshot
from karec.exposure.boosts import GuaranteeBoosts
from karec.exposure.by_id import SparseValues
from karec.exposure.constraints import ExposureSettings
from karec.exposure.counters import ExposureCounters, PageImpressions
from karec.exposure.dual_variables import DualVariables, TargetGroup
from karec.files import MAX_JSON_BYTES, parse_json, read_bytes, write_text_aside
from karec.index import ItemIndex
from karec.pipeline.types import Candidates, Request

PAGES_PER_UPDATE = 10
STATE_FILE_SECONDS = 1.0  # between two reads and writes of the state file by a process
MAX_PENDING = 10_000  # pages that are kept while the state file cannot be written

_controllers: WeakSet[ExposureController] = WeakSet()
_creation_order = count()


class ExposureController:
    """Exposure counters, boosts and the published dual variables of one scene. Any thread may call it.

    Args:
        settings: the scene's table ``exposure``.
        index: read for columns and new items; it is no step, so it may read the newest generation.
        snapshot: impressions and outcomes so far; None: none.
        folder: the folder that ``settings.state`` is relative to.

    Raises:
        ValueError: the index lacks a column, or has no integers there; the state file is damaged.
    """

    def __init__(
        self,
        settings: ExposureSettings,
        index: ItemIndex,
        snapshot: Snapshot | None = None,
        folder: Path | None = None,
    ) -> None:
        settings.check_columns(index)
        self.settings = settings
        self.index = index
        groups = TargetGroup.from_targets(settings.targets)
        absent = [f"{group.name}: no item has it" for group in groups if _is_absent(group, index)]
        self._counters = ExposureCounters(settings, absent)
        self._state_file = None if settings.state is None else (folder or Path()) / settings.state
        self._writer = Lock()
        self._pending: list[PageImpressions] = []
        self._next_write_s = 0.0  # of the state file, by time.monotonic
        self._successor: ExposureController | None = None
        self._number = next(_creation_order)
        _controllers.add(self)
        if self._state_file is not None and self._state_file.is_dir():
            raise ValueError(f"state: {self._state_file} is a folder, expected a file")
        if self._state_file is not None and self._state_file.exists():
            self._read_state(self._state_file)
        counters = self._counters
        self._boosts = GuaranteeBoosts(counters.guarantees, settings.bound, index, snapshot, counters.time_ms)
        self._newest = self._version(0)

    @property
    def newest(self) -> DualVariables:
        """The version published last."""
        return self._newest

    @property
    def n_pending(self) -> int:
        """Pages that are not counted yet."""
        return len(self._pending)

    def add_page(self, request: Request, candidates: Candidates) -> None:
        """Adds the page ``candidates``, with rows in the request's view; counted at the next update.

        A page with a time in the future counts as of now: its impressions would not decay until then.

        Raises:
            OSError: the state file cannot be read or written; the pages stay pending.
        """
        page, now_ms = self.page_impressions(request, candidates), time.time_ns() // 1_000_000
        with self._writer:
            successor = self._successor
            if successor is None:
                self._pending.append(replace(page, time_ms=min(page.time_ms, now_ms)))
                if len(self._pending) >= PAGES_PER_UPDATE and (
                    self._state_file is None or time.monotonic() >= self._next_write_s
                ):
                    self._apply_pending()
        if successor is not None:
            successor.add_page(request, candidates)

    def apply_pending(self) -> None:
        """Counts the pending pages and publishes a version. Raises OSError as ``add_page``."""
        with self._writer:
            if self._pending:
                self._apply_pending()

    def add_pages(self, pages: Sequence[PageImpressions]) -> None:
        """Counts pages in their order and publishes one version."""
        with self._writer:
            self._pending += pages
            self._apply_pending()

    def page_impressions(self, request: Request, candidates: Candidates) -> PageImpressions:
        """Returns what the counters need of a page; ``candidates`` have rows in the request's view."""
        now_ms = 0 if request.time_ms is None else request.time_ms
        known = candidates.take(candidates.rows >= 0) if candidates.n_unknown else candidates

        def integers(column: str) -> NDArray[Any]:
            return request.index.gather(column, known.rows).astype(np.int64)

        counts = [
            int(group.members(request.index.gather(group.column, known.rows), now_ms).sum())
            for group in self._counters.groups
        ]
        return PageImpressions(
            time_ms=now_ms,
            n=len(candidates),
            groups=np.array(counts, np.float64),
            caps=tuple(integers(cap.column) for cap in self.settings.caps),
            ids=known.ids,
            creators=integers(CREATOR) if self.settings.reads_creators else np.empty(0, np.int64),
            fairness=tuple(
                known.ids if penalty.column is None else integers(penalty.column)
                for penalty in self.settings.fairness
            ),
        )

    def set_newest(self, dual_variables: DualVariables) -> None:
        """Publishes ``dual_variables``, which another process computed."""
        with self._writer:
            self._newest = dual_variables

    def restore(self, saved: Mapping[str, Any] | None, now_ms: int) -> None:
        """Continues from the values of ``to_dict``; None: from dual variables of 0.

        Args:
            now_ms: the time at which the index is searched for new items.

        Raises:
            ValueError: ``saved`` is something else.
        """
        with self._writer:
            if saved is not None:
                self._counters.restore(saved)
            self._boosts.find_new_units(now_ms)
            self._boosts.rebuild(self._counters.time_ms)
            self._publish()

    def transfer_to(self, successor: ExposureController) -> None:
        """Transfers the exposure state to ``successor``, the controller of this scene in a newer cascade.

        Pages added here from now on are counted there. A successor with a state file continues from the
        file, and pages that are still pending here are written there.
        """
        has_file = successor.settings.state is not None
        with self._writer:
            if self._pending and not has_file:
                self._count_pending()
            if self._counters.time_ms:
                saved = None if has_file else self._counters.to_dict()
                successor.restore(saved, self._counters.time_ms)
            self._successor = None if has_file else successor

    def to_dict(self) -> dict[str, Any]:
        """Returns the state, without pending pages, as plain values for JSON."""
        with self._writer:
            return self._counters.to_dict()

    def snapshot(self) -> dict[str, Any]:
        """Returns plain values for metrics and reports: the state of each constraint."""
        with self._writer:
            return {"version": self._newest.version, **self._counters.summary()}

    def _apply_pending(self) -> None:
        """Counts the pending pages. The caller holds the writers' lock."""
        if self._state_file is None:
            self._count_pending()
            return
        self._next_write_s = time.monotonic() + STATE_FILE_SECONDS
        del self._pending[:-MAX_PENDING]
        with _file_lock(self._state_file):
            if self._state_file.exists():
                self._read_state(self._state_file)
            pending = list(self._pending)
            self._count_pending()
            try:
                write_text_aside(self._state_file, json.dumps(self._counters.to_dict()))
            except OSError:
                self._pending = pending  # no file has them yet
                raise

    def _read_state(self, path: Path) -> None:
        try:
            self._counters.restore(parse_json(read_bytes(path, MAX_JSON_BYTES)))
        except ValueError as error:
            raise ValueError(f"{path}: {error}; remove it to start with dual variables of 0") from error

    def _count_pending(self) -> None:
        for page in self._pending:
            self._counters.add_page(page)
            self._boosts.find_new_units(page.time_ms)
        if self._pending:
            ids = np.concatenate([page.ids for page in self._pending])
            creators = np.concatenate([page.creators for page in self._pending])
            self._boosts.update(ids, creators, self._counters.time_ms)
        self._pending = []
        self._publish()

    def _publish(self) -> None:
        self._newest = self._version(self._newest.version + 1)

    def _version(self, version: int) -> DualVariables:
        counters, boosts = self._counters, self._boosts
        caps = {cap.column: counters.cap_values(number) for number, cap in enumerate(counters.caps)}
        parts = {column: [values] for column, values in caps.items() if len(values[0])}
        notes = {"version": version, **counters.notes()}
        if counters.guarantees:
            notes["underexposed"] = len(boosts.underexposed.ids)
        if len(boosts.by_creator):
            parts.setdefault(CREATOR, []).append((boosts.by_creator.keys, boosts.by_creator.values))
        by_column = [(column, SparseValues.from_parts(values)) for column, values in parts.items()]
        by_item = [boosts.by_item] if len(boosts.by_item) else []
        for counts in counters.fairness:
            penalties = counts.penalties(counters.time_ms)
            if counts.penalty.column is None:
                by_item += penalties
            else:
                by_column += [(counts.penalty.column, values) for values in penalties]
        group_values = counters.group_values.copy()
        group_values.setflags(write=False)
        return DualVariables(
            version=version,
            groups=counters.groups,
            group_values=group_values,
            by_column=tuple(by_column),
            by_item=tuple(by_item),
            underexposed=boosts.underexposed,
            max_explored=self.settings.explore,
            notes=notes,
        )


def _is_absent(group: TargetGroup, index: ItemIndex) -> bool:
    """Returns True if no item of ``index`` can ever be in ``group``, which has a share above 0."""
    if group.age_hours is not None or not group.share:
        return False
    return not group.members(index.columns[group.column][index.present], 0).any()


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """Runs the block while no other process or thread runs such a block for ``path``.

    The file NAME.lock stays: if a process removed it while another one waits, two would enter.

    Raises:
        OSError: the lock file cannot be created.
    """
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# In the order of creation: ``transfer_to`` locks itself, then its successor, which was created later.
_locked_for_fork: list[ExposureController] = []


def _before_fork() -> None:
    _locked_for_fork[:] = sorted(_controllers, key=lambda controller: controller._number)
    for controller in _locked_for_fork:
        controller._writer.acquire()


def _after_fork(*, is_child: bool) -> None:
    for controller in _locked_for_fork:
        if is_child:
            controller._pending = []
        controller._writer.release()
    _locked_for_fork.clear()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(is_child=False),
    after_in_child=lambda: _after_fork(is_child=True),
)
