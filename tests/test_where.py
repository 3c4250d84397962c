"""A condition of a request selects the rows that the same SQL query selects."""

import json
from datetime import UTC, datetime

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pytest
from conditions import CODES, COLUMNS, CONDITIONS, INDEX, TABLE, TAGS, N, build_index, to_sql
from hypothesis import given, settings

from karec.where import MAX_DEPTH, MAX_TERMS, MAX_VALUES, Where

MANY = 20  # values that a native filter searches in a table, or by bisection


def mask_of(where, index=INDEX, codes=CODES):
    with index.pinned() as view:
        return view.mask(view.compile_filter(where, codes))


@settings(max_examples=200, deadline=None)
@given(CONDITIONS)
def test_condition_selects_the_rows_of_the_same_sql_query(table):
    where = Where.from_dict(table)
    source = TABLE.append_column("row", pa.array(np.arange(N)))  # noqa: F841 — DuckDB reads it by name
    rows = duckdb.sql(f"SELECT row FROM source WHERE {to_sql(table)}").fetchnumpy()["row"]
    assert np.flatnonzero(mask_of(where)).tolist() == sorted(rows.tolist())
    assert (
        Where.from_dict(where.to_dict())
        == where
        == msgspec.json.decode(msgspec.json.encode(where), type=Where)
    )


def test_values_beyond_the_type_of_the_column_match_no_row():
    beyond = [2**62, -(2**62), *range(2, 2 + MANY)]
    for values in (beyond[:3], beyond):
        expected = np.isin(COLUMNS["song_id"], [value for value in values if abs(value) < 100])
        where = Where.from_dict({"column": "song_id", "in": values})
        assert (mask_of(where) == expected).all()


@pytest.mark.parametrize("n_others", [0, MANY])
def test_values_are_compared_as_the_column_holds_them(n_others):
    """Whatever their number: 0.1 as float32, and integers without a detour over float64."""
    others = [float(value) for value in range(100, 100 + n_others)]
    index = build_index({"price": np.array([0.1, 0.2], np.float32), "song_id": np.array([2**60, 2**60 + 1])})
    for name, values in (("price", [0.1, *others]), ("song_id", [2**60, 0.5, *others])):
        where = Where.from_dict({"column": name, "in": values})
        assert mask_of(where, index, {}).tolist() == [True, False]
    assert not mask_of(Where(column="song_id", equal=0.5), index, {}).any()


def test_times_are_iso_8601_or_milliseconds():
    day = datetime(1970, 1, 3, tzinfo=UTC)
    expected = COLUMNS["upload_ms"] >= 2 * 86_400_000
    for value in (day.isoformat(), "1970-01-03", "1970-01-03T01:00:00+01:00", 2 * 86_400_000):
        where = Where(column="upload_ms", at_least=value)
        assert (mask_of(where) == expected).all()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"column": "colour", "equal": 1}, "no column 'colour'"),
        ({"column": "tags", "equal": "pop"}, "did you mean 'tag'"),
        ({"column": "tag", "equal": "pop rock"}, "no value 'pop rock'"),
        ({"column": "price", "less": "ten"}, "holds float32, and is compared with 'ten'"),
        ({"column": "upload_ms", "less": "soon"}, "'soon'"),
        ({"column": "tag", "less": "rock"}, "a category, which has no order"),
        ({"column": "song_id", "less": float("inf")}, "holds int64, and is compared with inf"),
        ({"column": "song_id", "in": [1, 2**63]}, "is compared with 9223372036854775808"),
    ],
)
def test_column_and_value_are_checked(table, words):
    with pytest.raises(ValueError, match=words):
        mask_of(Where.from_dict(table))


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"column": "tag"},
        {"equal": 1},
        {"column": "tag", "equal": 1, "less": 2},
        {"all": []},
        {"any": [{"column": "tag", "in": []}]},
        {"all": [{"column": "tag", "equal": 1}], "not": {"column": "tag", "equal": 1}},
        {"column": "tag", "equals": 1},
        {"column": "tag", "is_missing": False},
        {"column": "tag", "in": ["x" * 1025]},
        {"column": "x" * 1025, "equal": 1},
        {"column": "price", "between": [1]},
        {"any": [{"column": "song_id", "equal": 1}] * (MAX_TERMS + 1)},
        {"column": "song_id", "in": [1] * (MAX_VALUES + 1)},
        json.loads('{"not":' * MAX_DEPTH + '{"column": "song_id", "equal": 1}' + "}" * MAX_DEPTH),
    ],
)
def test_condition_of_another_form_is_refused(table):
    with pytest.raises(ValueError, match="where: "):
        Where.from_dict(table)


@pytest.mark.parametrize("dtype", [*"bhilBHILefd"])
def test_comparison_of_each_dtype_is_that_of_numpy(dtype):
    column = np.arange(0 if dtype.isupper() else -100, 100).astype(dtype)
    index, scattered = build_index({"x": column}), [*range(-99, 99, 3)]
    expected = {
        Where(column="x", less=7): column < 7,
        Where(column="x", less=-1000): column < -1000,
        Where(column="x", at_least=2.5): column >= 2.5,
        Where(column="x", between=(2.5, 6.5)): (column >= 2.5) & (column <= 6.5),
        Where(column="x", between=(9, 3)): column < -1000,
        Where(column="x", in_=(3, 5, 6, 200)): np.isin(column, [3, 5, 6]),
        Where(column="x", in_=tuple(scattered)): np.isin(column.astype(np.float64), scattered),
        Where(column="x", in_=(*scattered, 2**40)): np.isin(column.astype(np.float64), scattered),
        Where(column="x", is_missing=True): column < -1000,
    }
    for where, rows in expected.items():
        assert (mask_of(where, index) == rows).all(), where
        assert (mask_of(Where(not_=where), index) == ~rows).all(), where


def test_bytes_above_1_of_a_bool_column_are_true():
    column = np.array([0, 1, 7], np.uint8).view(bool)
    index = build_index({"is_new": column})
    for equal, rows in ((True, [1, 2]), (False, [0]), (2, [])):
        where = Where(column="is_new", equal=equal)
        assert np.flatnonzero(mask_of(where, index)).tolist() == rows
        assert np.flatnonzero(mask_of(Where(not_=where), index)).tolist() == [
            i for i in range(3) if i not in rows
        ]


def test_comparison_with_a_list_is_true_if_it_is_true_for_any_value():
    """An item without values is unknown, also under ``not``; one with few values has no unknown ones."""
    lists = [["pop"], ["rock", "pop"], ["folk", "rock", "pop"], ["folk"], []]
    codes = np.full((3, len(lists)), -1, np.int32)
    for row, names in enumerate(lists):
        codes[: len(names), row] = [TAGS.index(name) for name in names]
    names = ("genres", "genres2", "genres3")
    index = build_index(dict(zip(names, codes, strict=True)))
    of_lists = dict.fromkeys(names, CODES["tag"])
    for table, expected in (
        ({"equal": "pop"}, [True, True, True, False, False]),
        ({"in": ["rock", "folk"]}, [False, True, True, True, False]),
        ({"equal": -1}, [False] * 5),
        ({"is_missing": True}, [False, False, False, False, True]),
    ):
        where = Where.from_dict({"column": "genres", **table})
        assert mask_of(where, index, of_lists).tolist() == expected
        negated = [not value for value in expected]
        negated[4] = "is_missing" in table and negated[4]
        assert mask_of(Where(not_=where), index, of_lists).tolist() == negated
    other = {**of_lists, "genres2": {"pop": 0}}  # another category, not a value of the list
    where = Where(column="genres", equal="pop")
    assert mask_of(where, index, other).tolist() == [True, False, False, False, False]


def test_largest_condition_of_lists_is_compiled():
    codes = np.zeros((3, 1), np.int32)
    index = build_index(dict(zip(("g", "g2", "g3"), codes, strict=True)))
    where = Where(any=tuple(Where(column="g", equal=0) for _ in range(MAX_TERMS)))
    for _ in range(MAX_DEPTH - 2):
        where = Where(all=(where,))
    assert mask_of(where, index, {name: {"pop": 0} for name in ("g", "g2", "g3")}).all()
