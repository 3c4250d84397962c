"""Vector maps from several threads: each call returns its own array."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from karec import _native


def test_vector_map_returns_the_same_bits_from_each_thread() -> None:
    vectors = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    mapping = _native.VectorMap(vectors.mean(axis=0), np.eye(8), np.arange(1.0, 9.0), 0.5)
    expected = mapping.apply(vectors)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: mapping.apply(vectors), range(200)):
            assert result.tobytes() == expected.tobytes()
