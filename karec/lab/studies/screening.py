"""What screening lets through: of the works that later became popular, the share that is kept, against how
many works are kept for it.

A work is popular when it is among the SHARE of all uploads with the most long views. Only days count whose
outcomes are known and that the model did not learn from. Beside the kept works stand, at every size:

    at random    works drawn from all uploads
    rules only   works drawn from those that break no rule
    by quality   the best candidates, without quotas

Outcomes must be of works that were shown whatever screening thought of them, or what it rejects cannot become
popular. Intervals, 95 %, from resampling days.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import DataError
from karec.evaluate.tables import format_measure
from karec.lab.report import Chart, Part, Table, lines, note, write_report
from karec.screening.database import open_database
from karec.screening.day_file import read_day_file
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
    "kept": "what is kept: rules, quality, near-duplicates, quotas",
    "by quality": "the best by quality, without quotas",
    "rules only": "drawn from what breaks no rule",
    "at random": "drawn from all uploads",
}
SHARE = 0.01  # of the uploads: the popular ones
POINTS = 60  # of a curve
RESAMPLES = 1000


def judge_screening(
    settings: ScreeningSettings, file: Path, out: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """The report on ``out``, a finished screening by ``settings``, which ``file`` holds; as
    ``screening.json`` has it.

    DataError: no day of the window has outcomes and lies after what the model learned from.
    """
    screened, learn = read_result(out), require_learn(settings, file)
    known = [
        each
        for each in read_outcomes(settings, learn)
        if str(each.day) in screened.days and str(each.day) > (screened.trained_until or "")
    ]
    files = {each.day: read_day_file(out / DAYS / f"{each.day}.parquet") for each in known}
    known = [each for each in known if files[each.day] is not None]
    if not known:
        after = (
            f" after {screened.trained_until}, the last that the model learned from,"
            if screened.trained_until
            else ""
        )
        raise DataError(f"no day of the window{after} has outcomes in {settings.folder / learn.outcomes}")
    days, levels = [], []
    with TemporaryDirectory(prefix="karec-screening-") as folder, open_database(Path(folder)) as duckdb:
        blocked = read_block_lists(settings, known[0].uploads.column_types)
        load_block_lists(duckdb, blocked)
        least = popular_threshold(duckdb, learn, known, SHARE)
        for n, each in enumerate(known, 1):
            found, path = files[each.day], out / DAYS / f"{each.day}.parquet"
            assert found is not None  # days without a file were left out
            days.append(popular_day(duckdb, settings, learn, each, blocked, path, out / KEPT, least))
            levels.append(found.levels)
            if progress is not None:
                progress(n, len(known), "judging, days")
    counts = np.zeros(1 << (32 - LOW), np.int64)
    for level in levels:
        np.add.at(counts, level.level, level.count)
    return {
        **_report(screened, days, counts, least),
        "judged_notes": missing_day_notes(known, settings.missing_days),
    }


def _report(
    screened: ScreeningResult, days: Sequence[PopularDay], counts: NDArray[Any], least: int
) -> dict[str, Any]:
    uploads, passed, kept, popular = (
        sum(getattr(day, what) for day in days) for what in ("uploads", "passed", "kept", "popular")
    )
    if not popular or not kept:
        raise DataError(
            f"of {uploads:,} works {popular:,} became popular and {kept:,} are kept: nothing to compare"
        )
    return {
        "days": [str(day.day) for day in days],
        "uploads": uploads,
        "passed": passed,
        "kept": kept,
        "popular": popular,
        "popular_from": least,
        "recall": _recalls(days, kept / uploads, counts),
        "curve": _curve(days, counts),
        "funnel": _funnel(screened, days),
        "quotas": list(screened.quotas),
        "violations": list(screened.violations),
        "notes": list(screened.notes),
    }


def _recalls(days: Sequence[PopularDay], size: float, counts: NDArray[Any]) -> dict[str, Any]:
    """{way: its recall at the size of what is kept, and the interval}; and how often better than others it
    is."""
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
    drawn = np.random.default_rng(0).multinomial(len(days), np.full(len(days), 1 / len(days)), RESAMPLES)
    found: dict[str, Any] = {}
    for name, value in _ways({key: values.sum() for key, values in table.items()}).items():
        found[name] = {"value": float(value)}
    for name, values in _ways({key: drawn @ values for key, values in table.items()}).items():
        interval = np.nanquantile(values, [0.025, 0.975]).tolist() if len(days) > 1 else None
        found[name]["ci"] = interval
    return found


def _ways(sums: Mapping[str, Any]) -> dict[str, Any]:
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
    """The level from which on there are at most ``kept`` candidates."""
    above = np.cumsum(counts[::-1])[::-1]
    return int(np.searchsorted(-above, -kept))


def _curve(days: Sequence[PopularDay], counts: NDArray[Any]) -> dict[str, list[float]]:
    """Shares of the uploads that are kept, and the recall of each way at that size."""
    uploads, popular = sum(day.uploads for day in days), sum(day.popular for day in days)
    above = np.cumsum(counts[::-1])[::-1]
    order = np.concatenate([to_order(day.quality) >> LOW for day in days])
    found = np.cumsum(np.bincount(order, minlength=len(counts))[::-1])[::-1]
    levels = np.flatnonzero(counts)[::-1]
    places = np.unique(np.searchsorted(above[levels], np.linspace(0, above[levels[-1]], POINTS)[1:]))
    at = levels[np.minimum(places, len(levels) - 1)]
    size = np.concatenate([[0.0], above[at] / uploads])
    passed = sum(day.passed for day in days)
    best = sum(day.popular - sum(day.rejected.values()) for day in days) / popular
    return {
        "size": size.tolist(),
        "by quality": np.concatenate([[0.0], found[at] / popular]).tolist(),
        "rules only": (best * np.minimum(size * uploads / max(passed, 1), 1.0)).tolist(),
        "at random": size.tolist(),
    }


def _funnel(screened: ScreeningResult, days: Sequence[PopularDay]) -> list[dict[str, Any]]:
    """For each reason, works that it rejected on these days and the popular ones among them; last, what is
    kept."""
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
    """Writes screening.json and screening.html; ``report`` as ``judge_screening`` returns it."""
    return write_report({"format": FORMAT, **report}, folder, "screening", "Screening", _parts(report))


def screening_sentence(report: Mapping[str, Any]) -> str:
    """What is let through, in a line."""
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
        "Later-popular works let through, by how many works are kept",
        lines(
            {**curves, WAYS["kept"]: kept}, "works kept, share of the uploads", "share of the later popular"
        ),
    )
    rows = [(told, format_measure(recall[way]["value"], recall[way]["ci"], 3)) for way, told in WAYS.items()]
    yield Table("At the size of what is kept", ("", "recall, 95 % over days"), rows)
    yield Table(
        "The funnel: the first reason that a work meets",
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
