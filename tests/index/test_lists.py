"""Searches by lists find the same items as the exact search of those lists."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karec.index import ItemIndex

N, DIM = 3000, 12


def gathered(n: int = N, seed: int = 0) -> np.ndarray:
    """Returns (n, DIM) vectors around thirty centres."""
    rng = np.random.default_rng(seed)
    return (
        2 * rng.standard_normal((30, DIM))[rng.integers(0, 30, n)] + rng.standard_normal((n, DIM))
    ).astype("f4")


@pytest.fixture
def listed() -> ItemIndex:
    index = ItemIndex.build(np.arange(N), gathered(), "float32", {"creator_id": np.arange(N) % 7})
    index.build_lists(60)
    return index


def test_search_of_few_lists_finds_most_of_the_best_items(listed: ItemIndex) -> None:
    queries = gathered(20, 1)
    exact, some = listed.search(queries, 100), listed.search(queries, 100, n_probe=6)
    recall = [np.isin(expected, result).mean() for expected, result in zip(exact.ids, some.ids, strict=True)]
    assert 0.8 < np.mean(recall) < 1


def test_build_lists_reorders_rows_and_keeps_their_items(listed: ItemIndex) -> None:
    rows = listed.lookup(np.arange(N))
    assert sorted(rows.tolist()) == list(range(N)) and rows.tolist() != list(range(N))
    np.testing.assert_array_equal(listed.embeddings(rows), gathered())
    np.testing.assert_array_equal(listed.gather("creator_id", rows), np.arange(N) % 7)
    near = np.linalg.norm(np.diff(listed.embeddings(np.arange(N)), axis=0), axis=1).mean()
    assert near < 0.6 * np.linalg.norm(np.diff(gathered(), axis=0), axis=1).mean()


def test_search_with_n_probe_requires_lists(listed: ItemIndex) -> None:
    index = ItemIndex.build([1, 2], np.eye(2))
    assert index.n_lists == 0 and listed.n_lists == 60
    with pytest.raises(ValueError, match=r"the index has no lists to probe: build_lists\(\) makes them"):
        index.search([1, 0], 1, n_probe=1)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"n_probe must be positive, got {wrong}"):
            listed.search(np.ones(DIM), 1, n_probe=wrong)
    with pytest.raises(TypeError, match="n_probe must be a whole number"):
        listed.search(np.ones(DIM), 1, n_probe=1.5)  # type: ignore[arg-type]


def test_build_lists_refuses_a_wrong_number_of_lists(listed: ItemIndex) -> None:
    generation = listed.generation
    with pytest.raises(
        ValueError, match=f"n_lists is {N + 1}, expected 1 to {N}: the index has {N} items of model"
    ):
        listed.build_lists(N + 1)
    with pytest.raises(ValueError, match="n_lists must be positive, got 0"):
        listed.build_lists(0)
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        listed.build_lists(3, seed=-1)
    with pytest.raises(ValueError, match="no items of model version 0 to put into lists"):
        ItemIndex.build([], np.ones((0, 3))).build_lists()
    assert listed.generation == generation and listed.n_lists == 60


def test_build_lists_makes_4_sqrt_n_lists_by_default(listed: ItemIndex) -> None:
    listed.build_lists()
    assert listed.n_lists == round(4 * N**0.5)
    few = ItemIndex.build([7, 8], np.eye(2))
    few.build_lists()
    assert few.n_lists == 2


def test_build_lists_invalidates_earlier_rows_and_masks(listed: ItemIndex) -> None:
    """Rows are renumbered, so a row or mask of another generation would select other items."""
    rows = listed.lookup([5, 6])
    listed.remove([1, 2, 3])
    mask = np.ones(listed.n_rows, bool)
    listed.build_lists(50)
    assert listed.n_rows == len(listed) == N - 3
    with pytest.raises(ValueError, match="rows are of generation"):
        listed.search(np.ones(DIM), rows=rows, k=1)
    with pytest.raises(ValueError, match="make the mask and search on one view"):
        listed.search(np.ones(DIM), 1, mask=mask)
    with pytest.raises(ValueError, match="make the mask and search on one view"):
        listed.search(np.ones(DIM), 1, mask=np.ones(N - 4, bool))


def test_search_by_lists_leaves_out_masked_and_blocked_items(listed: ItemIndex) -> None:
    query = gathered(1, 3)[0]
    first = listed.search(query, 50, n_probe=4)
    mask = np.ones(listed.n_rows, bool)
    mask[first.rows[:10]] = False
    listed.block(first.ids[10:20])
    left = listed.search(query, 30, mask=mask, n_probe=4)
    assert (
        left.ids.tolist() == first.ids[20:50].tolist()
        and left.scores.tolist() == first.scores[20:50].tolist()
    )


def test_saved_lists_find_the_same_items(listed: ItemIndex, tmp_path: Path) -> None:
    """Rows that were written later move into the ranges of their lists, so that rows differ and items do
    not."""
    listed.upsert(np.arange(N - 50, N + 50), gathered(100, 8), {"creator_id": np.zeros(100, int)})
    listed.remove(np.arange(100))
    query = gathered(1, 4)[0]
    result = listed.search(query, 2000, n_probe=5)
    listed.save(tmp_path / "one")
    for verify in (True, False):
        opened = ItemIndex.open(tmp_path / "one", verify)
        assert opened.n_lists == 60
        again = opened.search(query, 2000, n_probe=5)
        assert dict(zip(*again, strict=True)) == dict(zip(*result, strict=True))
    opened.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 99),
    n_lists=st.integers(1, 40),
    n_probe=st.integers(1, 45),
    k=st.integers(1, 400),
    writes=st.lists(st.sampled_from(["upsert", "remove", "block", "adjust", "lists"]), max_size=6),
)
def test_search_by_lists_is_exact_within_its_lists(
    seed: int, n_lists: int, n_probe: int, k: int, writes: list[str]
) -> None:
    """Each item is found at most once, in the order of the exact search, and no missing item is found."""
    rng = np.random.default_rng(seed)
    index = ItemIndex.build(np.arange(300), gathered(300, seed))
    index.build_lists(n_lists, seed)
    for at, write in enumerate(writes):
        ids = rng.permutation(400)[:80]
        if write == "upsert":
            index.upsert(ids, gathered(80, 10 * seed + at))
        elif write == "lists":
            index.build_lists(min(n_lists, len(index)), at)
        elif write == "adjust":
            index.adjust(ids, scale=rng.normal(size=80), offset=rng.normal(size=80))
        else:
            getattr(index, write)(ids[:40])
    query = gathered(1, seed + 7)[0]
    exact, result = index.search(query, 400), index.search(query, k, n_probe=n_probe)
    everything = index.search(query, 400, n_probe=n_probe)
    kept = np.isin(exact.ids, everything.ids)
    assert (
        exact.ids[kept].tolist() == everything.ids.tolist()
        and len(set(everything.ids.tolist())) == kept.sum()
    )
    assert exact.scores[kept].tolist() == everything.scores.tolist()
    assert result.ids.tolist() == everything.ids[:k].tolist()
    if n_probe >= index.n_lists:
        assert kept.all()


@pytest.mark.parametrize("k", [40, 2000])
def test_search_by_lists_skips_versions_without_a_query(listed: ItemIndex, k: int) -> None:
    """This holds for few and for nearly all of the scored items."""
    listed.upsert(
        np.arange(0, N, 3), gathered(N // 3, 5), model_version=2, columns={"creator_id": np.zeros(N // 3)}
    )
    query = {0: gathered(1, 4)[0]}
    exact = listed.search(query, N)
    result = listed.search(query, k, n_probe=40)
    everything = listed.search(query, N, n_probe=40)
    assert (result.ids % 3 > 0).all() and result.n_unknown == N // 3
    assert result.ids.tolist() == everything.ids[:k].tolist()
    assert result.ids.tolist() == exact.ids[np.isin(exact.ids, everything.ids)][:k].tolist()


def test_searches_read_one_generation_while_lists_are_built(listed: ItemIndex) -> None:
    """Every write gives all items one vector, so a search of two generations has different scores."""
    index = ItemIndex.build(np.arange(400), np.ones((400, DIM)))
    index.build_lists(4)
    ended = threading.Event()
    wrong: list[object] = []
    searched = threading.Event()

    def read() -> None:
        while not (ended.is_set() and searched.is_set()):
            result = index.search(np.ones(DIM), 400, n_probe=2)
            if len(set(result.scores.tolist())) > 1 or len(set(result.ids.tolist())) != len(result.ids):
                wrong.append(result)
            searched.set()

    reader = threading.Thread(target=read)
    reader.start()
    for value in range(2, 20):
        index.upsert(np.arange(400), np.full((400, DIM), value))
        index.remove([value])
        index.build_lists(1 + value % 5, value)
    ended.set()
    reader.join()
    assert not wrong and index.generation == 2 + 3 * 18
