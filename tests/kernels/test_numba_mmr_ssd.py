"""MMR and SSD in Numba against the float64 reference and the C++ library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from karec import diversity
from karec.kernels import mmr_ssd, reference

METHODS = pytest.mark.parametrize("method", ["mmr_select", "ssd_select"])


@METHODS
@pytest.mark.parametrize("window", [None, 1, 2, 6, 1000])
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("dim", [3, 12])
def test_numba_selects_as_reference_and_library(
    method: str, window: int | None, weight: float, dim: int
) -> None:
    rng = np.random.default_rng(1)
    embeddings, relevance = rng.standard_normal((300, dim)).astype(np.float32), rng.standard_normal(300)
    embeddings[5] = 0
    options: dict[str, Any] = {"diversity": weight, "window": window}
    relevance = relevance.astype(np.float32)
    indices, scores = getattr(mmr_ssd, method)(embeddings, relevance, 40, **options)
    expected = getattr(reference, method)(embeddings, relevance, 40, **options)
    np.testing.assert_array_equal(indices, expected[0])
    np.testing.assert_allclose(scores, expected[1], atol=1e-6)
    native = getattr(diversity, method)(embeddings, relevance, 40, **options)
    np.testing.assert_array_equal(indices, native.indices)
    np.testing.assert_allclose(scores, native.gains, atol=2e-3)


@METHODS
def test_numba_orders_equal_scores_by_index(method: str) -> None:
    axes = np.repeat(np.eye(5, dtype=np.float32), 3, axis=0)
    indices, _ = getattr(mmr_ssd, method)(axes, np.zeros(15), 7)
    assert indices.tolist() == [0, 3, 6, 9, 12, 1, 2]


@METHODS
def test_numba_selects_nothing_from_no_items(method: str) -> None:
    assert len(getattr(mmr_ssd, method)(np.zeros((0, 4)), np.zeros(0), 3)[0]) == 0


@METHODS
@pytest.mark.parametrize("name", ["embeddings", "relevance", "k", "diversity", "window"])
def test_numba_rejects_as_the_library_does(method: str, name: str) -> None:
    bad = {"embeddings": np.full((3, 2), np.nan), "relevance": [0, np.inf, 0], "k": 0}
    bad |= {"diversity": 1.5, "window": 0}
    vectors = bad["embeddings"] if name == "embeddings" else np.ones((3, 2))
    arguments = {"relevance": np.zeros(3), "k": 2} | ({} if name == "embeddings" else {name: bad[name]})
    messages = []
    for select in (getattr(mmr_ssd, method), getattr(diversity, method)):
        with pytest.raises(ValueError, match=name) as error:
            select(vectors, **arguments)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
