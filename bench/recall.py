"""Lookups of ids, and the merger of recall sources."""

from __future__ import annotations

import numpy as np
import pytest
import workloads

from karec.index import IdMap, ItemIndex, Strings
from karec.kernels.merge import merge_channels
from karec.kernels.merge_rows import merge_rows
from karec.pipeline.where import Where, allowed_rows

SOURCES, QUOTA, LIMIT = 10, 20_000, 100_000
TEXT = 18  # bytes of a text id
NO_SCORES = np.zeros(QUOTA, np.float32)


@pytest.fixture(scope="module")
def index():
    n = workloads.N_ITEMS
    return ItemIndex.build(workloads.item_ids(n), workloads.item_vectors(n))


@pytest.mark.parametrize("n", [1000, 100_000, 300_000])
def test_lookup_of_ids(compare, index, n):
    ids = workloads.item_ids(workloads.N_ITEMS)
    queried = np.random.default_rng(n).choice(ids, n)
    order = np.argsort(ids)
    ordered = ids[order]
    row_of = dict(zip(ids.tolist(), range(len(ids)), strict=True))
    id_list = queried.tolist()
    ways = {
        "NumPy searchsorted": lambda: order[np.searchsorted(ordered, queried)],
        "Python dict": lambda: [row_of[item_id] for item_id in id_list],
    }
    size = f"{n:,} of {len(ids):.0e} ids"
    compare("recall: lookup of ids", size, lambda: index.lookup(queried), ways, items=n)


@pytest.mark.parametrize("n_values", [1, 5])
def test_mask_of_a_condition(compare, n_values):
    """A condition of ``n_values`` values of a category and a bound, as a new request has it."""
    n, rng = workloads.N_ITEMS, np.random.default_rng(8)
    columns = {"tag": rng.integers(-1, 50, n).astype(np.int32), "upload_ms": rng.integers(0, 10**12, n)}
    table = [{"column": "tag", "in": [*range(n_values)]}, {"column": "upload_ms", "at_least": 10**11}]
    where, codes = Where.from_dict({"all": table}), {"tag": {}}

    def numpy():
        return np.isin(columns["tag"], range(n_values)) & (columns["upload_ms"] >= 10**11)

    assert np.array_equal(allowed_rows(where, columns, codes), numpy())
    size = f"{n:.0e} rows, {n_values} values and a bound"
    compare("recall: mask", size, lambda: allowed_rows(where, columns, codes), {"NumPy": numpy}, items=n)


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


@pytest.fixture(scope="module")
def rows_of_sources():
    """Rows of each source, best first: items that many sources find are drawn more often."""
    rng, n = np.random.default_rng(0), workloads.N_ITEMS
    draws = ((n * rng.random(2 * QUOTA) ** 2).astype(np.int32) for _ in range(SOURCES))
    return [
        np.ascontiguousarray(rows[np.sort(np.unique(rows, return_index=True)[1])][:QUOTA]) for rows in draws
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


@pytest.mark.parametrize("key", ["rows", "ids"])
def test_merge(compare, rows_of_sources, key):
    ids = [workloads.item_ids(workloads.N_ITEMS)[rows] for rows in rows_of_sources]
    scores = [NO_SCORES[: len(rows)] for rows in rows_of_sources]
    quotas, entries = [QUOTA] * SOURCES, sum(map(len, rows_of_sources))
    bits = np.zeros(workloads.N_ITEMS, np.uint32)
    if key == "rows":
        run_karec = lambda: merge_rows(ids, scores, rows_of_sources, workloads.N_ITEMS, quotas, LIMIT)  # noqa: E731
        ways = {"NumPy, array of all items": lambda: numpy_merge(rows_of_sources, bits)}
        assert np.array_equal(run_karec()[2], numpy_merge(rows_of_sources, bits)[0])
    else:
        run_karec = lambda: merge_channels(ids, scores, quotas, LIMIT)  # noqa: E731
        ways = {"NumPy unique": lambda: np.unique(np.concatenate(ids), return_index=True)}
    compare(
        f"recall: merge by {key}", f"{SOURCES} sources, {entries:,} entries", run_karec, ways, items=entries
    )
