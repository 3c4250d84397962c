"""Exposure counters of one scene that processes share through the online store.

Records   Each process appends its pages and new units to a log. All processes add them to their counters in
          the order of the log, so they compute equal counters and dual variables, bit for bit.
Document  Once in ``DOCUMENT_SECONDS``, the process that gets the lease writes the counters as of a record to
          a document and deletes the records that the document before this one had. A process reads the
          document when it starts, or if a record that it has not read was deleted.
Failures  While the store is unreachable, entries wait. The oldest are dropped if there are ``MAX_WAITING``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from karec.exposure.arrays import decode, encode
from karec.exposure.constraints import ExposureSettings
from karec.exposure.counters import CountersState, Entry, ExposureCounters, PageImpressions
from karec.exposure.guarantees import NewUnits

if TYPE_CHECKING:  # at run time this would load the compiler of the aggregates
    from karec.online.store.online_store import OnlineStore

DOCUMENT_SECONDS = 10.0
MAX_WAITING = 10_000  # entries: pages, and results of searches for new units


class _Record(msgspec.Struct, frozen=True):
    """Entries of one process. Its constraints may differ from those of the reader."""

    id: str
    entries: list[PageImpressions | NewUnits]


class _Position(msgspec.Struct, frozen=True):
    through: int


class _Document(_Position, frozen=True):
    """Counters with all records up to ``through``."""

    state: CountersState


def read_counters(store: OnlineStore, scene: str, settings: ExposureSettings) -> ExposureCounters:
    """Returns the counters of a scene from all records in ``store``. Writes nothing.

    Raises ValueError if the document is damaged.
    """
    shared = SharedCounters(store, scene, settings)
    shared.read()
    return shared.merged


class SharedCounters:
    """The counters of a scene by the records that this process has read, and its own unread entries.

    One thread at a time calls ``exchange``. ``add`` and ``own_entries`` need a common lock of the caller.

    merged     the counters as of the last record that was read
    n_dropped  entries dropped while the store could not be reached
    n_damaged  records that could not be decoded
    has_read   True after the first exchange
    """

    def __init__(self, store: OnlineStore, scene: str, settings: ExposureSettings) -> None:
        self.merged = ExposureCounters(settings)
        self.n_dropped = 0
        self.n_damaged = 0
        self.has_read = False
        self._store = store
        self._name = f"exposure:{scene}"
        self._waiting = deque[Entry](maxlen=MAX_WAITING)
        self._appended: tuple[str, list[Entry]] | None = None  # id and entries, until the record is read
        self._through = 0  # number of the last record that was read
        self._new_entries: list[Entry] | None = []
        self._next_document_s = 0.0  # by time.monotonic

    def add(self, entries: Sequence[Entry]) -> None:
        """Adds entries of this process, to be appended by the next exchange."""
        self.n_dropped += max(len(self._waiting) + len(entries) - MAX_WAITING, 0)
        self._waiting.extend(entries)

    def own_entries(self) -> list[Entry]:
        """Returns the entries of this process that ``merged`` lacks, in their order."""
        appended = [] if self._appended is None else self._appended[1]
        return [*appended, *self._waiting]

    def exchange(self) -> None:
        """Appends the entries of this process and adds all new records to ``merged``.

        Raises:
            KarecError: the store cannot be reached. A later call appends the same entries once.
            ValueError: the document is damaged.
        """
        if self._appended is not None:
            self.read()  # an append that failed may have been committed: only the log can tell
        own = [] if self._appended is None else self._appended[1]
        own += [self._waiting.popleft() for _ in range(len(self._waiting))]
        n_excess = max(len(own) - MAX_WAITING, 0)
        self.n_dropped += n_excess
        if own:
            self._appended = uuid4().hex, own[n_excess:]
            self._store.append_records(self._name, [encode(_Record(*self._appended))])
        self.read()
        self.has_read = True
        self._write_document()

    def take_new_entries(self) -> list[Entry] | None:
        """Returns the entries added to ``merged`` since the last call; None if it was restored since then."""
        entries, self._new_entries = self._new_entries, []
        return entries

    def read(self) -> None:
        """Adds the new records to ``merged``."""
        records = self._records()
        document: bytes | None = None
        # Deletions begin with the oldest record. If the last one that was read exists, none was missed.
        while not records or records[0][0] != self._through:
            old_document, document = document, self._store.read_document(self._name)
            if document is not None and document == old_document:
                break  # the store lacks the record of its document
            if document is None:
                self._through = 0  # there is no document yet, or the store lost its contents
                records = self._records()
                break
            self._restore(document)
            records = self._records()
        for number, record in records:
            if number > self._through:
                self._merge(record)
                self._through = number

    def _records(self) -> list[tuple[int, bytes]]:
        """Returns the last record that was read, if it exists, and all later ones."""
        return self._store.read_records(self._name, max(self._through - 1, 0))

    def _restore(self, document: bytes) -> None:
        try:
            saved = decode(document, _Document)
            self.merged.restore(saved.state)
        except ValueError as error:
            raise ValueError(
                f"the document {self._name!r} of the online store is damaged: {error}. Delete the document "
                "to start with dual variables of 0"
            ) from error
        self._through = saved.through
        self._new_entries = None

    def _merge(self, record: bytes) -> None:
        try:
            decoded = decode(record, _Record)
        except ValueError:
            self.n_damaged += 1
            return
        if self._appended is not None and decoded.id == self._appended[0]:
            self._appended = None
        for entry in decoded.entries:
            self.merged.add(entry)
        if self._new_entries is not None:
            self._new_entries += decoded.entries

    def _write_document(self) -> None:
        """Writes ``merged`` to the document if it is time and no other process has the lease."""
        if time.monotonic() < self._next_document_s:
            return
        self._next_document_s = time.monotonic() + DOCUMENT_SECONDS
        if not self._store.acquire_lease(self._name, uuid4().hex, DOCUMENT_SECONDS):
            return
        old = self._store.read_document(self._name)
        old_through = 0
        with suppress(ValueError):  # a damaged document is replaced
            old_through = 0 if old is None else decode(old, _Position).through
        if self._through <= old_through:
            return
        new = encode(_Document(self._through, self.merged.state()))
        if self._store.write_document(self._name, new, old):
            self._store.trim_records(self._name, old_through - 1)  # record old_through shows what was deleted
