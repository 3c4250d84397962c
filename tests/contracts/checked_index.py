"""An item index, and a dictionary of the same items that its results are compared with.

Values are integers, so that every float32 score is exact and many scores are equal.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from karec.index import ItemIndex
from karec.index.search_result import SearchResult
from karec.kernels import reference

FULL = 32767  # a query whose largest value is this meets int8 rows as it is


@dataclass
class Work:
    vector: NDArray[np.float32]
    version: int
    creator: int
    scale: float = 1.0
    offset: float = 0.0
    blocked: bool = False


@dataclass
class CheckedIndex:
    """An index, and the items that it contains."""

    rng: np.random.Generator
    dim: int
    dtype: str
    rescore: bool
    index: ItemIndex = field(init=False)
    works: dict[int, Work] = field(default_factory=dict)
    # space_id, scale, offset of a version
    spaces: dict[int, tuple[int, float, float]] = field(default_factory=dict)

    def vectors(self, n: int) -> NDArray[np.float32]:
        rows = self.rng.integers(-2, 3, (n, self.dim)).astype(np.float32)
        if self.dtype == "int8" and n:
            rows[np.arange(n), self.rng.integers(0, self.dim, n)] = 127  # so that the row's scale is 1
        return rows

    def query(self) -> NDArray[np.float32]:
        query = self.rng.integers(-2, 3, self.dim).astype(np.float32)
        query[self.rng.integers(self.dim)] = FULL
        return query

    def build(self, ids: list[int]) -> None:
        vectors, creators = self.vectors(len(ids)), self.rng.integers(0, 9, len(ids))
        columns = {"creator_id": creators}
        self.index = ItemIndex.build(ids, vectors, self.dtype, columns, 3, self.rescore, 33)  # type: ignore[arg-type]
        self.spaces = {3: (33, 1.0, 0.0)}
        self.works = {i: Work(*work) for i, *work in zip(ids, vectors, [3] * len(ids), creators, strict=True)}

    def upsert(self, ids: list[int], version: int) -> None:
        vectors, creators = self.vectors(len(ids)), self.rng.integers(0, 9, len(ids))
        self.index.upsert(ids, vectors, {"creator_id": creators}, version, 11 * version)
        self._begun(version)
        for i, vector, creator in zip(ids, vectors, creators, strict=True):
            old = self.works.get(i, Work(vector, version, creator))
            self.works[i] = Work(vector, version, creator, old.scale, old.offset, old.blocked)

    def refresh(self, ids: list[int], version: int) -> None:
        """Writes new vectors of known items. Their columns stay."""
        known = [i for i in ids if i in self.works]
        vectors = self.vectors(len(known))
        self.index.upsert(known, vectors, model_version=version, space_id=11 * version)
        self._begun(version)
        for i, vector in zip(known, vectors, strict=True):
            self.works[i].vector, self.works[i].version = vector, version

    def _begun(self, version: int) -> None:
        """Resets the calibration of a version that has no items."""
        if version not in {work.version for work in self.works.values()}:
            self.spaces[version] = (11 * version, 1.0, 0.0)

    def calibrate(self, version: int, scale: float, offset: float) -> None:
        if scale > 0 and version in {work.version for work in self.works.values()}:
            self.index.calibrate(version, scale=scale, offset=offset)
            self.spaces[version] = (11 * version, scale, offset)
        else:
            with pytest.raises(ValueError, match=r"scale|model version"):
                self.index.calibrate(version, scale=scale, offset=offset)

    def remove(self, ids: list[int]) -> None:
        assert self.index.remove(ids) == self.count_known(ids)
        for i in ids:
            self.works.pop(i, None)

    def set_blocked(self, ids: list[int], blocked: bool) -> None:
        n_known = self.index.block(ids) if blocked else self.index.unblock(ids)
        assert n_known == self.count_known(ids)
        for i in set(ids) & set(self.works):
            self.works[i].blocked = blocked

    def adjust(self, ids: list[int], scale: float | None, offset: float | None) -> None:
        assert self.index.adjust(ids, scale=scale, offset=offset) == self.count_known(ids)
        for i in set(ids) & set(self.works):
            work = self.works[i]
            work.scale = work.scale if scale is None else scale
            work.offset = work.offset if offset is None else offset

    def build_lists(self, n_lists: int | None, seed: int) -> None:
        """Builds ``n_lists`` lists; ValueError is expected if the last written version has fewer items."""
        n_newest = sum(work.version == self.index.model_version for work in self.works.values())
        if n_newest >= (1 if n_lists is None else n_lists):
            self.index.build_lists(n_lists, seed)
            assert n_lists in (None, self.index.n_lists)
        else:
            with pytest.raises(ValueError, match="lists"):
                self.index.build_lists(n_lists, seed)

    def reopen(self, path: Path, verify: bool) -> None:
        """Saves the index and opens the file."""
        self.index.save(path)
        self.index = ItemIndex.open(path, verify)

    def count_known(self, ids: list[int]) -> int:
        return sum(i in self.works for i in ids)

    def compare(self, ids: list[int], k: int) -> None:
        """Compares the properties of the index, and its search results among ``ids``, with the items."""
        index, rows = self.index, self.index.lookup(ids)
        assert len(index) == len(self.works)
        assert set(index.ids[index.present].tolist()) == set(self.works)
        required = [self.works.get(i) for i in ids]
        assert index.gather("creator_id", rows).tolist() == [0 if w is None else w.creator for w in required]
        assert index.model_versions_of(rows).tolist() == [0 if w is None else w.version for w in required]
        vectors = index.embeddings(rows)
        for work, vector in zip(required, vectors, strict=True):
            np.testing.assert_array_equal(vector, np.zeros(self.dim) if work is None else work.vector)
        versions = sorted({work.version for work in self.works.values()})
        assert index.model_versions == tuple(versions)
        counts = [sum(work.version == version for work in self.works.values()) for version in versions]
        known = [(v, n, *self.spaces[v]) for v, n in zip(versions, counts, strict=True)]
        assert [astuple(version) for version in index.versions] == known
        queries = {version: self.query() for version in [*versions, 77]}
        if len(versions) > 1 and self.rng.random() < 0.3:
            del queries[versions[0]]
        self._compare_searches(ids, k, queries)
        self._compare_batches(ids, k, queries)
        if len(versions) < 2:
            query = queries[versions[0] if versions else 77]
            assert_same(index.search(query, ids=ids, k=k), index.search(queries, ids=ids, k=k))

    def _compare_searches(self, ids: list[int], k: int, queries: dict[int, NDArray[np.float32]]) -> None:
        index = self.index
        result = index.search(queries, ids=ids, k=k)
        expected = [self.score(self.works.get(i), queries) for i in ids]
        scores = index.scores(queries, ids=ids)
        np.testing.assert_array_equal(scores, [-np.inf if s is None else s for s in expected])
        known = [at for at, s in enumerate(expected) if s is not None]
        best = [known[at] for at in reference.top_k([expected[at] for at in known], k)]
        assert result.positions.tolist() == best and result.ids.tolist() == [ids[at] for at in best]
        assert result.scores.tolist() == [expected[at] for at in best]
        assert result.n_blocked == sum(i in self.works and self.works[i].blocked for i in ids)
        assert result.n_unknown == len(ids) - len(known) - result.n_blocked
        by_row = index.search(queries, rows=index.lookup(ids), k=k)
        assert_same(
            [by_row.ids, by_row.scores, by_row.positions], [result.ids, result.scores, result.positions]
        )

        mask = self.rng.random(index.n_rows) < 0.7
        for shown in (None, mask):
            everything = index.search(queries, k, mask=shown)
            of_all = [
                self.score(work, queries)
                for row, work in zip(
                    index.lookup(list(self.works)).tolist(), self.works.values(), strict=True
                )
                if shown is None or shown[row]
            ]
            assert (
                everything.scores.tolist() == sorted((s for s in of_all if s is not None), reverse=True)[:k]
            )
            if index.n_lists:
                probed = index.search(queries, k, mask=shown, n_probe=index.n_lists)
                assert_same(probed, everything)
        if index.n_lists and not index.rescores:
            n_probe = int(self.rng.integers(1, index.n_lists + 1))
            some = index.search(queries, k, n_probe=n_probe)
            exact = index.search(queries, len(index) + 1)
            pairs = set(zip(exact.ids.tolist(), exact.scores.tolist(), strict=True))
            assert set(zip(some.ids.tolist(), some.scores.tolist(), strict=True)) <= pairs

    def _compare_batches(self, ids: list[int], k: int, queries: dict[int, NDArray[np.float32]]) -> None:
        """Compares each user of a batch with a search for that user only."""
        users = {version: np.stack([query, self.query()]) for version, query in queries.items()}
        batch = self.index.search(users, ids=ids, k=k)
        everything = self.index.search(users, k)
        for user in range(2):
            own = {version: both[user] for version, both in users.items()}
            alone = self.index.search(own, ids=ids, k=k)
            n = len(alone.ids)
            assert_same([batch.ids[user, :n], batch.scores[user, :n]], [alone.ids, alone.scores])
            assert np.all(batch.ids[user, n:] == -1)
            alone = self.index.search(own, k)
            n = len(alone.ids)
            assert_same([everything.ids[user, :n], everything.scores[user, :n]], [alone.ids, alone.scores])

    def score(self, work: Work | None, queries: dict[int, NDArray[np.float32]]) -> float | None:
        """Returns the score of an item, None if no search can find it."""
        if work is None or work.blocked or work.version not in queries:
            return None
        product = float(reference.scores([work.vector], queries[work.version], [0])[0])
        _, scale, offset = self.spaces[work.version]
        return (product * scale + offset) * work.scale + work.offset


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, SearchResult):
        a, b = vars(a), vars(b)
        assert list(a) == list(b)
        a, b = list(a.values()), list(b.values())
    if isinstance(a, list):
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    else:
        assert a == b
