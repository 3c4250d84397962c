"""Exposure control of one scene: counts pages, updates the dual variables and publishes them for requests.

Threads    A request reads one version of the dual variables (``newest``), which never changes. A lock admits
           one writer, which counts pages and publishes a version by one assignment. No reader waits.
Processes  With an online store, all processes share the counters of a scene (``shared_counters``). Each
           counts its own pages at once, and exchanges pages with the others once a second on a thread. While
           the store cannot be reached, it counts only its own pages.
Simulation A simulation runs requests in several processes and counts in one: ``page_impressions`` there,
           ``add_pages`` here, ``set_newest`` there.
Order      The state depends only on the pages and their order. A version is published every
           ``PAGES_PER_UPDATE`` pages, after an exchange, or when the side effect flushes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from karec.catalog.schema import CREATOR
from karec.catalog.snapshot import Snapshot
from karec.errors import KarecError
from karec.exposure.arrays import NO_IDS, SparseValues, decode, encode
from karec.exposure.boosts import GuaranteeBoosts
from karec.exposure.constraints import ExposureSettings
from karec.exposure.counters import CountersState, Entry, ExposureCounters, PageImpressions
from karec.exposure.dual_variables import DualVariables, MemberCounter, TargetGroup
from karec.exposure.shared_counters import SharedCounters
from karec.index import ItemIndex
from karec.online.poll import Poller
from karec.pipeline.types import Candidates, Request

if TYPE_CHECKING:  # at run time this would load the compiler of the aggregates
    from karec.online.store.online_store import OnlineStore

PAGES_PER_UPDATE = 10
MERGE_SECONDS = 1.0

_log = logging.getLogger("karec.exposure")


class ExposureController:
    """Exposure counters, boosts and the published dual variables of one scene. Any thread may call it.

    Args:
        settings: the scene's table ``exposure``.
        index: the source of columns and new items, read in its newest generation.
        snapshot: impressions and outcomes so far; None: none.
        store: the online store that shares the counters; None: those of this process only.
        scene: the name under which processes share the counters.

    Raises:
        ValueError: the index lacks a column, or has no integers there; the counters in the store are damaged.
    """

    def __init__(
        self,
        settings: ExposureSettings,
        index: ItemIndex,
        snapshot: Snapshot | None = None,
        *,
        store: OnlineStore | None = None,
        scene: str = "",
    ) -> None:
        settings.check_columns(index)
        self.settings = settings
        self.index = index
        groups = TargetGroup.from_targets(settings.targets)
        absent = [f"{group.name}: no item has it" for group in groups if _is_absent(group, index)]
        self._scene = scene
        self._counters = ExposureCounters(settings, absent)
        self._members = MemberCounter(groups)
        self._writer = Lock()
        self._pending: list[PageImpressions] = []
        self._successor: ExposureController | None = None
        self._shared = None if store is None else SharedCounters(store, scene, settings)
        self._merging = Lock()
        self._n_failed_merges = 0
        self._is_degraded = False
        self._boosts = GuaranteeBoosts(self._counters.guarantees, settings.bound, index, snapshot, 0)
        self._newest = self._version(0)
        self._poller: Poller[ExposureController] | None = None
        if self._shared is not None:
            self._merge(self._shared, is_start=True)
            self._poller = Poller(self, ExposureController.merge, MERGE_SECONDS, "karec-exposure")
            self._poller.start()

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
        """
        page, now_ms = self.page_impressions(request, candidates), time.time_ns() // 1_000_000
        with self._writer:
            successor = self._successor
            if successor is None:
                self._pending.append(msgspec.structs.replace(page, time_ms=min(page.time_ms, now_ms)))
                if len(self._pending) >= PAGES_PER_UPDATE:
                    self._apply_pending()
        if successor is not None:
            successor.add_page(request, candidates)

    def apply_pending(self) -> None:
        """Counts the pending pages and publishes a version."""
        with self._writer:
            if self._pending:
                self._apply_pending()

    def add_pages(self, pages: Sequence[PageImpressions]) -> None:
        """Counts pages in their order and publishes one version."""
        with self._writer:
            self._pending += pages
            self._apply_pending()

    def merge(self) -> None:
        """Counts the pending pages and exchanges pages with the other processes. Raises nothing.

        A thread calls it once a second if there is an online store.
        """
        self.apply_pending()
        if self._shared is not None:
            self._merge(self._shared)

    def close(self) -> None:
        """Counts the pending pages, gives them to the other processes and ends the thread."""
        if self._poller is not None:
            self._poller.stop()
        self.merge()

    def page_impressions(self, request: Request, candidates: Candidates) -> PageImpressions:
        """Returns what the counters need of a page; ``candidates`` have rows in the request's view."""
        now_ms = 0 if request.time_ms is None else request.time_ms
        known = candidates.take(candidates.rows >= 0) if candidates.n_unknown else candidates
        columns = {
            column: request.index.gather(column, known.rows).astype(np.int64)
            for column in self.settings.counted_columns
        }
        targets = self._members.count(lambda column: request.index.gather(column, known.rows), now_ms)
        return PageImpressions(now_ms, len(candidates), targets, known.ids, columns)

    def set_newest(self, dual_variables: DualVariables) -> None:
        """Publishes ``dual_variables``, which another process computed."""
        self._newest = dual_variables

    def restore(self, saved: bytes | None, now_ms: int) -> None:
        """Continues from the value of ``to_json``; None: from dual variables of 0.

        Args:
            now_ms: the time at which the index is searched for new items.

        Raises:
            ValueError: ``saved`` is something else.
        """
        with self._writer:
            if saved is not None:
                self._counters.restore(decode(saved, CountersState))
            units = self._boosts.find_new_units(now_ms)
            if units is not None:
                self._counters.add(units)
            self._boosts.rebuild(self._counters.time_ms)
            self._publish()

    def transfer_to(self, successor: ExposureController) -> None:
        """Transfers the state to ``successor``, the controller of this scene in a newer cascade.

        A successor that has read the online store has the state already. Without a store, pages that are
        added here from now on are counted there.
        """
        with self._writer:
            self._apply_pending()
            if self._counters.time_ms and not (successor._shared and successor._shared.has_read):
                successor.restore(encode(self._counters.state()), self._counters.time_ms)
            if successor._shared is None:
                self._successor = successor

    def to_json(self) -> bytes:
        """Returns the state without pending pages; ``restore`` reads it."""
        with self._writer:
            return encode(self._counters.state())

    def snapshot(self) -> dict[str, Any]:
        """Returns plain values for metrics and reports: the state of each constraint.

        ``sharing`` is None without an online store.
        """
        with self._writer:
            return {
                "version": self._newest.version,
                **self._counters.summary(),
                "sharing": self.sharing_counts() or None,
            }

    def sharing_counts(self) -> dict[str, int]:
        """Returns numbers of the exchange with other processes; empty without an online store."""
        if self._shared is None:
            return {}
        return {
            "is_degraded": int(self._is_degraded),  # the last exchange failed
            "failed_merges": self._n_failed_merges,
            "entries_dropped": self._shared.n_dropped,
            "records_damaged": self._shared.n_damaged,
        }

    def _apply_pending(self) -> None:
        """Counts the pending pages and publishes a version. The caller holds the writers' lock."""
        entries = list[Entry]()
        for page in self._pending:
            self._counters.add_page(page)
            entries.append(page)
            units = self._boosts.find_new_units(page.time_ms)
            if units is not None:
                self._counters.add(units)
                entries.append(units)
        self._pending = []
        if self._shared is not None:
            self._shared.add(entries)
        self._update_boosts(entries)
        self._publish()

    def _merge(self, shared: SharedCounters, *, is_start: bool = False) -> None:
        with self._merging:
            try:
                shared.exchange()
            except Exception as error:  # the thread and the requests must go on
                if is_start and isinstance(error, ValueError):
                    raise
                self._report_failure(error)
            else:
                if self._is_degraded:
                    _log.warning("exposure of %r: pages are shared again", self._scene)
                self._is_degraded = False
            entries = shared.take_new_entries()  # also of an exchange that failed later
            if entries == []:
                return
            with self._writer:
                self._counters.copy_from(shared.merged)
                for entry in shared.own_entries():
                    self._counters.add(entry)
                if entries is None:
                    self._boosts.rebuild(self._counters.time_ms)
                else:
                    self._update_boosts(entries)
                self._publish()

    def _report_failure(self, error: Exception) -> None:
        self._n_failed_merges += 1
        if not self._is_degraded:
            self._is_degraded = True
            _log.warning(
                "exposure of %r: pages of other processes are not counted until the online store works: %s",
                self._scene,
                error,
                exc_info=None if isinstance(error, (KarecError, OSError, ValueError)) else error,
            )

    def _update_boosts(self, entries: Sequence[Entry]) -> None:
        pages = [entry for entry in entries if isinstance(entry, PageImpressions)]
        if pages:
            ids = np.concatenate([page.ids for page in pages])
            creators = np.concatenate([page.columns.get(CREATOR, NO_IDS) for page in pages])
            self._boosts.update(ids, creators, self._counters.time_ms)

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
        group_values = counters.group_values
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
