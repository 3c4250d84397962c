"""Confidence sequences: intervals that hold at all looks together, so that a look may end the experiment.

Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic
confidence sequences", 2024: the boundary of a Gaussian mixture, with an estimated standard error.
"""

from __future__ import annotations

import math

MIN_UNITS = 1_000  # of each arm: the sequence is asymptotic, and holds from about this number of units on
BEST_UNITS = 20_000  # of two arms together: the number at which the intervals are narrowest


def half_width_in_standard_errors(n: float, alpha: float, best_n: float = BEST_UNITS) -> float:
    """Returns the half width of the interval after n units, in standard errors of the estimate.

    With probability at least 1 − alpha, asymptotically, no interval of any n misses the true value:

        √(2 · (1 + 1/v) · ln(√(1 + v) / alpha)),   v = n · ρ²

    At `best_n`, this ρ² gives the smallest width, up to a few per cent. For alpha = 0.05 and the default
    `best_n`, the half width is 3.8 at 2,000 units, 3.0 at 20,000 and 3.3 at 200,000. The interval of one look
    has 1.96.

    Raises:
        ValueError: n or best_n is not positive, or alpha is not in (0, 0.5).
    """
    if not (n > 0 and best_n > 0 and 0 < alpha < 0.5):
        raise ValueError(f"n {n}, best_n {best_n}, alpha {alpha}: expected n, best_n > 0 and 0 < alpha < 0.5")
    log = -2 * math.log(alpha)
    v = n * (log + math.log(log) + 1) / best_n
    return math.sqrt(2 * (1 + 1 / v) * (0.5 * math.log1p(v) - math.log(alpha)))
