"""Contract of an item index: after any writes its results equal those of a dictionary of the items."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from checked_index import CheckedIndex
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from karec.index import ItemIndex

CALIBRATIONS = ((2.0, -3.0), (0.5, 8.0), (1.0, 0.0), (0.0, 1.0))
IDS = st.lists(st.integers(-4, 12), max_size=12)


@given(
    seed=st.integers(0, 2**32 - 1),
    dim=st.sampled_from([1, 3, 7, 16, 17, 33, 64, 65]),
    stored=st.sampled_from([("float16", False), ("float32", False), ("int8", False), ("int8", True)]),
    first=st.sets(st.integers(-4, 12)),
    data=st.data(),
)
def test_index_equals_a_dictionary_of_its_items_after_any_writes(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    dim: int,
    stored: tuple[str, bool],
    first: set[int],
    data: st.DataObject,
) -> None:
    checked = CheckedIndex(np.random.default_rng(seed), dim, *stored)
    checked.build(sorted(first))
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
        "reopen",
        "lists",
    ]
    for write in data.draw(st.lists(st.sampled_from(writes), max_size=8)):
        ids = data.draw(IDS)
        if write == "upsert":
            checked.upsert(list(dict.fromkeys(ids)), data.draw(st.sampled_from([3, 4, 5])))
        elif write == "refresh":
            checked.refresh(list(dict.fromkeys(ids)), data.draw(st.sampled_from([3, 4, 5])))
        elif write == "remove":
            checked.remove(ids)
        elif write == "adjust":
            halves = st.tuples(st.sampled_from([None, 2.0, -1.0, 0.5]), st.sampled_from([None, 7.0, -0.0]))
            checked.adjust(ids, *data.draw(halves.filter(lambda entry: entry != (None, None))))
        elif write == "calibrate":
            checked.calibrate(
                data.draw(st.sampled_from([3, 4, 5])), *data.draw(st.sampled_from(CALIBRATIONS))
            )
        elif write == "lists":
            checked.build_lists(
                data.draw(st.sampled_from([None, 1, 2, 3, 5])), data.draw(st.integers(0, 2**63 - 1))
            )
        elif write == "reopen":
            checked.reopen(tmp_path_factory.mktemp("saved") / "index", data.draw(st.booleans()))
        else:
            checked.set_blocked(
                list(checked.works) if write == "block everything" else ids, write != "unblock"
            )
        checked.compare(data.draw(IDS), data.draw(st.integers(1, 15)))


def rescored(vectors: NDArray[np.float32]) -> ItemIndex:
    return ItemIndex.build(np.arange(len(vectors)), vectors, "int8", rescore=True)


def test_search_breaks_ties_of_rescored_scores_by_lowest_position() -> None:
    """Both scores are 1.5. In int8 the second is 1.504."""
    index = rescored(np.array([[0.75, 0.75, 0], [1, 0, 0.5]], np.float32))
    assert index.scores([1, 1, 1], ids=[0, 1]).argmax() == 1
    assert index.search([1, 1, 1], ids=[0, 1], k=2).ids.tolist() == [0, 1]
    assert index.search([1, 1, 1], 2).ids.tolist() == [0, 1]


@pytest.mark.parametrize("k", [1, 7, 50])
def test_search_rescores_the_best_1_2_k_rows(k: int) -> None:
    """All scores are equal in int8, so the first ⌈1.2·k⌉ rows are rescored. The last of them are the best."""
    rising = np.stack([np.ones(200), np.linspace(0, 1e-3, 200)], axis=1).astype(np.float32)
    index = rescored(rising)
    first = k + -(-k // 5)
    expected = list(range(first - 1, first - 1 - k, -1))
    assert index.search([0, 1], rows=np.arange(200), k=k).positions.tolist() == expected
    assert index.search([0, 1], k).positions.tolist() == expected


def test_search_reads_one_generation_during_writes() -> None:
    """Every write gives all items the same vector, so a search of two generations has different scores."""
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
