"""Lookups of ids, and the merger of recall sources."""

from __future__ import annotations

from itertools import cycle

import numba_peers
import numpy as np
import pytest
import workloads
from chain.kernels import merge

from karec.index import IdMap, ItemIndex, Strings
from karec.kernels.merge import merge_channels
from karec.kernels.merge_rows import merge_rows
from karec.pipeline.masks import MaskCache
from karec.where import Where

LIMIT = 100_000  # items of a merge
TEXT = 18  # bytes of a text id


@pytest.fixture(scope="module")
def index():
    n = workloads.N_ITEMS
    return ItemIndex.build(workloads.item_ids(n), workloads.item_vectors(n))


@pytest.mark.parametrize("n", [1, 100, 1000, 10_000, 100_000, 300_000])
def test_lookup_of_ids(compare, index, n):
    """Each call looks up other ids: of repeated ones the processor learns the branches of a hash table."""
    ids, rng = workloads.item_ids(workloads.N_ITEMS), np.random.default_rng(n)
    draws = cycle([rng.choice(ids, n) for _ in range(64 if n <= 1000 else 8)])
    order = np.argsort(ids)
    ordered = ids[order]
    row_of = dict(zip(ids.tolist(), range(len(ids)), strict=True))
    id_list = next(draws).tolist()
    table, shift = numba_peers.hash_table(ids)
    assert np.array_equal(numba_peers.find_rows(table, shift, np.array(id_list)), index.lookup(id_list))
    ways = {
        "NumPy searchsorted": lambda: order[np.searchsorted(ordered, next(draws))],
        "Python dict": lambda: [row_of[item_id] for item_id in id_list],
        "Numba hash table": lambda: numba_peers.find_rows(table, shift, next(draws)),
    }
    size = f"{n:,} of {len(ids):.0e} ids"
    compare("recall: lookup of ids", size, lambda: index.lookup(next(draws)), ways, items=n)


@pytest.fixture(scope="module")
def index_with_tags():
    n, rng = workloads.N_ITEMS, np.random.default_rng(8)
    columns = {"tag": rng.integers(-1, 50, n).astype(np.int32), "upload_ms": rng.integers(0, 10**12, n)}
    return ItemIndex.build(np.arange(n), np.ones((n, 16), np.float32), columns=columns)


def tag_condition(n_values):
    table = [
        {"column": "tag", "in": [*range(0, 2 * n_values, 2)]},
        {"column": "upload_ms", "at_least": 10**11},
    ]
    return Where.from_dict({"all": table})


@pytest.mark.parametrize("n_values", [1, 5])
def test_mask_of_a_new_condition(compare, index_with_tags, n_values):
    where, columns = tag_condition(n_values), index_with_tags.columns
    tags = where.all[0].in_

    def numpy():
        return np.isin(columns["tag"], tags) & (columns["upload_ms"] >= 10**11)

    with index_with_tags.pinned() as view:
        assert np.array_equal(view.mask(view.compile_filter(where)), numpy())
        size = f"{len(view):.0e} rows, {n_values} values and a bound"
        run_karec = lambda: MaskCache({"tag": {}}).get(where, view)  # noqa: E731
        compare("recall: new mask", size, run_karec, {"NumPy": numpy}, items=len(view))


@pytest.mark.parametrize("n_changed", [0, 1, 1000])
def test_mask_after_a_commit(compare, index_with_tags, n_changed):
    """The mask of a condition that is cached, after an upsert of ``n_changed`` items."""
    where, rng = tag_condition(5), np.random.default_rng(9)
    with index_with_tags.pinned() as view:
        row_filter = view.compile_filter(where, {"tag": {}})
        mask, generation = view.mask(row_filter), view.generation
        cache = MaskCache({"tag": {}})
        cache.get(where, view)
    changed = {
        "tag": rng.integers(-1, 50, n_changed).astype(np.int32),
        "upload_ms": rng.integers(0, 10**12, n_changed),
    }
    ids = rng.choice(workloads.N_ITEMS, n_changed, replace=False)
    index_with_tags.upsert(ids, np.ones((n_changed, 16), np.float32), changed)
    with index_with_tags.pinned() as view:
        new = lambda: view.mask(row_filter)  # noqa: E731
        updated = lambda: view.mask(row_filter, mask, generation)  # noqa: E731
        assert np.array_equal(new(), updated())
        cache.get(where, view)
        cached = lambda: cache.get(where, view)  # noqa: E731
        size = f"{len(view):.0e} rows, {n_changed} changed"
        run_karec = updated if n_changed else cached
        compare("recall: cached mask", size, run_karec, {"new mask": new}, items=len(view))


def test_lookup_of_text_ids(compare, tmp_path):
    n, n_names = workloads.N_ITEMS, 100_000
    keys = np.random.default_rng(0).permutation(n).astype(np.uint64) * np.uint64(7919) + np.uint64(10**17)
    text = keys.astype(f"S{TEXT}").view(np.uint8)
    ids = IdMap.build(Strings(np.arange(n + 1) * TEXT, text), tmp_path / "ids.karec")
    names = keys[np.random.default_rng(1).integers(0, n, n_names)].astype(str).tolist()
    row_of = dict(zip(keys.astype(str).tolist(), range(n), strict=True))
    assert ids.names(ids.numbers(names)).tolist() == names
    ways = {"Python dict": lambda: [row_of[name] for name in names]}
    size = f"{n_names:,} of {n:.0e} texts"
    compare("recall: numbers of text ids", size, lambda: ids.numbers(names), ways, items=n_names)


def rows_of_sources(n_sources, quota):
    """Returns rows of each source, best first: items that many sources find are drawn more often."""
    rng, n = np.random.default_rng(0), workloads.N_ITEMS
    draws = ((n * rng.random(2 * quota) ** 2).astype(np.int32) for _ in range(n_sources))
    return [
        np.ascontiguousarray(rows[np.sort(np.unique(rows, return_index=True)[1])][:quota]) for rows in draws
    ]


def numpy_merge(parts, bits):
    """Returns the same items in the same order; ``bits`` has a place for each item of the library."""
    new = []
    for bit, part in enumerate(parts):
        earlier_bits = bits[part]
        new.append(part[earlier_bits == 0])
        bits[part] = earlier_bits | np.uint32(1 << bit)
    rows = np.concatenate(new)
    sources = bits[rows]
    bits[rows] = 0
    return rows[:LIMIT], sources[:LIMIT]


@pytest.mark.parametrize(("n_sources", "quota"), [(6, 33_000), (10, 20_000)])
@pytest.mark.parametrize("key", ["rows", "ids"])
def test_merge(compare, key, n_sources, quota):
    row_lists = rows_of_sources(n_sources, quota)
    ids = [workloads.item_ids(workloads.N_ITEMS)[rows] for rows in row_lists]
    scores = [np.zeros(len(rows), np.float32) for rows in row_lists]
    quotas, entries = [quota] * n_sources, sum(map(len, row_lists))
    bits = np.zeros(workloads.N_ITEMS, np.uint32)
    if key == "rows":
        run_karec = lambda: merge_rows(ids, scores, row_lists, workloads.N_ITEMS, quotas, LIMIT)  # noqa: E731
        rows, ends = np.concatenate(row_lists), np.cumsum([*map(len, row_lists)])
        ways = {
            "NumPy, array of all items": lambda: numpy_merge(row_lists, bits),
            "Numba, marks": lambda: merge(rows, ends, LIMIT, bits),
        }
        for way in ways.values():
            assert np.array_equal(run_karec()[2], way()[0])
    else:
        run_karec = lambda: merge_channels(ids, scores, quotas, LIMIT)  # noqa: E731
        ways = {"NumPy unique": lambda: np.unique(np.concatenate(ids), return_index=True)}
    compare(
        f"recall: merge by {key}", f"{n_sources} sources, {entries:,} entries", run_karec, ways, items=entries
    )
