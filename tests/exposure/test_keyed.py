"""Numbers by key: a dictionary says the same."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from karec.exposure.by_id import Keyed, merged

keys = st.integers(-(2**63), 2**63 - 1)
few = st.integers(-3, 12)
tables = st.dictionaries(st.one_of(keys, few), st.floats(-9, 9), max_size=40)


def part(table):
    return np.array(list(table), np.int64), np.array(list(table.values()), np.float64)


@given(st.lists(tables, min_size=1, max_size=3), st.lists(st.one_of(keys, few), max_size=60))
def test_each_wanted_key_gets_the_sum_of_its_values(parts, others):
    keyed = Keyed.sum_of([part(table) for table in parts])
    wanted = np.array(others + [key for table in parts for key in table], np.int64)
    total = np.ones(len(wanted))
    keyed.add_to(total, wanted)
    sums = [1 + sum(table.get(key, 0.0) for table in parts) for key in wanted.tolist()]
    np.testing.assert_allclose(total, sums, rtol=1e-12, atol=1e-12)
    assert len(keyed) == len({key for table in parts for key in table})


@given(st.lists(tables, max_size=3), st.booleans())
def test_merged_parts_keep_the_largest_value_of_a_key_or_the_least(parts, least):
    found, values = merged([part(table) for table in parts], least=least)
    expected = {}
    for table in parts:
        for key, value in table.items():
            expected[key] = (min if least else max)(expected.get(key, value), value)
    assert dict(zip(found.tolist(), values.tolist(), strict=True)) == expected


def test_columns_of_any_integer_type_are_looked_up_by_value():
    keyed = Keyed.sum_of([(np.array([1, 200]), np.array([0.5, 2.0]))])
    for dtype in (np.int8, np.uint8, np.int32, bool):
        total = np.zeros(2)
        keyed.add_to(total, np.array([0, 1]).astype(dtype))
        assert total.tolist() == [0.0, 0.5]


def test_keys_of_one_hash_keep_their_values():
    """Of 20,000 keys some hundreds lose their slot to another one."""
    rng = np.random.default_rng(0)
    own = rng.choice(10**6, 20_000, replace=False)
    keyed = Keyed.sum_of([(own, own / 7.0)])
    assert len(keyed.others) > 100
    wanted = np.concatenate([own, rng.integers(0, 10**6, 20_000)])
    total = np.zeros(len(wanted))
    keyed.add_to(total, wanted)
    np.testing.assert_array_equal(total, np.where(np.isin(wanted, own), wanted / 7.0, 0.0))


def test_nothing_of_it_can_be_written():
    keyed = Keyed.sum_of([(np.array([1]), np.array([0.5]))])
    assert not any(array.flags.writeable for array in (keyed.keys, keyed.values, keyed.slots, keyed.others))
