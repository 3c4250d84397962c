"""The demo's summary for a terminal: at most 40 lines of 100 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from karec.evaluate.tables import format_measure
from karec.lab.demo.policy import policy_effects
from karec.lab.report import Table
from karec.lab.simulate.report_tables import format_change

STAGES = {"request": "query features"}  # {stage: label}; others are shown by their names
MAX_TASKS = 3  # columns of the table of AUCs
POLICY_HEAD = ("measure", "ranker's order", "page policy", "change [95 %]")


def screen_tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Yields the funnel, AUCs, what pre-ranking keeps, the second round, and effects of the page policy."""
    yield funnel_table(report)
    yield auc_table(report)
    yield kept_table(report["funnel_loss"])
    if report["second_round"] is not None:
        yield second_round_table(report["second_round"])
    if report["three_days"] is not None:
        yield policy_table(report)


def funnel_table(report: Mapping[str, Any]) -> Table:
    """Returns a row per stage: items in and out, milliseconds."""
    rows = []
    for row in report["funnel"]:
        sizes = (f"{row[key]:,}" if key in row else "" for key in ("items_in", "items_out"))
        rows.append((STAGES.get(row["stage"], row["stage"]), *sizes, f"{row['ms']:.2f}"))
    rows.append(("whole page", "", "", f"{report['total_ms']:.2f}"))
    title = f"One page: median of {report['requests']:,} requests on one thread"
    return Table(title, ("stage", "items in", "items out", "ms"), rows)


def auc_table(report: Mapping[str, Any]) -> Table:
    """Returns a row per model: logistic regression, towers and ranker, as far as they were trained."""
    tasks: Sequence[str] = report["tasks"][:MAX_TASKS]
    rows = []
    for label, measures in compared_models(report["quality"]).items():
        cells = (format_measure(measures[task]["auc"], measures[task]["auc_ci"]) for task in tasks)
        rows.append((label, *cells))
    return Table("AUC on the test days [95 %]", ("model", *tasks), rows)


def compared_models(quality: Mapping[str, Any]) -> dict[str, Any]:
    """Returns {label: measures by task}. The last model of ``quality`` is the ranker."""
    labels = {"lr": "logistic regression", "towers": "towers (prerank)", list(quality)[-1]: "ranker (rank)"}
    return {label: quality[name] for name, label in labels.items() if name in quality}


def kept_table(loss: Mapping[str, Any]) -> Table:
    """Returns the fractions of the ranker's best items that pre-ranking keeps."""
    labels = {"inner_product": "by the inner product only", "prerank": "by the whole stage prerank"}
    rows = [
        (label, *(format_measure(loss[part][top], loss[part][f"{top}_ci"], 3) for top in ("top10", "top100")))
        for part, label in labels.items()
    ]
    title = f"Fraction of the ranker's best items that prerank keeps, from {loss['pool']:,} candidates"
    return Table(title, (f"{loss['requests']} requests", "top 10", "top 100"), rows)


def second_round_table(second_round: Mapping[str, Any]) -> Table:
    """Returns what pre-ranking keeps before and after the second round."""
    labels = {"inner_product": "inner product", "prerank": "whole stage"}
    rows = []
    for part, label in labels.items():
        cells = []
        for kept in second_round["kept"][part].values():
            before, after = (format_measure(kept[name]["value"], None, 3) for name in ("before", "after"))
            change = format_change(kept["change"]["value"], kept["change"]["ci"], 3)
            cells.append(f"{before} → {after}, {change}")
        rows.append((label, *cells))
    title = (
        "Ranker's best kept, before → after one more epoch of the towers with "
        f"{second_round['taught_requests']:,} logged requests"
    )
    head = (f"{second_round['requests']} other users", "top 10, change [95 %]", "top 100, change [95 %]")
    return Table(title, head, rows)


def policy_table(report: Mapping[str, Any]) -> Table:
    """Returns a row per effect of the page policy on users, creators and items."""
    days = report["three_days"]
    title = f"Page policy on {days['days']} simulated days with {days['users']:,} users"
    rows = [
        (
            effect.label,
            effect.format_value(effect.before),
            effect.format_value(effect.after),
            effect.format_change(),
        )
        for effect in policy_effects(report).values()
    ]
    return Table(title, POLICY_HEAD, rows)
