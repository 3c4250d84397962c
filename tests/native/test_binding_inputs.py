"""Arguments that NumPy allows and C++ must check: bools with bytes other than 0 and 1, sizes below 0 or
above the memory, arrays that overlap or change, other types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from argument_changes import ChangingArray
from binding_calls import bindings, dpp_options, item_index
from fuzz_bindings import fuzz
from numpy.typing import NDArray

from karec import _native
from karec.index import ItemIndex

BYTES = np.array([0, 1, 2, 255], np.uint8)
FLAGS = BYTES.view(np.bool_)
TRUTH = np.array([False, True, True, True])


def bytes_of(flags: NDArray[np.bool_]) -> list[int]:
    return flags.view(np.uint8).tolist()


def test_arrange_reads_any_nonzero_byte_as_true() -> None:
    for fits, only in ((FLAGS, FLAGS), (FLAGS[::-1], FLAGS), (FLAGS, None)):
        expected = _native.arrange(4, [], [(1, fits.view(np.uint8) > 0)], None if only is None else TRUTH, 4)
        found = _native.arrange(4, [], [(1, fits)], only, 4)
        assert found[0].tolist() == expected[0].tolist() and found[1:] == expected[1:]
    assert _native.arrange(8, [], [], np.full(8, 2, np.uint8).view(bool), 8)[0].tolist() == [-1] * 8


def test_search_mask_reads_any_nonzero_byte_as_true() -> None:
    index = ItemIndex.build(np.arange(4), np.eye(4, dtype=np.float32))
    assert sorted(index.search(np.ones(4), 4, mask=FLAGS).ids) == [1, 2, 3]


def test_trees_read_any_nonzero_byte_as_true() -> None:
    for byte, expected in ((0, 2.0), (1, 1.0), (2, 1.0), (255, 1.0)):
        missing_first = np.array([byte, 0, 0], np.uint8).view(bool)
        trees = _native.TreeEnsemble(
            [3], [0], [0, -1, -1], [0.0, 1.0, 2.0], [[1, 2], [0, 0], [0, 0]], missing_first, 1, 1
        )
        assert trees.scores(np.array([[np.nan]], np.float32)).tolist() == [[expected]]


def test_index_columns_read_any_nonzero_byte_as_true(tmp_path: Path) -> None:
    built = ItemIndex.build(np.arange(4), np.eye(4, dtype=np.float32), columns={"is_live": FLAGS})
    built.save(tmp_path / "index")
    for index in (built, ItemIndex.open(tmp_path / "index")):
        assert bytes_of(index.gather("is_live", np.arange(4))) == [0, 1, 1, 1]
        assert bytes_of(index.columns["is_live"]) == [0, 1, 1, 1]


def test_tone_and_quota_read_any_nonzero_byte_as_true() -> None:
    assert _native.tone(FLAGS, 1.5).tolist() == [False] * 4
    assert _native.quota(np.arange(4, dtype=np.float32), FLAGS, 1).tolist() == [True, False, False, True]


def run(script: str) -> None:
    """Runs Python code in a child, since a native call that loops on a size ignores signals."""
    imports = "import numpy as np\nfrom karec import _native, diversity\n"
    subprocess.run([sys.executable, "-c", imports + script], check=True, timeout=60)


@pytest.mark.parametrize("n", [-1, -(2**63), 2**31, 2**62])
def test_arrange_rejects_n_below_0_or_above_int32(n: int) -> None:
    run(f"""
try:
    _native.arrange({n}, [], [], None, 3)
except ValueError as error:
    assert str(error) == "n is {n}, expected 0 to 2147483647", error
else:
    raise AssertionError("n is accepted")
""")


def test_arrange_rejects_k_out_of_range() -> None:
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
""")


def test_counter_numbers_skip_rows_without_columns() -> None:
    run("assert _native.counter_numbers(np.empty((2**40, 0), np.float32), np.empty(0)).shape == (2**40, 0)")


def test_conversion_without_memory_raises_memory_error() -> None:
    with pytest.raises(MemoryError):
        _native.log1p(np.broadcast_to(np.float32(1), (2**59,)))


def test_value_that_is_not_an_array_raises_value_error_with_name() -> None:
    with pytest.raises(ValueError, match="keys is not an array"):
        _native.Vocabulary([[1], [2, 3]])
    with pytest.raises(ValueError, match="scores has dtype object"):
        _native.standardise(np.array([1, None]))


def test_dpp_option_of_wrong_type_raises_type_error_with_name() -> None:
    items = np.ones((12, 4), np.float32)
    options = {**dpp_options(np.random.default_rng(0)), "alpha": "0.5"}
    with pytest.raises(TypeError, match="alpha has a value of the wrong type"):
        _native.dpp_select(items, np.ones(12), 2, **options)


def test_scores_reject_out_that_shares_memory_with_an_input() -> None:
    view = item_index(np.random.default_rng(0)).pinned()
    query = np.ones(4, np.float32)
    with pytest.raises(ValueError, match="out shares memory"):
        view.scores([(None, query)], [], np.arange(4), None, query)
    rows = np.arange(4, dtype=np.int32)
    with pytest.raises(ValueError, match="out shares memory"):
        view.scores([(None, query)], [], None, rows, rows.view(np.float32))


def test_array_that_a_later_argument_changes_is_read_as_it_was() -> None:
    def moments() -> NDArray[np.int64]:
        return np.array([3, 5, 9])

    times, first = np.full(3, 10**12), moments()
    expected = _native.log_hours(moments(), times)
    assert _native.log_hours(first, ChangingArray(times, [first])).tolist() == expected.tolist()
    assert first.dtype == np.int8


def test_queries_without_model_version_must_be_one_array() -> None:
    view = item_index(np.random.default_rng(0)).pinned()
    query = np.ones((1, 4), np.float32)
    for queries in ([], [(None, query), (1, query)]):
        with pytest.raises(ValueError, match=f"queries has {len(queries)} arrays, expected one"):
            view.search_all(queries, [], 2, None, None, None)


def test_stubs_declare_every_function_of_the_native_module() -> None:
    declared = {binding.name.split(".")[0] for binding in bindings()}
    assert {name for name in vars(_native) if not name.startswith("_")} <= declared


def test_bindings_answer_or_reject_random_arguments() -> None:
    """A short run of `make fuzz-bindings`."""
    outcomes, mistakes = fuzz(2000, seed=1)
    assert mistakes == [] and sum(outcomes.values()) == 2000
