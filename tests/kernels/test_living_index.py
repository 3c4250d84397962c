"""One conformance suite for an index that is written to: C++ and Numba take the same writes, and say the same.

Both are compared with each other to the bit, and with a dictionary of works where values are whole numbers, so that
every float32 score is exact and many are tied. ``test_backends.py`` runs this on every instruction set of the machine.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from karec.index import ItemIndex
from karec.index.search_result import SearchResult
from karec.kernels import reference

LIBRARIES = ("native", "portable")
IDS = st.lists(st.integers(-4, 12), max_size=12)
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
class Twins:
    """The same index on both backends, and the works that it holds."""

    rng: np.random.Generator
    dim: int
    dtype: str
    rescore: bool
    whole: bool
    indexes: dict[str, ItemIndex] = field(default_factory=dict)
    works: dict[int, Work] = field(default_factory=dict)

    def both(self, call: Any) -> Any:
        """What ``call(index)`` gives, once both have given the same."""
        native, other = (call(index) for index in self.indexes.values())
        assert_same(native, other)
        return native

    def vectors(self, n: int) -> NDArray[np.float32]:
        if not self.whole:
            return self.rng.standard_normal((n, self.dim)).astype(np.float32)
        rows = self.rng.integers(-2, 3, (n, self.dim)).astype(np.float32)
        if self.dtype == "int8" and n:
            rows[np.arange(n), self.rng.integers(0, self.dim, n)] = 127  # so that the row's scale is 1
        return rows

    def query(self) -> NDArray[np.float32]:
        if not self.whole:
            return self.rng.standard_normal(self.dim).astype(np.float32)
        query = self.rng.integers(-2, 3, self.dim).astype(np.float32)
        query[self.rng.integers(self.dim)] = FULL
        return query

    def build(self, ids: list[int]) -> None:
        vectors, creators = self.vectors(len(ids)), self.rng.integers(0, 9, len(ids))
        for name in LIBRARIES:
            with on(name):
                columns = {"creator_id": creators}
                self.indexes[name] = ItemIndex.build(ids, vectors, self.dtype, columns, 3, self.rescore)  # type: ignore[arg-type]
        self.works = {i: Work(*work) for i, *work in zip(ids, vectors, [3] * len(ids), creators, strict=True)}

    def upsert(self, ids: list[int], version: int) -> None:
        vectors, creators = self.vectors(len(ids)), self.rng.integers(0, 9, len(ids))
        self.both(lambda index: index.upsert(ids, vectors, {"creator_id": creators}, version))
        for i, vector, creator in zip(ids, vectors, creators, strict=True):
            old = self.works.get(i, Work(vector, version, creator))
            self.works[i] = Work(vector, version, creator, old.scale, old.offset, old.blocked)

    def remove(self, ids: list[int]) -> None:
        assert self.both(lambda index: index.remove(ids)) == self.unknown(ids)
        for i in ids:
            self.works.pop(i, None)

    def set_blocked(self, ids: list[int], blocked: bool) -> None:
        unknown = self.both(lambda index: index.block(ids) if blocked else index.unblock(ids))
        assert unknown == self.unknown(ids)
        for i in set(ids) & set(self.works):
            self.works[i].blocked = blocked

    def adjust(self, ids: list[int], scale: float | None, offset: float | None) -> None:
        assert self.both(lambda index: index.adjust(ids, scale=scale, offset=offset)) == self.unknown(ids)
        for i in set(ids) & set(self.works):
            work = self.works[i]
            work.scale = work.scale if scale is None else scale
            work.offset = work.offset if offset is None else offset

    def exchange(self, folder: Path, verify: bool) -> None:
        """Each saves, and opens what the other one saved."""
        for name, index in self.indexes.items():
            index.save(folder / name)
        for name, saved in zip(LIBRARIES, reversed(LIBRARIES), strict=True):
            with on(name):
                self.indexes[name] = ItemIndex.open(folder / saved, verify)

    def unknown(self, ids: list[int]) -> int:
        return sum(i not in self.works for i in ids)

    def compare(self, ids: list[int], k: int) -> None:
        """Everything that an index says, and what it finds among ``ids``."""
        said = self.both(
            lambda index: [
                *(len(index), index.n_rows, index.generation, index.model_version, index.model_versions),
                *(index.present, index.ids[index.present], index.columns["creator_id"][index.present]),
                *(index.lookup(ids), index.embeddings(index.lookup(ids))),
            ]
        )
        assert said[0] == len(self.works) and set(said[6].tolist()) == set(self.works)
        versions = sorted({work.version for work in self.works.values()})
        assert said[4] == tuple(versions)
        queries = {version: self.query() for version in [*versions, 77]}
        if len(versions) > 1 and self.rng.random() < 0.3:
            del queries[versions[0]]
        told: dict[str, Any] = {"query_by_version": queries}
        if len(versions) < 2 and self.rng.random() < 0.5:
            told = {"query": queries[versions[0] if versions else 77]}
        found = self.both(lambda index: index.search(ids=ids, k=k, **told))
        scores = self.both(lambda index: index.scores(ids=ids, **told))
        self.both(lambda index: index.search(rows=index.lookup(ids), k=k, **told))
        mask = self.rng.random(said[1]) < 0.7
        for_all = {"queries" if name == "query" else name: each for name, each in told.items()}
        self.both(lambda index: index.search_all(k=k, mask=mask, **for_all))
        everything = self.both(lambda index: index.search_all(k=k, **for_all))
        if "query" in told:
            told = {"query_by_version": dict.fromkeys(versions, told["query"])}
        users = {version: np.stack([query, self.query()]) for version, query in told["query_by_version"].items()}
        indptr = [0, len(ids) // 3, len(ids)]
        if users:
            self.both(lambda index: index.search_batch(query_by_version=users, ids=ids, indptr=indptr, k=k))
            self.both(lambda index: index.search_all(query_by_version=users, k=k, mask=mask))
        if self.whole:
            self.judge(found, scores, everything, ids, k, told["query_by_version"])

    def judge(
        self,
        found: SearchResult,
        scores: NDArray[np.float32],
        everything: SearchResult,
        ids: list[int],
        k: int,
        queries: dict[int, NDArray[np.float32]],
    ) -> None:
        def score(work: Work | None) -> float | None:
            if work is None or work.blocked or work.version not in queries:
                return None
            product = float(reference.scores([work.vector], queries[work.version], [0])[0])
            return product * work.scale + work.offset

        expected = [score(self.works.get(i)) for i in ids]
        np.testing.assert_array_equal(scores, [-np.inf if s is None else s for s in expected])
        known = [at for at, s in enumerate(expected) if s is not None]
        best = [known[at] for at in reference.top_k([expected[at] for at in known], k)]
        assert found.positions.tolist() == best and found.ids.tolist() == [ids[at] for at in best]
        assert found.scores.tolist() == [expected[at] for at in best]
        assert found.blocked == sum(i in self.works and self.works[i].blocked for i in ids)
        assert found.unknown == len(ids) - len(known) - found.blocked
        of_all = sorted((s for s in map(score, self.works.values()) if s is not None), reverse=True)
        assert everything.scores.tolist() == of_all[:k]


@contextmanager
def on(backend: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAREC_BACKEND", backend)
        yield


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


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dim=st.sampled_from([1, 3, 7, 16, 17, 33, 64, 65]),
    stored=st.sampled_from([("float16", False), ("float32", False), ("int8", False), ("int8", True)]),
    whole=st.booleans(),
    first=st.sets(st.integers(-4, 12)),
    data=st.data(),
)
def test_the_same_writes_give_the_same_index(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    dim: int,
    stored: tuple[str, bool],
    whole: bool,
    first: set[int],
    data: st.DataObject,
) -> None:
    twins = Twins(np.random.default_rng(seed), dim, *stored, whole)
    twins.build(sorted(first))
    writes = ["upsert", "upsert", "remove", "block", "block everything", "unblock", "adjust", "exchange"]
    for write in data.draw(st.lists(st.sampled_from(writes), max_size=8)):
        ids = data.draw(IDS)
        if write == "upsert":
            twins.upsert(list(dict.fromkeys(ids)), data.draw(st.sampled_from([3, 4, 5])))
        elif write == "remove":
            twins.remove(ids)
        elif write == "adjust":
            halves = st.tuples(st.sampled_from([None, 2.0, -1.0, 0.5]), st.sampled_from([None, 7.0, -0.0]))
            twins.adjust(ids, *data.draw(halves.filter(lambda each: each != (None, None))))
        elif write == "exchange":
            twins.exchange(tmp_path_factory.mktemp("saved"), data.draw(st.booleans()))
        else:
            twins.set_blocked(list(twins.works) if write == "block everything" else ids, write != "unblock")
        twins.compare(data.draw(IDS), data.draw(st.integers(1, 15)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("dim", [1, 2, 31, 128, 1000])
def test_many_candidates_score_to_the_same_bits(dtype: str, dim: int) -> None:
    """More than a block of them, with ties and repeats, ascending where dimensions are few."""
    rng = np.random.default_rng(dim)
    twins = Twins(rng, dim, dtype, dtype == "int8", False)
    twins.build(list(range(3000)))
    if dim == 1:
        order = np.argsort(twins.indexes["native"].embeddings(np.arange(3000))[:, 0], kind="stable")
    else:
        order = rng.integers(-1, 3000, 40_000)
    query = twins.query()
    twins.both(lambda index: index.adjust(np.arange(0, 3000, 3), scale=1.3, offset=0.1))
    for k in (1, 100, 50_000):
        twins.both(lambda index, k=k: index.search(query, rows=order, k=k))
    twins.both(lambda index: index.scores(query, rows=order))
    twins.both(lambda index: index.search_all([query] * 4, 10))


def rescored(vectors: NDArray[np.float32]) -> Twins:
    twins = Twins(np.random.default_rng(0), vectors.shape[1], "int8", True, False)
    for name in LIBRARIES:
        with on(name):
            twins.indexes[name] = ItemIndex.build(np.arange(len(vectors)), vectors, "int8", rescore=True)
    return twins


def test_equal_rescored_scores_go_to_the_lowest_position() -> None:
    """1.5 both; in int8 the second is 1.504."""
    twins = rescored(np.array([[0.75, 0.75, 0], [1, 0, 0.5]], np.float32))
    assert twins.both(lambda index: index.scores([1, 1, 1], ids=[0, 1])).argmax() == 1
    assert twins.both(lambda index: index.search([1, 1, 1], ids=[0, 1], k=2)).ids.tolist() == [0, 1]
    assert twins.both(lambda index: index.search_all([1, 1, 1], 2)).ids.tolist() == [0, 1]


@pytest.mark.parametrize("k", [1, 7, 50])
def test_the_best_fifth_more_is_rescored(k: int) -> None:
    """All are the same in int8, so that the first 1.2·k, rounded up, come to be rescored: the last of them win."""
    rising = np.stack([np.ones(200), np.linspace(0, 1e-3, 200)], axis=1).astype(np.float32)
    twins = rescored(rising)
    first = k + -(-k // 5)
    expected = list(range(first - 1, first - 1 - k, -1))
    assert twins.both(lambda index: index.search([0, 1], rows=np.arange(200), k=k)).positions.tolist() == expected
    assert twins.both(lambda index: index.search_all([0, 1], k)).positions.tolist() == expected


@pytest.mark.usefixtures("backend")
def test_a_search_sees_one_generation_while_others_write() -> None:
    """Every write gives all works one and the same vector: a search that sees two of them saw half a write."""
    n = 500
    index = ItemIndex.build(np.arange(n), np.zeros((n, 4)))
    ended = threading.Event()
    mixed: list[object] = []
    generations: set[int] = set()

    def read() -> None:
        try:
            while not (ended.is_set() and generations):
                seen = index.search(np.ones(4), ids=np.arange(n), k=n)
                generations.add(seen.generation)
                if len(seen.ids) != n or seen.scores.min() != seen.scores.max():
                    mixed.append(seen.scores.tolist())
        except Exception as error:
            mixed.append(error)
            raise

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for value in range(1, 40):
        index.upsert(np.arange(n), np.full((n, 4), value))
    ended.set()
    for reader in readers:
        reader.join()
    assert (
        not mixed and generations and index.generation == 40 and index.scores(np.ones(4), ids=[7]).tolist() == [156.0]
    )
