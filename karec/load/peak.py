"""The rate at which goodput bends: up in steps while it grows, or down while it does not fall, then beside
the best."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

STEP, GROWS, FALLS, MOST_STEPS = 1.4, 1.05, 0.95, 30
Report = dict[str, Any]


async def find_peak(
    run: Callable[[float], Awaitable[Report]], first_rate: float
) -> tuple[float, list[Report]]:
    """(the highest goodput a second that was seen, the reports of all rates in their order). ``run`` plays
    one rate.

    Up from the first rate as long as a step of 1.4 gives 5 % more goodput; where the first step up does not,
    down until it is 5 % less than the best. Then one rate on either side of the best, half a step away.
    """
    reports: list[Report] = []
    rate = best_rate = first_rate

    async def goodput(rate: float) -> float:
        reports.append(await run(rate))
        return float(reports[-1]["goodput_per_s"])

    best = await goodput(rate)
    while len(reports) < MOST_STEPS and (found := await goodput(rate := rate * STEP)) > GROWS * best:
        best, best_rate = found, rate
    if best_rate == first_rate:
        rate = first_rate
        while len(reports) < MOST_STEPS and (found := await goodput(rate := rate / STEP)) >= FALLS * best:
            if found >= best:
                best, best_rate = found, rate
    for beside in (best_rate * STEP**0.5, best_rate / STEP**0.5):
        best = max(best, await goodput(beside))
    return best, reports
