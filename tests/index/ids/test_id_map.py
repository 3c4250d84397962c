"""Ids of any type are returned unchanged, and their numbers depend only on the id and the seed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from colliding_ids import two_of_one_number
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from karec.index import IdMap, Strings

Build = Callable[[Any], IdMap]

NAMES = ["u1", "ümläut", "歌手-7", "🎤" * 64, "a\0b", "x" * 256, " ", "-5", "007"]

texts = st.text(min_size=1, max_size=80).filter(lambda text: 0 < len(text.encode()) <= 256)


def number_of(text: str, seed: int = 0) -> int:
    """Returns the number of an id by its definition."""
    return xxhash.xxh64_intdigest(text.encode(), seed) >> 1


def test_id_map_returns_its_strings(build: Build) -> None:
    ids = build(NAMES)
    numbers = ids.numbers(NAMES)
    assert (ids.kind, ids.seed, len(ids)) == ("string", 0, len(NAMES))
    assert numbers.dtype == np.int64 and numbers.tolist() == [number_of(name) for name in NAMES]
    assert ids.names(numbers).tolist() == NAMES
    assert ids.strings(numbers).to_list() == NAMES
    assert ids.contains(NAMES).all()


@given(content=st.lists(texts, max_size=60), strangers=st.lists(texts, max_size=20))
def test_id_map_returns_any_strings(content: list[str], strangers: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        IdMap.build(content, Path(folder) / "ids.karec")
        ids = IdMap.open(Path(folder) / "ids.karec")
    requested = content + strangers
    numbers = ids.numbers(requested)
    assert len(ids) == len(set(content))
    assert numbers.tolist() == [number_of(text) for text in requested]
    assert ids.contains(requested).tolist() == [text in set(content) for text in requested]
    assert ids.names(numbers, missing="none").tolist() == [
        text if text in set(content) else None for text in requested
    ]
    assert ids.names(numbers[: len(content)]).tolist() == content


@given(content=st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=40))
@settings(suppress_health_check=[HealthCheck.filter_too_much])
def test_id_map_returns_any_integers(content: list[int]) -> None:
    dtype = np.int64 if min(content) < 0 else np.uint64
    given_ids = np.array([i for i in content if np.iinfo(dtype).min <= i <= np.iinfo(dtype).max], dtype)
    with tempfile.TemporaryDirectory() as folder:
        ids = IdMap.build(given_ids, Path(folder) / "ids.karec")
    numbers = ids.numbers(given_ids)
    assert ids.kind == "integer" and (numbers >= 0).all() and ids.contains(given_ids).all()
    assert ids.names(numbers).tolist() == given_ids.tolist()
    assert ids.strings(numbers).to_list() == [str(i) for i in given_ids.tolist()]
    if given_ids.max(initial=0) < 2**63 and given_ids.min(initial=0) >= 0:
        assert numbers.tolist() == given_ids.tolist() and len(ids) == 0
    else:
        assert len(ids) == len(set(given_ids.tolist()))


def test_integers_from_0_are_their_own_numbers(build: Build) -> None:
    ids = build([5, 0, 2**63 - 1, 5])
    assert ids.numbers([7, 0]).tolist() == [7, 0] and ids.names([7, 0]).tolist() == [7, 0]
    assert ids.contains([7, -1]).tolist() == [True, False]
    with pytest.raises(ValueError, match=r"ids hold -4 at position 1, expected 0 to 2\^63 − 1"):
        ids.numbers([1, -4])
    with pytest.raises(KeyError, match=r"no id has the number -1 \(position 0\)"):
        ids.names([-1])
    assert ids.names([-1, 3], missing="none").tolist() == [None, 3]
    for dtype in (np.int8, np.uint16, np.uint64):
        assert build(np.array([3, 9], dtype)).numbers(np.array([9], dtype)).tolist() == [9]


def test_negative_integer_has_a_number_from_0(build: Build) -> None:
    """The encoder and the histories read a negative number as missing."""
    ids = build([-1, 42, -(2**63)])
    numbers = ids.numbers([-1, 42, -(2**63), 43])
    assert numbers.tolist() == [number_of(digits) for digits in ("-1", "42", str(-(2**63)), "43")]
    names = ids.names(numbers[:3])
    assert names.dtype == np.int64 and names.tolist() == [-1, 42, -(2**63)]
    assert ids.contains([-1, 43]).tolist() == [True, False]
    assert ids.names(numbers[[0, 3]], missing="none").tolist() == [-1, None]
    large = build(np.array([2**64 - 1, 3], np.uint64))
    assert large.names(large.numbers(np.array([3, 2**64 - 1], np.uint64))).tolist() == [3, 2**64 - 1]


@pytest.mark.parametrize(
    "of",
    [
        list,
        tuple,
        np.array,
        lambda names: np.array(names, object),
        Strings.from_values,
        pa.array,
        lambda names: pa.array(names, pa.large_string()),
        lambda names: pa.array(names).dictionary_encode(),
        lambda names: pa.array(["no", *names, "no"]).slice(1, len(names)),
        lambda names: pa.chunked_array([names[:2], [], names[2:]], pa.string()),
        lambda names: pa.chunked_array([names[:2], names[2:]]).dictionary_encode(),
        lambda names: pa.array(names, pa.string_view()),
    ],
)
@pytest.mark.parametrize("names", [["b", "a", "c", "a"], ["ä", "b"], [], ["b"]])
def test_id_map_reads_lists_arrays_and_arrow(
    build: Build, of: Callable[[list[str]], Any], names: list[str]
) -> None:
    expected = build(names)
    ids = build(of(names)) if names else build(names)
    assert len(ids) == len(set(names))
    np.testing.assert_array_equal(ids.numbers(of(names)), expected.numbers(names))


def test_id_map_reads_integers_from_arrow(build: Build) -> None:
    for array in (pa.array([3, 1], pa.int32()), pa.chunked_array([[3], [1]], pa.uint64())):
        assert build(array).numbers(array).tolist() == [3, 1]


def test_same_ids_in_any_order_give_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"user-{i}" for i in rng.permutation(1000).tolist()]
    IdMap.build(names, tmp_path / "one")
    IdMap.build(sorted(names) + names[:100], tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_id_map_uses_another_seed_if_two_ids_have_one_number(build: Build) -> None:
    one, other = two_of_one_number()
    assert number_of(one) == number_of(other) and one != other
    ids = build(["a", one, other])
    assert ids.seed != 0 and ids.numbers(["a"]).tolist() == [number_of("a", ids.seed)]
    assert ids.names(ids.numbers([one, other])).tolist() == [one, other]


def test_contains_is_false_for_another_id_of_the_same_number(build: Build) -> None:
    one, other = two_of_one_number()
    ids = build([one])
    assert ids.numbers([one]).tolist() == ids.numbers([other]).tolist()
    assert ids.contains([one, other, "x"]).tolist() == [True, False, False]


BAD = [
    (["a", ""], "ids hold an empty string at position 1, expected 1 to 256 bytes"),
    (
        ["a", "x" * 257],
        "ids hold a string of 257 bytes at position 1, 'xxxxxxxxxxxxxxxxxxxxxxxx…', expected 1 to 256",
    ),
    (["歌" * 86], "ids hold a string of 258 bytes at position 0, '歌歌歌歌歌歌歌歌…', expected 1 to 256"),
    (["a", "\ud800"], r"ids hold '\ud800' at position 1, which is not Unicode text: surrogates not allowed"),
    (["a", None], "ids hold None (NoneType) at position 1, expected str"),
    (["a", 5], "ids hold 5 (int) at position 1, expected str"),
    ([5, "a"], "ids hold 5 (int) at position 0, expected str"),
    (np.array([1.0, np.nan]), "ids hold 1.0 (float) at position 0, expected str"),
    (pa.array(["a", None]), "ids hold no value at position 1"),
    (pa.array([1, None]), "ids hold no value at position 1"),
    (pa.array([b"a"]), "ids are an Arrow array of binary, expected string or an integer type"),
    (np.array([[1]]), "ids has shape (1, 1), expected (N,)"),
    (
        Strings(np.array([0, 3]), np.frombuffer(b"ab\xff", np.uint8)),
        r"ids hold bytes that are not UTF-8 at position 0: 'ab\xff'",
    ),
    (
        Strings(np.array([0, 1, 9]), np.frombuffer(b"ab\n", np.uint8)),
        "offsets hold 1 and 9 at position 1, expected them to rise within the 3 bytes of text",
    ),
]


@pytest.mark.parametrize(("ids", "message"), BAD)
def test_id_map_refuses_wrong_ids_with_their_position(
    build: Build, tmp_path: Path, ids: Any, message: str
) -> None:
    known = build(["a"])
    before = sorted(tmp_path.iterdir())
    for call in (known.numbers, known.contains, build):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call(ids)
    assert sorted(tmp_path.iterdir()) == before


def test_id_map_refuses_ids_of_another_kind(build: Build) -> None:
    for ids in (build([1]), build([-1])):
        for strangers in (["a"], Strings.from_values(["a"]), pa.array(["a"])):
            with pytest.raises(ValueError, match="ids are not integers, those of this id map are"):
                ids.numbers(strangers)
    with pytest.raises(ValueError, match=r"ids hold 1 \(int\) at position 0, expected str"):
        build(["1"]).numbers([1])


def test_names_raises_for_a_number_that_no_id_has(build: Build) -> None:
    ids = build(["a", "b"])
    requested = [*ids.numbers(["a"]).tolist(), 17, -1]
    with pytest.raises(KeyError, match=r"no id has the number 17 \(position 1\)"):
        ids.names(requested)
    assert ids.names(requested, missing="none").tolist() == ["a", None, None]
    assert ids.strings(requested).to_list() == ["a", "", ""]
    with pytest.raises(ValueError, match="numbers has dtype float64"):
        ids.names([0.5])


def test_empty_id_map_contains_no_id(build: Build) -> None:
    ids = build([])
    assert len(ids) == 0 and ids.numbers([]).tolist() == [] and ids.names([]).tolist() == []
    assert ids.contains(["a"]).tolist() == [False] and ids.names([3], missing="none").tolist() == [None]


def test_id_map_returns_many_strings(build: Build) -> None:
    rng = np.random.default_rng(1)
    names = [f"{number:x}" * (1 + number % 9) for number in rng.integers(0, 2**60, 20_000).tolist()]
    ids = build(names)
    order = rng.permutation(len(names))
    assert ids.names(ids.numbers(names)[order]).tolist() == [names[i] for i in order.tolist()]
    assert ids.contains(names).all() and not ids.contains([name + "?" for name in names]).any()
