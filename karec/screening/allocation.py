"""Allocation: how many works of each cell are kept, with all quotas at once.

A cell is a set of quotas that its works belong to; its best works are kept. So a choice is a number per cell,
and quotas are constraints of a linear program:

    n_c works of cell c, 0 ≤ n_c ≤ supply_c;  Σ n_c ≤ keep
    quota q:  floor_q − under_q ≤ Σ_{c in q} n_c ≤ cap_q + over_q

HiGHS (scipy.optimize.linprog) solves it three times: smallest Σ (under + over), the violation; then, at that,
the most works; then, at both, the best quality, with each cell's works in SEGMENTS segments of quality, best
first. A solution of the last program has at most as many fractional numbers as constraints. A small integer
program (scipy.optimize.milp) decides which are rounded up, again by the smallest violation first.

Cost: cells × SEGMENTS variables, quotas + 2 constraints; seconds for 2,000 cells and 40 quotas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import KarecError, MissingExtra
from karec.screening.levels import LOW, Levels, from_order
from karec.screening.settings import Quota

SEGMENTS = 48
EXACT = 1e-6  # tolerance, in works
NODES = 2000  # limit of the integer program; unlike a time limit it gives the same result on all machines


@dataclass(frozen=True)
class QuotaResult:
    name: str
    supply: int
    floor: int
    cap: int
    kept: int

    @property
    def violation(self) -> int:
        """Works below the floor (negative) or above the cap (positive), else 0."""
        return min(self.kept - self.floor, 0) + max(self.kept - self.cap, 0)

    @property
    def message(self) -> str:
        """The violation in one line; empty if there is none."""
        if not self.violation:
            return ""
        bound = f"at least {self.floor:,}" if self.violation < 0 else f"at most {self.cap:,}"
        return f"quota {self.name!r}: kept {self.kept:,} of {self.supply:,} works, expected {bound}"


@dataclass(frozen=True, eq=False)
class Allocation:
    """``wanted (C,) int64``: works to keep of each cell of the levels; ``quotas`` in their order."""

    wanted: NDArray[Any]
    quotas: tuple[QuotaResult, ...]


def allocate(levels: Levels, quotas: Sequence[Quota], keep: int) -> Allocation:
    """Allocates works of ``levels``. Bit q of a cell: its works belong to quota q."""
    cells, supply = levels.cells, levels.supply
    member = np.array([(cells >> q) & 1 for q in range(len(quotas))], np.float64).reshape(
        len(quotas), len(cells)
    )
    floors = np.array([np.ceil(quota.floor * keep - EXACT) for quota in quotas])
    caps = np.array([np.floor(quota.cap * keep + EXACT) for quota in quotas])
    wanted = supply if not len(cells) else _solve(levels, supply, member, floors, caps, keep)
    kept = (member @ wanted).astype(np.int64)
    results = tuple(
        QuotaResult(quota.named, int(member[q] @ supply), int(floors[q]), int(caps[q]), int(kept[q]))
        for q, quota in enumerate(quotas)
    )
    return Allocation(wanted, results)


def _solve(
    levels: Levels,
    supply: NDArray[Any],
    member: NDArray[Any],
    floors: NDArray[Any],
    caps: NDArray[Any],
    keep: int,
) -> NDArray[Any]:
    if supply.sum() <= keep and (member @ supply <= caps).all():
        return supply  # everything fits
    owner, max_works, value = _segments(levels)
    program = _LinearProgram(member, floors, caps, keep)
    cells = np.arange(len(supply))
    violation = max(float(program.solve(cells, supply, np.zeros(len(cells)), slack_cost=1.0).fun), 0.0)
    n_works = -float(program.solve(cells, supply, -np.ones(len(cells)), violation=violation).fun)
    solution = program.solve(owner, max_works, -value, violation=violation, n_works=n_works)
    amounts = solution.x[: len(owner)]
    chosen = np.minimum(np.bincount(owner, amounts, len(supply)), supply)
    integers = np.floor(chosen + EXACT)
    is_fractional = chosen - integers > EXACT
    rounded = program.round_up(integers, np.zeros(len(cells)), is_fractional.astype(float))
    if program.violation(rounded) > np.ceil(violation - EXACT):
        rounded = program.round_up(integers, -np.minimum(integers, 1), np.minimum(supply - integers, 1))
    return rounded.astype(np.int64)


def _segments(levels: Levels) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Returns (index of the cell, works, mean quality in [0, 1]) of each segment."""
    order = np.argsort(levels.level, kind="stable")
    fraction = np.empty(len(order))
    fraction[order] = np.cumsum(levels.count[order]) / levels.count.sum()
    owner = np.searchsorted(levels.cells, levels.cell)
    # works of one level are in one segment, in every cell
    _, level_of = np.unique(levels.level, return_inverse=True)
    highest = np.zeros(level_of.max() + 1)
    np.maximum.at(highest, level_of, fraction)
    segment = np.minimum((highest[level_of] * SEGMENTS).astype(np.int64), SEGMENTS - 1)
    quality = from_order((levels.level << LOW) + (1 << (LOW - 1))).astype(np.float64)
    span = quality.max() - quality.min()
    quality = (quality - quality.min()) / (span if span > 0 else 1.0)
    keys, segment_index = np.unique(owner * SEGMENTS + segment, return_inverse=True)
    n_works = np.bincount(segment_index, levels.count)
    return keys // SEGMENTS, n_works, np.bincount(segment_index, levels.count * quality) / n_works


class _LinearProgram:
    """Constraints of the program.

    member        (Q, C) 1 if a cell belongs to a quota
    floors, caps  (Q,) in works
    keep          works in total
    """

    def __init__(self, member: NDArray[Any], floors: NDArray[Any], caps: NDArray[Any], keep: int) -> None:
        self.member, self.floors, self.caps, self.keep = member, floors, caps, keep
        self.n_quotas = len(floors)

    def violation(self, wanted: NDArray[Any]) -> float:
        kept = self.member @ wanted
        return float((np.maximum(self.floors - kept, 0) + np.maximum(kept - self.caps, 0)).sum())

    def solve(
        self,
        owner: NDArray[Any],
        max_works: NDArray[Any],
        cost: NDArray[Any],
        *,
        slack_cost: float = 0.0,
        violation: float | None = None,
        n_works: float | None = None,
    ) -> Any:
        """Returns SciPy's solution with the smallest cost: works of each variable, then under and over.

        Args:
            owner: (V,) cells of the variables.
            max_works: (V,) their upper bounds.
            cost: (V,) cost of a work.
            slack_cost: cost of a work of violation.
            violation: upper bound of the violation. None: there is no bound.
            n_works: lower bound of the number of works. None: there is no bound.
        """
        slack = 2 * self.n_quotas
        rows, upper = self._constraints(owner, violation, n_works)
        highest = np.concatenate([max_works, np.full(slack, np.inf)])
        bounds = np.stack([np.zeros(len(highest)), highest], axis=1)
        return _linear(np.concatenate([cost, np.full(slack, slack_cost)]), rows, upper, bounds)

    def round_up(self, integers: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
        """Adds to each cell an integer in [low, high]: least violation, then most works."""
        free = np.flatnonzero(low < high)
        if not len(free):
            return integers
        from scipy.optimize import Bounds, LinearConstraint, milp

        slack = 2 * self.n_quotas
        kept = self.member @ integers
        rows, upper = self._constraints(free)
        upper = upper - np.concatenate([-kept, kept, [integers.sum()]])
        cost = np.concatenate([-np.ones(len(free)), np.full(slack, 10.0 * len(free))])
        solution = milp(
            cost,
            integrality=np.concatenate([np.ones(len(free)), np.zeros(slack)]),
            bounds=Bounds(
                np.concatenate([low[free], np.zeros(slack)]),
                np.concatenate([high[free], np.full(slack, np.inf)]),
            ),
            constraints=LinearConstraint(rows, -np.inf, upper),
            options={"node_limit": NODES},
        )
        round_up = integers.copy()
        if solution.x is not None:
            round_up[free] += np.rint(solution.x[: len(free)])
        return round_up

    def _constraints(
        self, owner: NDArray[Any], violation: float | None = None, n_works: float | None = None
    ) -> tuple[Any, NDArray[Any]]:
        """Returns (rows, upper): rows @ (works of variables, under, over) ≤ upper."""
        from scipy import sparse

        n, q = len(owner), self.n_quotas
        member, identity = sparse.csr_matrix(self.member[:, owner]), sparse.identity(q)
        zero = sparse.csr_matrix((q, q))
        is_work = np.concatenate([np.ones(n), np.zeros(2 * q)])
        rows = [
            sparse.hstack([-member, -identity, zero]),
            sparse.hstack([member, zero, -identity]),
            sparse.csr_matrix(is_work),
        ]
        upper: list[Any] = [-self.floors, self.caps, [float(self.keep)]]
        if violation is not None:
            rows.append(sparse.csr_matrix(1 - is_work))
            upper.append([violation + EXACT])
        if n_works is not None:
            rows.append(sparse.csr_matrix(-is_work))
            upper.append([-n_works + EXACT * max(n_works, 1.0) * 1e-3])
        return sparse.vstack(rows, format="csr"), np.concatenate(upper)


def _linear(cost: NDArray[Any], rows: Any, upper: NDArray[Any], bounds: NDArray[Any]) -> Any:
    try:
        from scipy.optimize import linprog
    except ImportError as error:
        raise MissingExtra("scipy", "screen", "screening's quotas") from error
    solution = linprog(cost, A_ub=rows, b_ub=upper, bounds=bounds, method="highs")
    if solution.x is None:
        raise KarecError(f"quotas: the linear program was not solved: {solution.message}")
    return solution
