"""The rate at which goodput bends: up in steps while the service keeps up, then between the last two."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

KEEPS_UP, STEP, BETWEEN, MOST_STEPS = 0.95, 1.4, 2, 30
Report = dict[str, Any]


async def find_peak(run: Callable[[float], Awaitable[Report]], first_rate: float) -> tuple[float, list[Report]]:
    """(the highest goodput a second that was seen, the reports of all rates in their order).

    A service keeps up while at least 95 % of a rate's requests are good. Down in steps too, where it does not keep up
    with the first rate. ``run`` plays one rate.
    """
    reports: list[Report] = []

    async def keeps_up(rate: float) -> bool:
        reports.append(await run(rate))
        return bool(reports[-1]["good_share"] >= KEEPS_UP)

    up = await keeps_up(first_rate)
    below = above = first_rate
    while len(reports) < MOST_STEPS:
        if up:
            below, above = above, above * STEP
            if not await keeps_up(above):
                break
        else:
            below, above = below / STEP, below
            if await keeps_up(below):
                break
    for _ in range(BETWEEN):
        middle = (below * above) ** 0.5
        if await keeps_up(middle):
            below = middle
        else:
            above = middle
    return max(report["goodput_per_s"] for report in reports), reports
