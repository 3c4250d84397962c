"""The contract of an item index on each backend: C++ and Numba take the same writes, and give the same
answers.

``tests/kernels/test_backends.py`` runs this on every instruction set of the machine, beside the suites of
scoring and of the greedy DPP.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from index_twins import LIBRARIES, Twins, on
from numpy.typing import NDArray

from karec.index import ItemIndex

CALIBRATIONS = ((2.0, -3.0), (0.5, 8.0), (1.0, 0.0), (0.0, 1.0))
IDS = st.lists(st.integers(-4, 12), max_size=12)


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
    writes = [
        "upsert",
        "upsert",
        "refresh",
        "remove",
        "block",
        "block everything",
        "unblock",
        "adjust",
        "calibrate",
        "exchange",
        "lists",
    ]
    for write in data.draw(st.lists(st.sampled_from(writes), max_size=8)):
        ids = data.draw(IDS)
        if write == "upsert":
            twins.upsert(list(dict.fromkeys(ids)), data.draw(st.sampled_from([3, 4, 5])))
        elif write == "refresh":
            twins.refresh(list(dict.fromkeys(ids)), data.draw(st.sampled_from([3, 4, 5])))
        elif write == "remove":
            twins.remove(ids)
        elif write == "adjust":
            halves = st.tuples(st.sampled_from([None, 2.0, -1.0, 0.5]), st.sampled_from([None, 7.0, -0.0]))
            twins.adjust(ids, *data.draw(halves.filter(lambda each: each != (None, None))))
        elif write == "calibrate":
            twins.calibrate(data.draw(st.sampled_from([3, 4, 5])), *data.draw(st.sampled_from(CALIBRATIONS)))
        elif write == "lists":
            twins.build_lists(
                data.draw(st.sampled_from([None, 1, 2, 3, 5])), data.draw(st.integers(0, 2**63 - 1))
            )
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
    """All are the same in int8, so that the first 1.2·k, rounded up, come to be rescored: the last of them
    win."""
    rising = np.stack([np.ones(200), np.linspace(0, 1e-3, 200)], axis=1).astype(np.float32)
    twins = rescored(rising)
    first = k + -(-k // 5)
    expected = list(range(first - 1, first - 1 - k, -1))
    assert (
        twins.both(lambda index: index.search([0, 1], rows=np.arange(200), k=k)).positions.tolist()
        == expected
    )
    assert twins.both(lambda index: index.search_all([0, 1], k)).positions.tolist() == expected


@pytest.mark.usefixtures("backend")
def test_a_search_sees_one_generation_while_others_write() -> None:
    """Every write gives all works one and the same vector: a search that sees two of them saw half a
    write."""
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
        not mixed
        and generations
        and index.generation == 40
        and index.scores(np.ones(4), ids=[7]).tolist() == [156.0]
    )
