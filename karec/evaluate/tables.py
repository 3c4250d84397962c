"""Text rows of tables for a terminal or a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = {
    "auc": "AUC",
    "auc_behind": "behind the ranker",
    "auc_behind_towers": "behind the towers",
    "gauc": "GAUC (user, day)",
    "ece": "ECE",
}
BALANCE_COLUMNS = ("label", "item part", "personal part")


def format_measure(
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
    """Returns (head, rows) for one task: a row per model, a column per measure of ``columns``.

    Columns that no model has are left out. ECE has no interval, to save width.
    """
    rows = {model: by_task[task] for model, by_task in models.items() if task in by_task}
    names = [name for name in columns if any(name in measures for measures in rows.values())]
    body = [
        (
            model,
            *(format_measure(m.get(name), None if name == "ece" else m.get(f"{name}_ci")) for name in names),
        )
        for model, m in rows.items()
    ]
    return ["model", *(columns[name] for name in names)], body


def balance_rows(balance: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Returns a row for each task of ``karec.evaluate.balance.ranker_balance``."""
    return [
        (task, *(format_measure(slopes[part], slopes[f"{part}_ci"], 2) for part in ("item", "personal")))
        for task, slopes in balance.items()
    ]
