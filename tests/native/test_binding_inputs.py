"""Arguments that numpy allows and C++ must not trust: sizes below 0 or above
memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from karec import _native


def run(script: str) -> None:
    """Runs Python code in a child, since a native call that loops on a size ignores signals."""
    imports = "import numpy as np\nfrom karec import _native, diversity\n"
    subprocess.run([sys.executable, "-c", imports + script], check=True, timeout=60)


@pytest.mark.parametrize("n", [-1, -(2**63), 2**31, 2**62])
def test_lists_refuse_a_length_below_0_or_above_int32(n: int) -> None:
    run(f"""
for call in (lambda: _native.arrange({n}, [], [], None, 3), lambda: _native.scatter({n}, [], 3)):
    try:
        call()
    except ValueError as refusal:
        assert str(refusal) == "n is {n}, expected 0 to 2147483647", refusal
    else:
        raise AssertionError("not refused")
""")


def test_lists_refuse_a_number_of_places_that_they_cannot_fill() -> None:
    with pytest.raises(ValueError, match="k is -1, expected 0 to 3"):
        _native.scatter(3, [], -1)
    with pytest.raises(ValueError, match="k is 4611686018427387904, expected 0 to 3"):
        _native.scatter(3, [], 2**62)
    with pytest.raises(ValueError, match="k is -1, expected 0 to 2147483647"):
        _native.arrange(3, [], [], None, -1)
    with pytest.raises(ValueError, match="k is 4611686018427387904, expected 0 to 2147483647"):
        _native.arrange(3, [], [], None, 2**62)


def test_arrange_of_many_items_without_rules_returns_at_once() -> None:
    run("assert _native.arrange(2**31 - 1, [], [], None, 3)[0].tolist() == [0, 1, 2]")


def test_selections_ignore_shown_rows_without_dimensions() -> None:
    run("""
items, shown = np.empty((3, 0), np.float32), np.empty((2**40, 0), np.float32)
relevance = np.array([1, 3, 2], np.float32)
for select in (diversity.dpp_select, diversity.mmr_select, diversity.ssd_select):
    assert select(items, relevance, 2, shown=shown).indices.tolist() == [1, 2]
batch = diversity.dpp_select_batch(items, relevance, [0, 3], 2, shown=shown, shown_indptr=[0, 2**40])
assert batch.indices.tolist() == [[1, 2]]
""")


def test_counter_numbers_skip_rows_without_columns() -> None:
    run("assert _native.counter_numbers(np.empty((2**40, 0), np.float32), np.empty(0)).shape == (2**40, 0)")
