"""Rules on the order of a feed: no two works in a row of one song, or of one creator; any column, any window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from karec.diversity import ScatterRule, scatter
from karec.index import ItemIndex
from karec.stage import Selector
from karec.types import Array, Candidates, Request, Selection


class Scatter(Selector):
    """The candidates' order, changed as little as the rules need; the first ``k`` (None = ``request.k``) of it.

    ``rules`` are tables ``{ column = "song_id", window = 2, max_count = 1 }``: among any ``window`` neighbours at most
    ``max_count`` of one value, what the session has seen (``request.shown``) included, as if it stood before the list.
    Where the rules cannot all hold, the least violation is taken, and the trace counts it.
    """

    needs = ("rows",)

    def __init__(self, index: ItemIndex, rules: Sequence[Mapping[str, str | int]], k: int | None = None) -> None:
        if k is not None and k <= 0:
            raise ValueError(f"k must be positive, got {k}")
        self.index = index
        self.k = k
        self.rules = [_rule(rule) for rule in rules]
        for rule in self.rules:
            if rule.column not in index.columns:
                raise ValueError(f"the item index has no column {rule.column!r}; it has {sorted(index.columns)}")

    def select(self, request: Request, candidates: Candidates) -> Selection:
        seen = request.index.lookup(np.array(request.shown, np.int64))
        groups = {
            rule.column: _groups(request, rule.column, np.concatenate([seen, candidates.rows])) for rule in self.rules
        }
        result = scatter(
            np.arange(len(candidates)),
            {column: values[len(seen) :] for column, values in groups.items()},
            self.rules,
            k=request.k if self.k is None else self.k,
            shown={column: values[: len(seen)] for column, values in groups.items()},
        )
        return Selection(result.indices, None, {"violations": len(result.violations)})


def _groups(request: Request, column: str, rows: Array) -> Array:
    """A number for each row's value; works that the index does not know are each a group of their own."""
    known = np.unique(request.index.gather(column, rows), return_inverse=True)[1]
    return np.where(rows < 0, -1 - np.arange(len(rows)), known)


def _rule(table: Mapping[str, str | int]) -> ScatterRule:
    expected = {"column", "window", "max_count"}
    if set(table) - expected or "column" not in table:
        raise ValueError(f"a rule is {{ column = …, window = 2, max_count = 1 }}, got {dict(table)}")
    window, max_count = int(table.get("window", 2)), int(table.get("max_count", 1))
    if not 1 <= max_count < window:
        raise ValueError(f"a rule needs 1 ≤ max_count < window, got {dict(table)}")
    return ScatterRule(str(table["column"]), window, max_count)
