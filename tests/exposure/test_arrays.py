"""SparseValues against a dictionary."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from karec.exposure.arrays import SparseValues

keys = st.integers(-(2**63), 2**63 - 1)
small_keys = st.integers(-3, 12)
tables = st.dictionaries(st.one_of(keys, small_keys), st.floats(-9, 9), max_size=40)


def part(table):
    return np.array(list(table), np.int64), np.array(list(table.values()), np.float64)


@given(st.lists(tables, min_size=1, max_size=3), st.lists(st.one_of(keys, small_keys), max_size=60))
def test_sparse_values_add_the_values_of_all_parts(parts, others):
    values = SparseValues.from_parts([part(table) for table in parts])
    required = np.array(others + [key for table in parts for key in table], np.int64)
    total = np.ones(len(required))
    values.add_to(total, required)
    sums = [1 + sum(table.get(key, 0.0) for table in parts) for key in required.tolist()]
    np.testing.assert_allclose(total, sums, rtol=1e-12, atol=1e-12)
    assert len(values) == len({key for table in parts for key in table})


@given(
    st.dictionaries(st.integers(0, 12), st.floats(-9, 9), min_size=1),
    st.lists(st.one_of(keys, small_keys), max_size=60),
)
def test_small_keys_give_the_values_of_a_dictionary(table, required):
    total = np.zeros(len(required))
    SparseValues.from_parts([part(table)]).add_to(total, np.array(required, np.int64))
    assert total.tolist() == [table.get(key, 0.0) for key in required]


@given(tables, st.dictionaries(small_keys, st.floats(-9, 9), max_size=10))
def test_with_values_replaces_known_keys_only(table, changes):
    values = SparseValues.from_parts([part(table)])
    changed = values.with_values(*part(changes))
    expected = {key: changes.get(key, value) for key, value in table.items()}
    assert dict(zip(changed.keys.tolist(), changed.values.tolist(), strict=True)) == expected


def test_columns_of_any_integer_type_are_looked_up_by_value():
    values = SparseValues.from_parts([(np.array([1, 200]), np.array([0.5, 2.0]))])
    for dtype in (np.int8, np.uint8, np.int32, bool):
        total = np.zeros(2)
        values.add_to(total, np.array([0, 1]).astype(dtype))
        assert total.tolist() == [0.0, 0.5]


def test_sparse_values_are_read_only():
    values = SparseValues.from_parts([(np.array([1]), np.array([0.5]))])
    assert not values.keys.flags.writeable and not values.values.flags.writeable
