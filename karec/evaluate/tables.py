"""Rows of text that tables show in a terminal and on a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from karec.evaluate.funnel import PARTS, TOPS

COLUMNS = {
    "auc": "AUC",
    "auc_behind": "behind the ranker",
    "auc_behind_towers": "behind the towers",
    "gauc": "GAUC (user, day)",
    "ece": "ECE",
}
FUNNEL_TITLE = "Of the ranker's best works of a pool, the share that passes prerank"
FUNNEL_NOTE = (
    "By the inner product alone; by prerank as it served, with ecosystem steps and DPP; the difference is "
    "what those take on purpose. The same number of works passes in both. In brackets: 95 % intervals from "
    "resampling users."
)
FUNNEL_HEAD = ("pools", "passed", "best", "inner product", "prerank", "taken on purpose")


def with_interval(
    value: float | None, interval: Sequence[float] | None, digits: int = 4, *, signed: bool = False
) -> str:
    """Returns ``0.7523 [0.7467, 0.7582]``; a dash if there is no value. ``signed``: with + above 0."""
    if value is None:
        return "–"
    bounds = "" if interval is None else f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
    return f"{'+' if signed and value > 0 else ''}{value:.{digits}f}{bounds}"


def quality_rows(
    models: Mapping[str, Any], task: str, columns: Mapping[str, str]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """(head, rows) of one task: a row for each model, a column for each of ``columns`` {measure: heading}
    that a model has. Every measure has its interval but ECE, to save width.
    """
    rows = {model: by_task[task] for model, by_task in models.items() if task in by_task}
    there = [name for name in columns if any(name in measures for measures in rows.values())]
    body = [
        (
            model,
            *(with_interval(m.get(name), None if name == "ece" else m.get(f"{name}_ci")) for name in there),
        )
        for model, m in rows.items()
    ]
    return ["model", *(columns[name] for name in there)], body


def history_rows(by_history: Mapping[str, Any], task: str) -> tuple[list[str], list[tuple[str, ...]]]:
    """(head, rows) of one task: a row for each model, a column for each group of users that has exposures. A
    cell is ``AUC [its interval]; GAUC``, with a dash for what the group does not determine.
    """
    groups = {name: group for name, group in by_history.items() if group["exposures"]}
    head = [
        f"{name} (n = {group['exposures']:,}, {group['users']:,} users)" for name, group in groups.items()
    ]
    models = dict.fromkeys(model for group in groups.values() for model in group["models"])
    rows = [(model, *(_cell(group["models"][model][task]) for group in groups.values())) for model in models]
    return ["model", *head], rows


def _cell(measures: Mapping[str, Any]) -> str:
    auc = with_interval(measures["auc"], measures["auc_ci"], 3)
    return f"{auc}; {with_interval(measures['gauc'], None, 3)}"


def consistency_sentence(measured: Mapping[str, Any]) -> str:
    """How many pools, works and users were measured, in a line."""
    size = measured["pool_size"]
    of = f"{size['median']:,}" if size["least"] == size["most"] else f"{size['least']:,} to {size['most']:,}"
    return f"{measured['pools']:,} pools of {of} works, {measured['users']:,} users"


def consistency_rows(measured: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(measure, mean with interval, pools) for each measure."""
    for name, found in measured["measures"].items():
        yield name, with_interval(found["value"], found["ci"], 3), f"{found['pools']:,}"


def funnel_rows(loss: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each kind of pool and each top of the ranker's; ``loss`` as ``funnel_loss`` returns it."""
    of = {f"{loss['requests']:,} of {loss['pool']:,} works": loss}
    for size, measured in loss["by_pool_size"].items():
        of[f"{measured['requests']:,} of {int(size):,} drawn"] = measured
    for name, measured in of.items():
        for top in TOPS:
            shares = [
                with_interval(measured[part][f"top{top}"], measured[part][f"top{top}_ci"], 3)
                for part in PARTS
            ]
            yield (name, f"{measured['passed']:,}", f"{top}", *shares)
