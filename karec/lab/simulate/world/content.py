"""Content vectors of the world's works, as an audio model and a cover model would compute them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from karec.lab.simulate.world.sampling import unit_rows
from karec.lab.simulate.world.tastes import Truth

NOISE = 0.5  # standard deviation, in units of a number of the signal


def content_vectors(truth: Truth, width: int, seed: int) -> NDArray[np.float32]:
    """Returns (works, width) float32 unit vectors that depend on song, voice, quality and appeal.

    The causes are mixed by a random matrix, and a work's own noise is added. O(works · width).
    """
    generator = np.random.default_rng(seed)
    songs, works = truth.songs, truth.works
    causes = [
        unit_rows(songs.vector[works.song]) * songs.vector.shape[1] ** 0.5,
        unit_rows(truth.people.voice[works.creator]) * songs.vector.shape[1] ** 0.5,
        works.quality[:, None],
        works.appeal[:, None],
    ]
    signal = np.concatenate(causes, axis=1)
    mixed = signal @ generator.standard_normal((signal.shape[1], width)) / signal.shape[1] ** 0.5
    return np.asarray(unit_rows(mixed + NOISE * generator.standard_normal(mixed.shape)), np.float32)
