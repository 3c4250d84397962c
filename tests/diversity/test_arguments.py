"""Arguments that dpp_select, dpp_select_kernel, mmr_select and ssd_select reject."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from karec.diversity import dpp_select, dpp_select_kernel, mmr_select, ssd_select
from karec.index import ItemIndex

E = np.eye(4, 6, dtype=np.float32)
R = np.arange(4, dtype=np.float32)


def with_value(array: np.ndarray, at: Any, value: float) -> np.ndarray:
    changed = array.copy()
    changed[at] = value
    return changed


BAD = [
    ({"k": 0}, "k must be positive, got 0"),
    ({"k": -3}, "k must be positive, got -3"),
    ({"relevance": R[:3]}, r"relevance has shape \(3,\), expected \(4,\) as embeddings has shape \(4, 6\)"),
    ({"vectors": E[0]}, r"embeddings has shape \(6,\), expected \(N, D\)"),
    ({"vectors": E.astype(str)}, "embeddings has dtype"),
    ({"vectors": with_value(E, (2, 5), np.nan)}, r"embeddings holds NaN at \(2, 5\)"),
    (
        {"vectors": with_value(E, (2, 5), np.inf).astype(np.float16)},
        r"embeddings holds infinity at \(2, "
        r"5\)",
    ),
    ({"relevance": with_value(R, 1, np.nan)}, "relevance holds NaN at position 1"),
    ({"relevance": with_value(R, 3, -np.inf)}, "relevance holds infinity at position 3"),
    ({"weights": R[:2]}, r"weights has shape \(2,\), expected \(4,\)"),
    ({"weights": -R}, "weights holds -1.0+ at position 1"),
    ({"weights": with_value(R, 2, np.nan)}, "weights holds NaN at position 2"),
    ({"weights": np.array([1, 1, 1e300, 1])}, "weights holds infinity at position 2"),
    ({"types": R}, "types has dtype float32"),
    ({"types": [1, 2]}, r"types has shape \(2,\), expected \(4,\)"),
    ({"type_weight": 0.5}, "need types"),
    ({"max_per_type": 2}, "need types"),
    ({"min_per_type": 1}, "need types"),
    ({"types": [1] * 4, "min_per_type": -1}, "min_per_type must be ≥ 0, got -1"),
    (
        {"types": [1] * 4, "min_per_type": 3, "max_per_type": 2},
        "min_per_type must be at most max_per_type, got 3 and 2",
    ),
    ({"types": [1] * 4, "type_weight": 1.5}, r"type_weight must lie in \[0, 1\]"),
    ({"types": [1] * 4, "max_per_type": 0}, "max_per_type must be positive"),
    (
        {"shown": np.ones((2, 5))},
        r"shown has shape \(2, 5\), expected \(M, 6\) as embeddings has shape \(4, "
        r"6\)",
    ),
    ({"shown": np.full((1, 6), np.nan)}, r"shown holds NaN at \(0, 0\)"),
    ({"window": 0}, "window must be positive, got 0"),
    *(
        (
            {"ridge": ridge},
            r"ridge must lie in \[0, "
            r"10\]",
        )
        for ridge in (-1.0, 10.5, 1e300, 10**400, np.inf, np.nan)
    ),
    ({"alpha": -1.0}, "alpha must be ≥ 0"),
    ({"alpha": np.inf}, "alpha must be finite"),
    ({"diversity": 1.5}, r"diversity must lie in \[0, 1\], got 1.5"),
    ({"diversity": np.nan}, r"diversity must lie in \[0, 1\]"),
    ({"fill": "random"}, "fill must be 'relevance' or None"),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("changes", "message"), BAD)
def test_dpp_select_refuses_wrong_shapes_dtypes_and_ranges(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dpp_select(**{"vectors": E, "relevance": R, "k": 2, **changes})


@pytest.mark.parametrize(("changes", "message"), [case for case in BAD if "vectors" not in case[0]])
def test_dpp_of_rows_refuses_wrong_shapes_dtypes_and_ranges(changes: dict, message: str) -> None:
    index = ItemIndex.build(np.arange(4), E)
    with pytest.raises(
        ValueError, match=message.replace("embeddings has shape \\(4, 6\\)", "rows has shape \\(4,\\)")
    ):
        index.dpp_select(**{"rows": np.arange(4), "relevance": R, "k": 2, **changes})


@pytest.mark.parametrize("name", ["k", "window", "max_per_type", "min_per_type"])
@pytest.mark.parametrize("value", [2.5, "2", 2**63, 2**70, -(2**70), [2]])
def test_integer_options_refuse_fractions_text_and_65_bits(name: str, value: Any) -> None:
    given: dict[str, Any] = {"k": 2, "types": [1] * 4, name: value}
    words = f"{name} must (be a whole number|fit 64 bits), got"
    with pytest.raises(TypeError, match=words):
        dpp_select(E, R, **given)
    index = ItemIndex.build(np.arange(4), E)
    with pytest.raises(TypeError, match=None if name == "k" else words):
        index.dpp_select(np.arange(4), R, **given)
    if name in ("k", "window"):
        given.pop("types")
        for select in (mmr_select, ssd_select):
            with pytest.raises(TypeError, match=words):
                select(E, R, **given)
        with pytest.raises(TypeError, match=words):
            dpp_select_kernel(np.eye(3), **given)


@pytest.mark.parametrize("name", ["ridge", "type_weight", "diversity", "alpha"])
@pytest.mark.parametrize("value", ["x", "0.5", [0.5, 0.5], 1j])
def test_number_options_refuse_text_lists_and_complex_values(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a number, got"):
        dpp_select(E, R, 2, types=[1] * 4, **{name: value})
    if name == "diversity":
        with pytest.raises(TypeError, match="diversity must be a number, got"):
            mmr_select(E, R, 2, diversity=value)


def test_dpp_select_refuses_a_ridge_of_none() -> None:
    with pytest.raises(TypeError, match="ridge must be a number, got None"):
        dpp_select(E, R, 2, ridge=None)


def test_options_accept_numpy_numbers_and_the_largest_k() -> None:
    most = 2**63 - 1
    plain = dpp_select(E, R, 4, ridge=1.0, window=2, types=[1, 1, 2, 2], max_per_type=2)
    other = dpp_select(
        E, R, most, ridge=np.float32(1), window=np.int8(2), types=[1, 1, 2, 2], max_per_type=np.uint64(2)
    )
    np.testing.assert_array_equal(other.indices, plain.indices)
    assert (
        len(mmr_select(E, R, most, window=most).indices)
        == len(dpp_select_kernel(np.eye(3), most).indices) + 1
    )
    assert len(ItemIndex.build(np.arange(4), E).dpp_select(np.arange(4), R, most).indices) == 4


def test_unknown_option_is_named() -> None:
    with pytest.raises(TypeError, match=r"dpp_select\(\) got an unexpected keyword argument 'diversty'"):
        dpp_select(E, R, 2, diversty=0.5)


MARGINAL_TAKES = {"k", "vectors", "relevance", "diversity", "window", "shown"}
BAD_MARGINALS = [case for case in BAD if set(case[0]) <= MARGINAL_TAKES]


@pytest.mark.parametrize("select", [mmr_select, ssd_select])
@pytest.mark.parametrize(("changes", "message"), BAD_MARGINALS)
def test_mmr_and_ssd_refuse_wrong_shapes_dtypes_and_ranges(select: Any, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select(**{"vectors": E, "relevance": R, "k": 2, **changes})


BAD_KERNELS = [
    (np.ones((2, 3)), r"kernel has shape \(2, 3\), expected \(N, N\)"),
    (np.ones(4), r"kernel has shape \(4,\)"),
    (with_value(np.eye(3), (1, 2), np.nan), r"kernel holds NaN at \(1, 2\)"),
    (with_value(np.eye(3), (2, 2), -1), r"at \(2, 2\): it is not positive semi-definite"),
]


@pytest.mark.parametrize(("kernel", "message"), BAD_KERNELS)
def test_dpp_select_kernel_refuses_wrong_kernels(kernel: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dpp_select_kernel(kernel, 2)
    with pytest.raises(ValueError, match="k must be positive"):
        dpp_select_kernel(np.eye(2), 0)
