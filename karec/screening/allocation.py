"""How many works of each cell are kept: one allocation for all quotas at once.

A cell is a set of quotas that its works fall under; its works are taken best first. So what is chosen is a
number for each cell, and the quotas are lines of a linear program:

    n_c works of cell c, 0 ≤ n_c ≤ supply_c;  Σ n_c ≤ keep
    quota q:  floor_q − under_q ≤ Σ_{c in q} n_c ≤ cap_q + over_q

solved three times by HiGHS (scipy.optimize.linprog): least Σ (under + over), the violation; then, at that,
the most works; then, at both, the best quality, each cell's works in SEGMENTS segments of quality, best
first. A solution of the last program has at most as many broken numbers as it has lines; which of these are
rounded up is decided by a small integer program (scipy.optimize.milp), again by the least violation first.

Cost: cells × SEGMENTS variables, quotas + 2 lines; seconds for 2,000 cells and 40 quotas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import KarecError, MissingExtra
from karec.screening.levels import LOW, Levels, quality_of
from karec.screening.settings import Quota

SEGMENTS = 48
EXACT = 1e-6  # of a work
NODES = 2000  # of the integer program, so that its end does not depend on the machine


@dataclass(frozen=True)
class QuotaResult:
    """Works of a quota: how many there are to choose from, its floor and cap, and how many are kept."""

    name: str
    supply: int
    floor: int
    cap: int
    kept: int

    @property
    def violation(self) -> int:
        """Works below the floor, negative; above the cap, positive; else 0."""
        return min(self.kept - self.floor, 0) + max(self.kept - self.cap, 0)

    @property
    def told(self) -> str:
        """The violation in a line; empty where there is none."""
        if not self.violation:
            return ""
        wanted = f"at least {self.floor:,}" if self.violation < 0 else f"at most {self.cap:,}"
        return f"quota {self.name!r}: {wanted} works were wanted, {self.kept:,} are kept of {self.supply:,}"


@dataclass(frozen=True, eq=False)
class Allocation:
    """``wanted (C,) int64`` works of each cell of the levels; ``quotas`` in their order."""

    wanted: NDArray[Any]
    quotas: tuple[QuotaResult, ...]


def allocate(levels: Levels, quotas: Sequence[Quota], keep: int) -> Allocation:
    """``levels`` of the whole window; bit q of a cell says that its works fall under quota q."""
    cells, supply = levels.cells, levels.supply
    of = np.array([(cells >> q) & 1 for q in range(len(quotas))], np.float64).reshape(len(quotas), len(cells))
    floors = np.array([np.ceil(quota.floor * keep - EXACT) for quota in quotas])
    caps = np.array([np.floor(quota.cap * keep + EXACT) for quota in quotas])
    wanted = supply if not len(cells) else _solve(levels, supply, of, floors, caps, keep)
    kept = (of @ wanted).astype(np.int64)
    results = tuple(
        QuotaResult(quota.named, int(of[q] @ supply), int(floors[q]), int(caps[q]), int(kept[q]))
        for q, quota in enumerate(quotas)
    )
    return Allocation(wanted, results)


def _solve(
    levels: Levels,
    supply: NDArray[Any],
    of: NDArray[Any],
    floors: NDArray[Any],
    caps: NDArray[Any],
    keep: int,
) -> NDArray[Any]:
    if supply.sum() <= keep and (of @ supply <= caps).all():
        return supply  # all of it: more there is not
    owner, most, value = _segments(levels)
    programme = _Programme(of, floors, caps, keep)
    cells = np.arange(len(supply))
    violation = programme.least_violation(supply)
    works = programme.most_works(supply, violation)
    amounts = programme.best(owner, most, value, violation, works)
    chosen = np.minimum(np.bincount(owner, amounts, len(supply)), supply)
    whole = np.floor(chosen + EXACT)
    broken = chosen - whole > EXACT
    rounded = programme.rounded(whole, np.zeros(len(cells)), broken.astype(float))
    if programme.violation(rounded) > np.ceil(violation - EXACT):
        rounded = programme.rounded(whole, -np.minimum(whole, 1), np.minimum(supply - whole, 1))
    return rounded.astype(np.int64)


def _segments(levels: Levels) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(place of the cell, works, mean quality in 0 … 1) of each segment; a cell's better ones have the higher
    value."""
    order = np.argsort(levels.level, kind="stable")
    share = np.empty(len(order))
    share[order] = np.cumsum(levels.count[order]) / levels.count.sum()
    owner = np.searchsorted(levels.cells, levels.cell)
    # works of one level are in one segment, whatever their cell
    _, level_of = np.unique(levels.level, return_inverse=True)
    upto = np.zeros(level_of.max() + 1)
    np.maximum.at(upto, level_of, share)
    segment = np.minimum((upto[level_of] * SEGMENTS).astype(np.int64), SEGMENTS - 1)
    quality = quality_of((levels.level << LOW) + (1 << (LOW - 1))).astype(np.float64)
    span = quality.max() - quality.min()
    quality = (quality - quality.min()) / (span if span > 0 else 1.0)
    keys, place = np.unique(owner * SEGMENTS + segment, return_inverse=True)
    works = np.bincount(place, levels.count)
    return keys // SEGMENTS, works, np.bincount(place, levels.count * quality) / works


class _Programme:
    """Lines of the program: ``of (Q, C)`` which cells a quota is about, its floors and caps in works, and
    ``keep``."""

    def __init__(self, of: NDArray[Any], floors: NDArray[Any], caps: NDArray[Any], keep: int) -> None:
        self.of, self.floors, self.caps, self.keep = of, floors, caps, keep
        self.n_quotas = len(floors)

    def violation(self, wanted: NDArray[Any]) -> float:
        kept = self.of @ wanted
        return float((np.maximum(self.floors - kept, 0) + np.maximum(kept - self.caps, 0)).sum())

    def least_violation(self, supply: NDArray[Any]) -> float:
        cost = np.concatenate([np.zeros(len(supply)), np.ones(2 * self.n_quotas)])
        rows, most = self._lines(np.arange(len(supply)))
        return max(float(_linear(cost, rows, most, self._bounds(supply)).fun), 0.0)

    def most_works(self, supply: NDArray[Any], violation: float) -> float:
        cost = np.concatenate([-np.ones(len(supply)), np.zeros(2 * self.n_quotas)])
        rows, most = self._lines(np.arange(len(supply)), violation)
        return -float(_linear(cost, rows, most, self._bounds(supply)).fun)

    def best(
        self, owner: NDArray[Any], most_of: NDArray[Any], value: NDArray[Any], violation: float, works: float
    ) -> NDArray[Any]:
        """(S,) works of each segment."""
        from scipy import sparse

        cost = np.concatenate([-value, np.zeros(2 * self.n_quotas)])
        rows, most = self._lines(owner, violation)
        total = np.concatenate([-np.ones(len(owner)), np.zeros(2 * self.n_quotas)])
        rows = sparse.vstack([rows, sparse.csr_matrix(total)], format="csr")
        most = np.append(most, -works + EXACT * max(works, 1.0) * 1e-3)
        return np.asarray(_linear(cost, rows, most, self._bounds(most_of)).x[: len(owner)])

    def rounded(self, whole: NDArray[Any], least: NDArray[Any], most: NDArray[Any]) -> NDArray[Any]:
        """``whole`` and for each cell a whole number from ``least`` to ``most`` more: at the least violation
        the most works.
        """
        free = np.flatnonzero(least < most)
        if not len(free):
            return whole
        from scipy.optimize import Bounds, LinearConstraint, milp

        slack = 2 * self.n_quotas
        kept = self.of @ whole
        rows, upper = self._lines(free)
        upper = upper - np.concatenate([-kept, kept, [whole.sum()]])
        cost = np.concatenate([-np.ones(len(free)), np.full(slack, 10.0 * len(free))])
        found = milp(
            cost,
            integrality=np.concatenate([np.ones(len(free)), np.zeros(slack)]),
            bounds=Bounds(
                np.concatenate([least[free], np.zeros(slack)]),
                np.concatenate([most[free], np.full(slack, np.inf)]),
            ),
            constraints=LinearConstraint(rows, -np.inf, upper),
            options={"node_limit": NODES},
        )
        rounded = whole.copy()
        if found.x is not None:
            rounded[free] += np.rint(found.x[: len(free)])
        return rounded

    def _lines(self, owner: NDArray[Any], violation: float | None = None) -> tuple[Any, NDArray[Any]]:
        """rows @ (works of each variable, under, over) ≤ most; variable v counts in the cell ``owner[v]``."""
        from scipy import sparse

        n, q = len(owner), self.n_quotas
        of, one, none = sparse.csr_matrix(self.of[:, owner]), sparse.identity(q), sparse.csr_matrix((q, q))
        rows = [
            sparse.hstack([-of, -one, none]),
            sparse.hstack([of, none, -one]),
            sparse.csr_matrix(np.concatenate([np.ones(n), np.zeros(2 * q)])),
        ]
        most: list[Any] = [-self.floors, self.caps, [float(self.keep)]]
        if violation is not None:
            rows.append(sparse.csr_matrix(np.concatenate([np.zeros(n), np.ones(2 * q)])))
            most.append([violation + EXACT])
        return sparse.vstack(rows, format="csr"), np.concatenate(most)

    def _bounds(self, most: NDArray[Any]) -> NDArray[Any]:
        upper = np.concatenate([most, np.full(2 * self.n_quotas, np.inf)])
        return np.stack([np.zeros(len(upper)), upper], axis=1)


def _linear(cost: NDArray[Any], rows: Any, most: NDArray[Any], bounds: NDArray[Any]) -> Any:
    try:
        from scipy.optimize import linprog
    except ImportError as error:
        raise MissingExtra("scipy", "screening", "screening's quotas") from error
    found = linprog(cost, A_ub=rows, b_ub=most, bounds=bounds, method="highs")
    if found.x is None:
        raise KarecError(f"the quotas' program was not solved: {found.message}")
    return found
