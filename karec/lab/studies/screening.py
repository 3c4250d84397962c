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
    """Returns the report (``screening.json``) on ``out``, a finished screening by ``settings`` of ``file``.

    Raises DataError if no day of the window after the training days has outcomes.
    """
    screened, learn = read_result(out), require_learn(settings, file)
    known = [
        outcome
        for outcome in read_outcomes(settings, learn)
        if str(outcome.day) in screened.days and str(outcome.day) > (screened.trained_until or "")
    ]
    paths = {outcome.day: out / DAYS / f"{outcome.day}.parquet" for outcome in known}
    known = [outcome for outcome in known if read_facts(paths[outcome.day]) is not None]
    if not known:
        after = (
            f" after {screened.trained_until}, the last that the model learned from,"
            if screened.trained_until
            else ""
        )
        raise DataError(f"no day of the window{after} has outcomes in {settings.folder / learn.outcomes}")
    days = []
    counts = np.zeros(1 << (32 - LOW), np.int64)
    with open_database(extra="screen") as duckdb:
        blocked = read_block_lists(settings, known[0].uploads.column_types)
        load_block_lists(duckdb, blocked)
        min_long_views = popular_threshold(duckdb, learn, known, SHARE)
        for n, outcome in enumerate(known, 1):
            path = paths[outcome.day]
            days.append(
                popular_day(duckdb, settings, learn, outcome, blocked, path, out / KEPT, min_long_views)
            )
            for level, count in duckdb.rows(
                f"SELECT level, count(*) FROM {scan_sql([str(path)])} GROUP BY 1"
            ):
                counts[level] += count
            if progress is not None:
                progress(n, len(known), "judging, days")
    return {
        **_report(screened, days, counts, min_long_views),
        "judged_notes": missing_day_notes(known, settings.missing_days),
    }


def _report(
    screened: ScreeningResult, days: Sequence[PopularDay], counts: NDArray[Any], min_long_views: int
) -> dict[str, Any]:
    uploads, passed, kept, popular = (
        sum(getattr(day, name) for day in days) for name in ("uploads", "passed", "kept", "popular")
    )
    if not popular or not kept:
        raise DataError(
            f"of {uploads:,} works {popular:,} became popular and {kept:,} are kept, expected more than 0 of "
            "both"
        )
    return {
        "days": [str(day.day) for day in days],
        "uploads": uploads,
        "passed": passed,
        "kept": kept,
        "popular": popular,
        "popular_from": min_long_views,
        "recall": _recalls(days, kept / uploads, counts),
        "curve": _curve(days, counts),
        "funnel": _funnel(screened, days),
        "quotas": list(screened.quotas),
        "violations": list(screened.violations),
        "notes": list(screened.notes),
    }


def _recalls(days: Sequence[PopularDay], size: float, counts: NDArray[Any]) -> dict[str, Any]:
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
        kept, random = sums["popular kept"] / sums["popular"], sums["kept"] / sums["uploads"]
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


def _level_at(counts: NDArray[Any], kept: int) -> int:
    """Returns the lowest level with at most ``kept`` candidates at or above it."""
    above = np.cumsum(counts[::-1])[::-1]
    return int(np.searchsorted(-above, -kept))


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


def _funnel(screened: ScreeningResult, days: Sequence[PopularDay]) -> list[dict[str, Any]]:
    """Returns for each reason the rejected works and the popular ones among them; last, the kept ones."""
    rejected = [screened.days[str(day.day)]["rejected"] for day in days]
    of_rules = dict.fromkeys(reason for day in days for reason in day.rejected)
    rows = []
    for reason in screened.reasons:
        works = sum(day.get(reason, 0) for day in rejected)
        popular = sum(day.rejected.get(reason, 0) for day in days) if reason in of_rules else 0
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
    kept = ([report["kept"] / report["uploads"]], [recall["kept"]["value"]])
    yield Chart(
        "Kept fraction of later popular works, by the number of kept works",
        lines(
            {**curves, WAYS["kept"]: kept},
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
