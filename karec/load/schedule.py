"""When requests are due."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def moments(rate: float, seconds: float, even: bool, rng: np.random.Generator) -> NDArray[np.float64]:
    """(N,) seconds from the start, rising, all below ``seconds``: of a Poisson process of ``rate`` a second,
    or at even distances.
    """
    if even:
        return np.arange(int(np.ceil(rate * seconds - 1e-9))) / rate
    return np.sort(rng.uniform(0.0, seconds, rng.poisson(rate * seconds)))
