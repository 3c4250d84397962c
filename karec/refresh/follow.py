"""What a refresh writes, into the index of a bundle that serves: shard after shard, while requests run."""

from __future__ import annotations

import weakref
from contextlib import suppress
from dataclasses import dataclass, field

from karec._giving_way import give_way
from karec.bundle import Bundle
from karec.bundle.vector_spaces import PRERANK, RECALL, spaces_of
from karec.errors import DataError
from karec.index import ItemIndex
from karec.refresh.shards import KINDS, Shard, library_of, shards_in

TRIES = 8  # where works are removed while a shard is written


@dataclass(eq=False)
class LibraryFollower:
    """Adds the shards of a bundle's library to the bundle's index, each once, in their order. One thread at a
    time.

    A new follower, another bundle than last time, or a library that was removed and is made anew: it begins
    with the oldest shard that is there. Works that the index does not hold, as those that were removed since,
    stay out. When the last row of an earlier model version is gone, the works are put into lists again, where
    they were in lists.
    """

    works: int = 0  # rows that were written so far
    _bundle: weakref.ref[Bundle] | None = field(default=None, init=False, repr=False)
    _after: tuple[int, int] = field(default=(0, 0), init=False, repr=False)

    def catch_up(self, bundle: Bundle) -> int:
        """How many works have newer vectors now: those of the shards that came since the last call.

        DataError: a shard is of another item tower than the bundle's. IndexFormatError: a shard is damaged.
        """
        if self._bundle is None or self._bundle() is not bundle:
            self._bundle, self._after = weakref.ref(bundle), (0, 0)
        before = self.works
        there = shards_in(library_of(bundle.path))
        # somebody removed them: rounds begin at 1
        if not there or (there[-1].round, there[-1].number) < self._after:
            self._after = (0, 0)
        new = [each for each in there if (each.round, each.number) > self._after]
        spaces = spaces_of(bundle.path) if new else {}  # which reads towers
        for shard in new:
            give_way()
            with suppress(FileNotFoundError):  # retired meanwhile: a later round has its works
                self._add(bundle, shard, spaces[PRERANK], spaces.get(RECALL, 0))
            self._after = (shard.round, shard.number)
        return self.works - before

    def _add(self, bundle: Bundle, shard: Shard, space: int, recall_space: int) -> None:
        several = len(bundle.index.model_versions) > 1
        if bundle.recall_index is not None:
            self._upsert(bundle, shard, RECALL.index, bundle.recall_index, recall_space)
        self.works += self._upsert(bundle, shard, PRERANK.index, bundle.index, space)
        for kind in bundle.kinds:
            self._upsert(bundle, shard, f"{KINDS}/{kind}.karec", bundle.kind(kind).index, space)
        if several and len(bundle.index.model_versions) == 1:
            for index in (bundle.index, bundle.recall_index):
                if index is not None and index.n_lists:
                    index.build_lists(min(index.n_lists, len(index)))

    @staticmethod
    def _upsert(bundle: Bundle, shard: Shard, file: str, into: ItemIndex, space: int) -> int:
        found = shard.index(file)
        if found is None or not len(found):
            return 0
        (made,) = found.versions
        if (made.number, made.space_id) != (bundle.model_version, space):
            raise DataError(
                f"{shard.path / file} holds vectors of model version {made.number} in the space "
                f"{made.space_id:016x}, the bundle's item tower makes {bundle.model_version} in "
                f"{space:016x}: remove {shard.path.parent}"
            )

        def written() -> int:
            ids = found.ids[into.lookup(found.ids) >= 0]
            into.upsert(ids, found.embeddings(found.lookup(ids)), None, made.number, made.space_id)
            return len(ids)

        for _ in range(TRIES):
            # a work was removed since the look-up, and a new one would need its columns
            with suppress(ValueError):
                return written()
        return written()
