"""Reports of experiments: the table of a plan; tables, notes and the chart of a look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from karec.experiments.confidence_sequence import MIN_UNITS
from karec.experiments.effects import Effect
from karec.experiments.interleaving import Preference
from karec.experiments.power import Plan
from karec.experiments.results import MIN_SAMPLE_RATIO_P, Look, daily_effects
from karec.experiments.units import ExperimentLog
from karec.lab.report import BLUE, GREY, Chart, Table
from karec.times import DAY_MS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EFFECT_HEAD = ("metric", "arm", "control", "treated", "change", "one look", "p", "all looks")


def plan_table(title: str, plans: Sequence[Plan], history: int) -> Table:
    """Returns the table of units and days by metric. `history`: days of first requests that were read."""
    rows = [
        (
            one.metric,
            f"{one.mean:.4g}",
            f"{one.units:,}",
            f"{one.units_without_cuped:,}",
            f"more than {history}" if one.exposure_days is None else f"{one.exposure_days}",
            "" if one.days is None else f"{one.days}",
        )
        for one in plans
    ]
    head = ("metric", "mean", "units", "without CUPED", "days of exposure", "days with outcome")
    return Table(title, head, rows, "Units of control and the smallest other arm together.")


def look_tables(look: Look) -> Iterator[Table]:
    """Yields the table of arms, then those of effects unless the sample ratio is wrong."""
    yield Table(
        f"{look.name}, version {look.version}, until {_day(look.until_ms)} UTC",
        ("arm", "units", "complete", "pages", "degraded", "got control", "p99 ms", "creators"),
        [
            (
                facts.arm,
                f"{facts.units:,}",
                f"{facts.complete:,}",
                f"{facts.requests:,}",
                _percent(facts.degraded, "not logged"),
                _percent(facts.got_control, "not logged"),
                "not logged" if facts.p99_ms is None else f"{facts.p99_ms:.1f}",
                "unknown" if facts.creators is None else f"{facts.creators:,}",
            )
            for facts in look.facts
        ],
        f"complete: the {look.metrics.days} days of the outcome are over. creators: of equal numbers of "
        f"units. p of the sample ratio: {_p(look.sample_ratio_p) or 'unknown'}. p99: of the summed run times "
        "of the steps of a page.",
    )
    if look.has_mismatch:
        return
    for title, effects, note in (
        ("Primary metric", look.primary, "Intervals of 95 %, for all arms together."),
        ("Other metrics", look.others, "p: of one look, after Benjamini and Hochberg over these rows."),
    ):
        if effects:
            yield Table(title, EFFECT_HEAD, [effect_row(effect) for effect in effects], note)
    limits = look.metrics.guardrails
    rows = [
        (
            *row[:5],
            row[7],
            f"{limits[one.metric]:+.1%}",
            "stop" if (one.arm, one.metric) in look.stops else "",
        )
        for one, row in zip(look.guardrails, map(effect_row, look.guardrails), strict=True)
    ]
    if rows:
        yield Table("Guardrails", (*EFFECT_HEAD[:5], EFFECT_HEAD[7], "limit", ""), rows)


def preference_table(name: str, arm: str, control: str, shares: Mapping[str, Preference]) -> Table:
    """Returns the table of the share of ``arm`` of each label, against ``control``."""
    rows = [
        (
            label,
            f"{one.share:.3f}",
            f"[{one.low:.3f}, {one.high:.3f}]",
            f"{one.total:,.0f}",
            f"{one.n_users:,}",
        )
        for label, one in shares.items()
    ]
    note = f"Above 0.5: users prefer {arm} to {control}. Intervals of 95 %, by user."
    return Table(f"{name}: share of {arm}", ("label", "share", "interval", "labels", "users"), rows, note)


def effect_row(effect: Effect) -> tuple[str, ...]:
    """Returns the cells of a row under EFFECT_HEAD."""
    if effect.control is None:
        return (effect.metric, effect.arm, "", "", "too few events", "", "", "")
    means = f"{effect.control:.4g}", f"{effect.treated:.4g}"
    if effect.relative is None:
        return (effect.metric, effect.arm, *means, "no interval", "", "", "")
    p = effect.p if effect.p_adjusted is None else effect.p_adjusted
    change = f"{effect.relative:+.2%}"
    always = f"from {MIN_UNITS:,} units" if effect.always_valid is None else _interval(effect.always_valid)
    return (effect.metric, effect.arm, *means, change, _interval(effect.ci), _p(p), always)


def look_notes(look: Look) -> Iterator[str]:
    """Yields a sentence for each problem, each reason of left-out rows and each arm to stop."""
    if look.has_mismatch:
        yield (
            f"the numbers of units do not fit the weights (p below {MIN_SAMPLE_RATIO_P}): no result. Find "
            "out why an arm loses units, and start a new version."
        )
    for facts in look.facts:
        if not facts.units:
            yield f"the arm {facts.arm} has no units"
        if facts.got_control:
            yield f"{facts.got_control:.1%} of the pages of {facts.arm} got control: the model is missing"
    yield from (f"left out: {n:,} {reason}" for reason, n in look.left_out.items())
    for arm, metric in look.stops:
        yield f"the arm {arm} is beyond the guardrail of {metric}: stop it"


def look_chart(log: ExperimentLog, look: Look) -> Iterator[Chart]:
    """Yields the intervals of the primary metric by day, a panel for each arm but control."""
    effects = [one for one in look.primary if one.ci is not None]
    if effects:
        curves = {
            one.arm: [*daily_effects(log.units, one.metric, one.arm, look.control, one.alpha)]
            for one in effects
        }

        def draw(*panels: Axes) -> None:
            for axes, (arm, looks) in zip(panels, curves.items(), strict=True):
                _draw_looks(axes, arm, looks)

        note = "Bars: interval of one look. Area: intervals that hold at all looks together."
        yield Chart(f"{look.metrics.primary} by day", draw, note, panels=(1, len(curves)))


def _draw_looks(axes: Axes, arm: str, looks: Sequence[tuple[int, Effect]]) -> None:
    known = [(end_ms / DAY_MS, one) for end_ms, one in looks if one.ci is not None]
    days = [day - known[0][0] + 1 for day, _ in known]
    changes = np.array([one.relative for _, one in known], np.float64)
    bars = np.abs(np.array([one.ci for _, one in known]).T - changes)
    axes.errorbar(days, 100 * changes, yerr=100 * bars, fmt="o", color=BLUE, markersize=4)
    wide = [(day, *one.always_valid) for day, (_, one) in zip(days, known, strict=True) if one.always_valid]
    day, low, high = np.array(wide).reshape(-1, 3).T
    axes.fill_between(day, 100 * low, 100 * high, color=BLUE, alpha=0.15)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set_xlabel("day")
    axes.set_ylabel(f"{arm} against control, %")


def _interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"[{bounds[0]:+.2%}, {bounds[1]:+.2%}]"


def _p(p: float | None) -> str:
    return "" if p is None else "below 0.001" if p < 0.001 else f"{p:.3f}"


def _percent(value: float | None, missing: str) -> str:
    return missing if value is None else f"{value:.2%}"


def _day(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1e3, UTC):%Y-%m-%d %H:%M}"
