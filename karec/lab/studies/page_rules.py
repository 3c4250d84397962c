"""Checks the rules of pages: two pages of each user, as JSON lines that other programs can check too.

    {"user_id", "page": 1 or 2, "shown": [ids of page 1], "ids": [...],
     "reserve": [ids that the stage before scored],
     "columns": {column: {"shown", "ids", "reserve": [values]}}, "degraded": [relaxed rules]}

This check counts every window of the page. It shares no code with the selection.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from karec.index import IndexView
from karec.lab.report import Table
from karec.lab.simulate.pages import count_broken
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Request
from karec.steps.selectors.page_rules import PageRules
from karec.steps.shared.page_rules import Rule
from karec.times import Progress

PAGES = 2  # of a user


def check_page_rules(
    cascade: Cascade,
    users: Sequence[int],
    out: Path,
    *,
    time_ms: int,
    k: int = 10,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes the pages to ``out``. Returns numbers of pages.

    Keys: ``pages``, ``short`` (fewer than ``k`` items), ``degraded`` (relaxed rules are named), ``broken`` (a
    rule is broken and not named), ``min_reserve`` (the fewest items that the stage before scored), and
    ``rules``: {rule: pages that break it}. The scene's last selector is ``page_rules``, without ``places``
    and rules with ``apart``. Raises ValueError for another scene.
    """
    rules = _rules_of(cascade)
    n_broken = dict.fromkeys(map(str, rules), 0)
    counts = {"pages": 0, "short": 0, "degraded": 0, "broken": 0}
    min_reserve = None
    with out.open("w", encoding="utf-8") as file:
        for done, user in enumerate(users):
            if progress is not None:
                progress(done, len(users), "pages")
            for page in _pages(cascade, rules, user, k, time_ms):
                file.write(json.dumps(page) + "\n")
                values = page["columns"]
                broken = [
                    str(rule)
                    for rule in rules
                    if count_broken(rule, values[rule.column]["shown"], values[rule.column]["ids"])
                ]
                for name in broken:
                    n_broken[name] += 1
                n_reserve = len(page["reserve"])
                min_reserve = n_reserve if min_reserve is None else min(min_reserve, n_reserve)
                relaxed = {reason.partition(": ")[2] for reason in page["degraded"]}
                counts["pages"] += 1
                counts["short"] += len(page["ids"]) < k
                counts["degraded"] += bool(relaxed)
                counts["broken"] += any(name not in relaxed for name in broken)
    return {**counts, "min_reserve": min_reserve, "rules": n_broken}


def page_rules_table(report: Mapping[str, Any]) -> Table:
    """Returns the numbers of pages in a report of ``check_page_rules``."""
    rows = [(rule, f"{n:,}") for rule, n in report["rules"].items()]
    rows += [
        ("any rule that the page does not name", f"{report['broken']:,}"),
        ("pages with fewer items", f"{report['short']:,}"),
        ("pages that name a relaxed rule", f"{report['degraded']:,}"),
        ("fewest items in the reserve", f"{report['min_reserve']:,}"),
    ]
    return Table(f"Pages that break a rule, of {report['pages']:,}", ("rule", "pages"), rows)


def _rules_of(cascade: Cascade) -> list[Rule]:
    last = cascade.stages[-1].steps[-1]
    if not isinstance(last, PageRules):
        raise ValueError(f"the scene {cascade.scene!r} ends with {last.name!r}, expected page_rules")
    if last.places or any(rule.apart for rule in last.rules):
        raise ValueError(f"the scene {cascade.scene!r} has places or apart, which this check does not count")
    return list(last.rules)


def _pages(
    cascade: Cascade, rules: Sequence[Rule], user: int, k: int, time_ms: int
) -> Iterator[dict[str, Any]]:
    """Yields the first PAGES pages of the user, as in the module's docstring."""
    assert cascade.index is not None  # page_rules reads columns of it
    shown: list[int] = []
    for number in range(1, PAGES + 1):
        request = Request(user, k, cascade.scene, time_ms, shown=tuple(shown), request_id=f"{user}-{number}")
        page = cascade.run(request)
        lists = {
            "shown": shown,
            "ids": page.candidates.ids.tolist(),
            "reserve": page.scored[cascade.stages[-2].name].ids.tolist(),
        }
        with cascade.index.pinned() as view:
            columns = {
                column: {name: _values(view, column, ids) for name, ids in lists.items()}
                for column in dict.fromkeys(rule.column for rule in rules)
            }
        yield {
            "user_id": user,
            "page": number,
            **lists,
            "columns": columns,
            "degraded": list(page.degraded),
        }
        shown = [*shown, *lists["ids"]]


def _values(view: IndexView, column: str, ids: Sequence[int]) -> list[int]:
    """Returns the values of ``column``, −1 for ids that are not in the index."""
    rows = np.asarray(view.lookup(np.array(ids, np.int64)))
    values: list[int] = np.where(rows < 0, -1, view.gather(column, rows).astype(np.int64)).tolist()
    return values
