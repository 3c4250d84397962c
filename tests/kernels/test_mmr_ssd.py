"""MMR and SSD in C++ against the float64 reference, step by step.

Each pick has the best score of its step within 1e-3. The picks are equal if no two scores are close.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karec.diversity import DiversityResult, mmr_select, ssd_select
from karec.kernels import reference

SELECT: dict[str, tuple[Callable[..., DiversityResult], Callable[..., Any]]] = {
    "mmr": (mmr_select, reference.mmr_select),
    "ssd": (ssd_select, reference.ssd_select),
}
both = pytest.mark.parametrize("name", sorted(SELECT))


def items(seed: int, n: int = 300, dim: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, dim)).astype(np.float32), rng.standard_normal(n).astype(np.float32)


@both
@pytest.mark.parametrize("window", [None, 1, 2, 6, 1000])
@pytest.mark.parametrize("shown", [0, 3])
@pytest.mark.parametrize("diversity", [0.0, 0.3, 0.9])
def test_selection_equals_the_reference_if_no_scores_are_close(
    name: str, window: int | None, shown: int, diversity: float
) -> None:
    embeddings, relevance = items(1)
    options = {"diversity": diversity, "window": window, "shown": items(2, shown)[0] if shown else None}
    native, oracle = SELECT[name]
    result = native(embeddings, relevance, 40, **options)
    indices, scores = oracle(embeddings, relevance, 40, **options)
    np.testing.assert_array_equal(result.indices, indices)
    np.testing.assert_allclose(result.gains, scores, atol=2e-3)


@both
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 200), k=st.integers(1, 60), data=st.data())
def test_selection_of_copies_and_zero_vectors_is_finite(
    name: str, seed: int, n: int, k: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((n, 4)).astype(data.draw(st.sampled_from([np.float32, np.float16])))
    embeddings = embeddings[rng.integers(0, max(1, n // 3), n)]
    embeddings[rng.integers(0, n)] = 0
    relevance = rng.integers(0, 3, n).astype(np.float32)
    window = data.draw(st.sampled_from([None, 1, 3, 9]))
    native, oracle = SELECT[name]
    result = native(embeddings, relevance, k, window=window)
    assert len(set(result.indices.tolist())) == len(result.indices) == min(k, n)
    assert np.isfinite(result.gains).all()
    assert result.gains[0] == pytest.approx(oracle(embeddings, relevance, k, window=window)[1][0], abs=1e-3)


@both
@pytest.mark.parametrize("window", [None, 1, 4])
@pytest.mark.parametrize("values", [1, 5, 1000])
@pytest.mark.parametrize("of_vectors", [0.0, 0.4])
def test_facets_equal_one_hot_columns(name: str, window: int | None, values: int, of_vectors: float) -> None:
    native, oracle = SELECT[name]
    for n_facets, n_shown in ((1, 3), (2, 0), (3, 4)):
        embeddings, relevance = items(8, 90, 6)
        codes = np.random.default_rng(9).integers(-values, values, (n_facets, 90 + n_shown))
        options: dict[str, Any] = {
            "diversity": 0.7,
            "window": window,
            "shown": items(10, n_shown, 6)[0],
            "facets": codes[:, :90],
            "facet_weights": [(1 - of_vectors) / n_facets] * n_facets,
            "shown_facets": codes[:, 90:] if n_facets > 1 else None,
        }
        result = native(embeddings, relevance, 40, **options)
        indices, scores = oracle(embeddings, relevance, 40, **options)
        np.testing.assert_array_equal(result.indices, indices)
        np.testing.assert_allclose(result.gains, scores, atol=3e-3)


@both
def test_facets_of_weight_0_change_no_bit(name: str) -> None:
    embeddings, relevance = items(6)
    plain = SELECT[name][0](embeddings, relevance, 30)
    codes = np.arange(300)[None] % 7
    weightless = SELECT[name][0](embeddings, relevance, 30, facets=codes, facet_weights=[0.0])
    np.testing.assert_array_equal(weightless.indices, plain.indices)
    np.testing.assert_array_equal(weightless.gains, plain.gains)


@both
def test_selection_by_facets_only_takes_all_values_first(name: str) -> None:
    codes = np.repeat(np.arange(5), 4)[None]
    result = SELECT[name][0](
        np.zeros((20, 3), np.float32),
        -np.arange(20) / 100,
        10,
        diversity=0.9,
        facets=codes,
        facet_weights=[1.0],
    )
    assert sorted(codes[0, result.indices[:5]]) == [0, 1, 2, 3, 4]


@both
def test_selection_without_diversity_is_top_k(name: str) -> None:
    embeddings, relevance = items(3)
    result = SELECT[name][0](embeddings, relevance, 50, diversity=0.0)
    np.testing.assert_array_equal(result.indices, reference.top_k(relevance, 50))


@both
def test_selection_is_a_prefix_of_a_longer_one(name: str) -> None:
    embeddings, relevance = items(4)
    longest = SELECT[name][0](embeddings, relevance, 60)
    for k in (1, 17, 59):
        shorter = SELECT[name][0](embeddings, relevance, k)
        np.testing.assert_array_equal(shorter.indices, longest.indices[:k])
        np.testing.assert_array_equal(shorter.gains, longest.gains[:k])


@both
def test_selection_breaks_ties_by_index(name: str) -> None:
    axes = np.repeat(np.eye(5, dtype=np.float32), 3, axis=0)
    result = SELECT[name][0](axes, np.zeros(15, np.float32), 7)
    np.testing.assert_array_equal(result.indices, [0, 3, 6, 9, 12, 1, 2])


@both
def test_selection_of_no_items_is_empty(name: str) -> None:
    assert len(SELECT[name][0](np.zeros((0, 4), np.float32), np.zeros(0), 3).indices) == 0


BAD = [
    ({"k": 0}, "k must be positive, got 0"),
    (
        {"relevance": np.zeros(2)},
        r"relevance has shape \(2,\), expected \(3,\) as embeddings has shape \(3, "
        r"3\)",
    ),
    ({"vectors": np.full((3, 3), np.nan)}, r"embeddings holds NaN at \(0, 0\)"),
    ({"vectors": np.full((3, 3), np.inf, np.float16)}, r"embeddings holds infinity at \(0, 0\)"),
    ({"relevance": [0, np.inf, 0]}, "relevance holds infinity at position 1"),
    ({"diversity": 1.5}, r"diversity must lie in \[0, 1\], got 1.5"),
    ({"diversity": np.nan}, r"diversity must lie in \[0, 1\]"),
    ({"window": 0}, "window must be positive, got 0"),
    ({"shown": np.ones((2, 4))}, r"shown has shape \(2, 4\), expected \(M, 3\)"),
    ({"facet_weights": [0.5]}, "facets has 0 entries, expected 1 × 3"),
    (
        {"facet_weights": [-0.5], "facets": np.ones((1, 3), int)},
        r"facet_weights\[0\] must lie in \[0, 1\], "
        r"got -0.5",
    ),
    (
        {"facet_weights": [0.7, 0.6], "facets": np.ones((2, 3), int)},
        "facet_weights sum to 1.3, expected at most 1",
    ),
    (
        {"facet_weights": [0.5], "facets": np.ones((2, 3), int)},
        r"facets has shape \(2, 3\), expected \(1, "
        r"3\)",
    ),
    (
        {"facet_weights": [0.5], "facets": np.ones((1, 3), int), "shown_facets": np.ones((1, 2), int)},
        r"shown_facets has shape \(1, 2\), expected \(1, 0\) as there are 1 facet_weights and 0 rows of "
        r"shown",
    ),
]


@both
@pytest.mark.parametrize(("changes", "message"), BAD)
def test_selection_rejects_invalid_arguments_by_name(
    name: str, changes: dict[str, Any], message: str
) -> None:
    arguments = {"vectors": np.eye(3, dtype=np.float32), "relevance": np.zeros(3), "k": 2, **changes}
    with pytest.raises(ValueError, match=message):
        SELECT[name][0](**arguments)
