"""The tables of a quality.json, for terminal and page: each model over all rows, and by how much is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from karec.evaluate.page import with_interval

COLUMNS = {
    "auc": "AUC",
    "auc_behind": "behind the ranker",
    "auc_behind_towers": "behind the towers",
    "gauc": "GAUC (user, day)",
    "ece": "ECE",
}
GAUC_COLUMNS = {"gauc_behind": "GAUC behind the ranker", "gauc_behind_towers": "GAUC behind the towers"}


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
