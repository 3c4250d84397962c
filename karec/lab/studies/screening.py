"""Recall of screening: the kept fraction of later popular works, against the number of kept works.

A work is popular if it is in the top fraction SHARE of all uploads by long views. Only days with known
outcomes that the model did not learn from count. At every size the kept works are compared with:

    at random    works drawn from all uploads
    rules only   works drawn from those that satisfy all rules
    by quality   the best candidates, without quotas

Outcomes must be of works that were shown independently of screening; otherwise rejected works cannot become
popular. 95 % intervals from resampling days.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.data.database import open_database, scan_sql
from karec.errors import DataError
from karec.evaluate.tables import format_measure
from karec.lab.report import Chart, Part, Table, lines, note, write_report
from karec.screening.day_file import read_facts
from karec.screening.levels import LOW, to_order
from karec.screening.outcomes import (
    PopularDay,
    missing_day_notes,
    popular_day,
    popular_threshold,
    read_outcomes,
    require_learn,
)
from karec.screening.rules import load_block_lists, read_block_lists
from karec.screening.screen import DAYS, KEPT, ScreeningResult, read_result
from karec.screening.settings import ScreeningSettings
from karec.times import Progress

FORMAT = 1
WAYS = {
    "kept": "kept: rules, quality, near-duplicates, quotas",
    "by quality": "best by quality, without quotas",
    "rules only": "drawn from works that satisfy all rules",
    "at random": "drawn from all uploads",
}
SHARE = 0.01  # fraction of the uploads that counts as popular
POINTS = 60  # of a curve
RESAMPLES = 1000


def judge_screening(
    settings: ScreeningSettings, file: Path, out: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Returns the report (``screening.json``) on ``out``, a complete screening by ``settings`` of ``file``.

    Raises DataError if no day of the window after the training days has outcomes.
    """
    result, learn = read_result(out), require_learn(settings, file)
    outcomes = [
        outcome
        for outcome in read_outcomes(settings, learn)
        if str(outcome.day) in result.days and str(outcome.day) > (result.trained_until or "")
    ]
    paths = {outcome.day: out / DAYS / f"{outcome.day}.parquet" for outcome in outcomes}
    outcomes = [outcome for outcome in outcomes if read_facts(paths[outcome.day]) is not None]
    if not outcomes:
        clause = f" after {result.trained_until}, the last training day," if result.trained_until else ""
        raise DataError(f"no day of the window{clause} has outcomes in {settings.folder / learn.outcomes}")
    days = []
    counts = np.zeros(1 << (32 - LOW), np.int64)
    with open_database(extra="screen") as duckdb:
        blocked = read_block_lists(settings, outcomes[0].uploads.column_types)
        load_block_lists(duckdb, blocked)
        min_long_views = popular_threshold(duckdb, learn, outcomes, SHARE)
        for n, outcome in enumerate(outcomes, 1):
            path = paths[outcome.day]
            days.append(
                popular_day(duckdb, settings, learn, outcome, blocked, path, out / KEPT, min_long_views)
            )
            for level, count in duckdb.rows(
                f"SELECT level, count(*) FROM {scan_sql([str(path)])} GROUP BY 1"
            ):
                counts[level] += count
            if progress is not None:
                progress(n, len(outcomes), "judging, days")
    return {
        **_report(result, days, counts, min_long_views),
        "judged_notes": missing_day_notes(outcomes, settings.missing_days),
    }


def _report(
    result: ScreeningResult, days: Sequence[PopularDay], counts: NDArray[Any], min_long_views: int
) -> dict[str, Any]:
    totals = {
        name: sum(getattr(day, name) for day in days) for name in ("uploads", "passed", "kept", "popular")
    }
    if not totals["popular"] or not totals["kept"]:
        raise DataError(
            f"of {totals['uploads']:,} works {totals['popular']:,} became popular and {totals['kept']:,} are "
            "kept, expected more than 0 of both"
        )
    return {
        "days": [str(day.day) for day in days],
        **totals,
        "popular_from": min_long_views,
        "recall": _recalls(days, counts),
        "curve": _curve(days, counts),
        "funnel": _funnel(result, days),
        "quotas": list(result.quotas),
        "violations": list(result.violations),
        "notes": list(result.notes),
    }


def _recalls(days: Sequence[PopularDay], counts: NDArray[Any]) -> dict[str, Any]:
    """Returns {method: recall at the size of the kept works, with its interval}, and ratios of methods."""
    level = _level_at(counts, sum(day.kept for day in days))
    columns = {
        "popular": [day.popular for day in days],
        "uploads": [day.uploads for day in days],
        "passed": [day.passed for day in days],
        "popular passed": [day.popular - sum(day.rejected.values()) for day in days],
        "kept": [day.kept for day in days],
        "popular kept": [day.popular_kept for day in days],
        "by quality": [int((to_order(day.quality) >> LOW >= level).sum()) for day in days],
    }
    table = {name: np.array(values, np.float64) for name, values in columns.items()}
    resamples = np.random.default_rng(0).multinomial(len(days), np.full(len(days), 1 / len(days)), RESAMPLES)
    recalls: dict[str, Any] = {}
    for name, value in _recall_of_methods({key: values.sum() for key, values in table.items()}).items():
        recalls[name] = {"value": float(value)}
    for name, values in _recall_of_methods(
        {key: resamples @ values for key, values in table.items()}
    ).items():
        interval = np.nanquantile(values, [0.025, 0.975]).tolist() if len(days) > 1 else None
        recalls[name]["ci"] = interval
    return recalls


def _recall_of_methods(sums: Mapping[str, Any]) -> dict[str, Any]:
    with np.errstate(invalid="ignore", divide="ignore"):
        kept = sums["popular kept"] / sums["popular"]
        random = sums["kept"] / sums["uploads"]
        rules = sums["popular passed"] / sums["popular"] * np.minimum(sums["kept"] / sums["passed"], 1.0)
        quality = sums["by quality"] / sums["popular"]
        return {
            "kept": kept,
            "by quality": quality,
            "rules only": rules,
            "at random": random,
            "kept / at random": kept / random,
            "kept / rules only": kept / rules,
        }


def _level_at(counts: NDArray[Any], n: int) -> int:
    """Returns the lowest level with at most ``n`` candidates at or above it."""
    above = np.cumsum(counts[::-1])[::-1]
    return int(np.searchsorted(-above, -n))


def _curve(days: Sequence[PopularDay], counts: NDArray[Any]) -> dict[str, list[float]]:
    """Returns kept fractions of the uploads, and the recall of each method at that size."""
    uploads, popular = sum(day.uploads for day in days), sum(day.popular for day in days)
    above = np.cumsum(counts[::-1])[::-1]
    order = np.concatenate([to_order(day.quality) >> LOW for day in days])
    popular_above = np.cumsum(np.bincount(order, minlength=len(counts))[::-1])[::-1]
    levels = np.flatnonzero(counts)[::-1]
    places = np.unique(np.searchsorted(above[levels], np.linspace(0, above[levels[-1]], POINTS)[1:]))
    cuts = levels[np.minimum(places, len(levels) - 1)]
    size = np.concatenate([[0.0], above[cuts] / uploads])
    passed = sum(day.passed for day in days)
    passed_fraction = sum(day.popular - sum(day.rejected.values()) for day in days) / popular
    return {
        "size": size.tolist(),
        "by quality": np.concatenate([[0.0], popular_above[cuts] / popular]).tolist(),
        "rules only": (passed_fraction * np.minimum(size * uploads / max(passed, 1), 1.0)).tolist(),
        "at random": size.tolist(),
    }


def _funnel(result: ScreeningResult, days: Sequence[PopularDay]) -> list[dict[str, Any]]:
    """Returns for each reason the rejected works and the popular ones among them; last, the kept ones."""
    rejected = [result.days[str(day.day)]["rejected"] for day in days]
    rule_reasons = {reason for day in days for reason in day.rejected}
    rows = []
    for reason in result.reasons:
        works = sum(day.get(reason, 0) for day in rejected)
        popular = sum(day.rejected.get(reason, 0) for day in days) if reason in rule_reasons else 0
        if reason == "near duplicate":
            popular = sum(day.popular - sum(day.rejected.values()) - len(day.quality) for day in days)
        if reason == "quota":
            popular = sum(len(day.quality) - day.popular_kept for day in days)
        rows.append({"reason": reason, "works": works, "popular": popular})
    rows.append(
        {
            "reason": "kept",
            "works": sum(day.kept for day in days),
            "popular": sum(day.popular_kept for day in days),
        }
    )
    return rows


def write_screening(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Writes screening.json and screening.html from the result of ``judge_screening``."""
    return write_report({"format": FORMAT, **report}, folder, "screening", "Screening", _parts(report))


def screening_sentence(report: Mapping[str, Any]) -> str:
    recall = report["recall"]
    ratios = {name: recall[f"kept / {name}"]["value"] for name in ("at random", "rules only")}
    return (
        f"{report['days'][0]} … {report['days'][-1]}: {report['kept']:,} of {report['uploads']:,} works are "
        f"kept, and {recall['kept']['value']:.1%} of the {report['popular']:,} that became popular "
        f"({report['popular_from']:,} long views or more): {ratios['at random']:.1f} times as many as at "
        f"random, {ratios['rules only']:.1f} times as many as by rules only"
    )


def _parts(report: Mapping[str, Any]) -> Iterator[Part]:
    yield note(screening_sentence(report))
    for line in (*report["judged_notes"], *(f"not met: {v}" for v in report["violations"]), *report["notes"]):
        yield note(line)
    recall, curve = report["recall"], report["curve"]
    curves = {WAYS[way]: (curve["size"], curve[way]) for way in WAYS if way != "kept"}
    kept_point = ([report["kept"] / report["uploads"]], [recall["kept"]["value"]])
    yield Chart(
        "Kept fraction of later popular works, by the number of kept works",
        lines(
            {**curves, WAYS["kept"]: kept_point},
            "kept works, fraction of the uploads",
            "fraction of the later popular",
        ),
    )
    rows = [
        (label, format_measure(recall[way]["value"], recall[way]["ci"], 3)) for way, label in WAYS.items()
    ]
    yield Table("At the number of kept works", ("", "recall, 95 % over days"), rows)
    yield Table(
        "Funnel by the first reason of a work",
        ("reason", "works", "of uploads", "later popular", "of them"),
        [
            (
                row["reason"],
                f"{row['works']:,}",
                f"{row['works'] / report['uploads']:.2%}",
                f"{row['popular']:,}",
                f"{row['popular'] / report['popular']:.2%}",
            )
            for row in report["funnel"]
        ],
    )
    yield Table(
        "Quotas",
        ("of", "candidates", "floor", "cap", "kept", "violation"),
        [
            (
                quota["name"],
                *(f"{quota[key]:,}" for key in ("supply", "floor", "cap", "kept")),
                f"{quota['violation']:+,}" if quota["violation"] else "–",
            )
            for quota in report["quotas"]
        ],
    )
