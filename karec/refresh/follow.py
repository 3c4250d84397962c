"""Adds the item vectors of a library refresh to the index of a bundle in service, while requests run."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock

from karec.bundle import Bundle
from karec.bundle.tower_files import INDEX, ITEM_TOWER, space_id_of
from karec.errors import DataError, one_line
from karec.index import ItemIndex
from karec.refresh.shards import KINDS, Shard, library_folder, list_shards

MAX_TRIES = 8  # of a shard, if items are removed while it is written

_log = logging.getLogger("karec.refresh")


@dataclass(eq=False)
class LibraryFollower:
    """Adds each shard of a bundle's library once, round by round, to the bundle's index. Threads call
    ``follow``; ``catch_up`` only one at a time.

    It starts with the oldest shard if the bundle is another one than the last time or if the library was
    removed and made again. Items that the index does not have, for instance removed ones, are left out. When
    the last row of an earlier model version is replaced, the lists of an index with lists are built again.
    """

    n_written_rows: int = 0
    _bundle: weakref.ref[Bundle] | None = field(default=None, init=False, repr=False)
    _added: set[tuple[int, int]] = field(default_factory=set, init=False, repr=False)
    _following: Lock = field(default_factory=Lock, init=False, repr=False)
    _failure: str = field(default="", init=False, repr=False)

    def follow(self, bundle: Bundle, on_added: Callable[[], None]) -> None:
        """Adds new shards and calls ``on_added`` if there were rows.

        A damaged shard is a warning, once, and tried again at the next call.
        """
        with self._following:
            before = self.n_written_rows
            try:
                try:
                    self.catch_up(bundle)
                finally:  # shards before a damaged one were added
                    if self.n_written_rows != before:
                        on_added()
            except Exception as error:  # the polling thread must survive errors of a shard, a tower, the disk
                if str(error) != self._failure:
                    _log.warning("%s", one_line(f"refreshed vectors are not taken: {error}"))
                self._failure = str(error)
            else:
                self._failure = ""

    def catch_up(self, bundle: Bundle) -> int:
        """Adds the shards that are new since the last call. Returns the number of items with new vectors.

        Raises DataError if a shard is of another item tower than the bundle's, IndexFormatError if a shard is
        damaged.
        """
        if self._bundle is None or self._bundle() is not bundle:
            self._bundle, self._added = weakref.ref(bundle), set()
        before = self.n_written_rows
        shards = list_shards(library_folder(bundle.path))
        # if the library was removed, rounds start at 1 again
        if not shards or shards[-1].key < max(self._added, default=(0, 0)):
            self._added = set()
        self._added &= {shard.key for shard in shards}
        newest_round = max(self._added, default=(0, 0))[0]
        # a late shard of an earlier round would replace newer vectors
        new = [shard for shard in shards if shard.round >= newest_round and shard.key not in self._added]
        space_id = space_id_of(bundle.path / ITEM_TOWER) if new else 0  # this reads the tower
        for shard in new:
            with suppress(FileNotFoundError):  # removed meanwhile: a later round has its items
                self._add(bundle, shard, space_id)
            self._added.add(shard.key)
        return self.n_written_rows - before

    def _add(self, bundle: Bundle, shard: Shard, space_id: int) -> None:
        index = bundle.index
        was_mixed = len(index.model_versions) > 1
        self.n_written_rows += self._upsert(bundle, shard, INDEX, index, space_id)
        for kind in bundle.item_types:
            self._upsert(bundle, shard, f"{KINDS}/{kind}.karec", bundle.item_type(kind).index, space_id)
        if was_mixed and len(index.model_versions) == 1 and index.n_lists:
            index.build_lists(min(index.n_lists, len(index)))

    @staticmethod
    def _upsert(bundle: Bundle, shard: Shard, file: str, index: ItemIndex, space_id: int) -> int:
        shard_index = shard.index(file)
        if shard_index is None or not len(shard_index):
            return 0
        (version,) = shard_index.versions
        if (version.number, version.space_id) != (bundle.model_version, space_id):
            raise DataError(
                f"{shard.path / file}: vectors have model version {version.number} and space "
                f"{version.space_id:016x}, expected {bundle.model_version} and {space_id:016x} of the "
                f"bundle's item tower. Remove {shard.path.parent}."
            )

        def write() -> int:
            ids = shard_index.ids[index.lookup(shard_index.ids) >= 0]
            vectors, codes = shard_index.embeddings(shard_index.lookup(ids)), None
            if index.schema.code_columns:
                rows = bundle.snapshot.works.lookup(ids)
                codes = bundle.encoder.item_codes(bundle.snapshot, rows, index.schema.code_columns)
            index.upsert(ids, vectors, None, version.number, version.space_id, codes)
            return len(ids)

        for _ in range(MAX_TRIES):
            # fails if an item was removed since the look-up: a new one would need its columns
            with suppress(ValueError):
                return write()
        return write()
