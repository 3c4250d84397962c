"""Counts items of one creator and broken rules on the pages of an arm, and selects sample pages.

An impression's page is the PAGE positions of a session that contain its position. The impressions of a page
are neighbours in the log.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.table import Table
from karec.config.templates import HOME, template_text
from karec.lab.simulate.population import PAGE
from karec.steps.shared.page_rules import Rule

N_SAMPLES = 10  # pages of each kind
MAX_REPEATS = 20  # the last bin of the histogram has this many or more
WEEK = 7  # days


@dataclass(frozen=True, eq=False)
class PageCounts:
    """P pages in the order of the log.

    first              (P,) row of a page's first impression
    user               (P,) user row
    n_items            (P,) items
    n_creators         (P,) different creators
    max_of_creator     (P,) most items of one creator
    items_of_creator   (Q,) items of each creator of each page
    """

    first: NDArray[Any]
    user: NDArray[Any]
    n_items: NDArray[Any]
    n_creators: NDArray[Any]
    max_of_creator: NDArray[Any]
    items_of_creator: NDArray[Any]


def count_pages(exposures: Mapping[str, NDArray[Any]]) -> PageCounts:
    """Counts the items of creators on each page. Cost: O(M log M) for M impressions."""
    number = exposures["position"] // PAGE
    key = np.stack([exposures["day"], exposures["user"], exposures["session"], number])
    is_first = np.ones(key.shape[1], bool)
    is_first[1:] = (key[:, 1:] != key[:, :-1]).any(axis=0)
    first, page = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    pairs, items_of_creator = np.unique(np.stack([page, exposures["creator"]]), axis=1, return_counts=True)
    max_of_creator = np.zeros(len(first), np.int64)
    np.maximum.at(max_of_creator, pairs[0], items_of_creator)
    return PageCounts(
        first=first,
        user=exposures["user"][first],
        n_items=np.bincount(page, minlength=len(first)),
        n_creators=np.bincount(pairs[0], minlength=len(first)),
        max_of_creator=max_of_creator,
        items_of_creator=items_of_creator,
    )


def describe_pages(exposures: Mapping[str, NDArray[Any]], works: Table, seed: int) -> dict[str, Any]:
    """Returns histograms and samples of the pages of one arm, as JSON.

    items_of_creator   [number of (page, creator) pairs with 1, 2, … PAGE items]
    repeats_in_week    [number of (user, creator, week) with 1, 2, … MAX_REPEATS or more impressions]
    n_pages, n_broken  number of pages, and of those that break a rule of the home template
    samples            {"random", "most broken rules", "most of one creator": N_SAMPLES pages}

    ``works``: the columns of all works of the world. A page has ``day``, ``user``, ``page`` of the session,
    ``works`` (rows), ``creators``, ``songs``, ``tags``, expected ``play_s`` and ``likes`` of the page, and
    ``broken``, the number of windows of a rule with too many items.
    """
    counts = count_pages(exposures)
    week = np.stack([exposures["user"], exposures["creator"], exposures["day"] // WEEK])
    repeats = np.unique(week, axis=1, return_counts=True)[1]
    broken = _broken_windows(exposures, counts, works)
    n = len(counts.first)
    orders = {
        "random": np.random.default_rng(seed).permutation(n),
        "most broken rules": np.argsort(-broken, kind="stable"),
        "most of one creator": np.argsort(-counts.max_of_creator, kind="stable"),
    }
    return {
        "items_of_creator": _histogram(counts.items_of_creator, PAGE),
        "repeats_in_week": _histogram(repeats, MAX_REPEATS),
        "n_pages": n,
        "n_broken": int((broken > 0).sum()),
        "samples": {
            kind: [_sample(exposures, counts, works, page, int(broken[page])) for page in order[:N_SAMPLES]]
            for kind, order in orders.items()
        },
    }


def template_rules() -> list[Rule]:
    """Returns the page rules of the home template."""
    steps = tomllib.loads(template_text(HOME))["scenes"][HOME]["stages"][-1]["steps"]
    return [Rule(**rule) for step in steps for rule in step.get("rules", ())]


def count_broken(rule: Rule, shown: Sequence[int], ids: Sequence[int]) -> int:
    """Returns the number of windows ending on the page with more than ``rule.count`` items of one value.

    Values below 0 are missing and equal no other.
    """
    values = [*shown, *ids]
    n_broken = 0
    for end in range(len(shown), len(values)):
        begin = 0 if isinstance(rule.window, str) else max(0, end + 1 - rule.window)
        is_limited = values[end] >= 0 and (not rule.values or values[end] in rule.values)
        n_broken += is_limited and values[begin : end + 1].count(values[end]) > rule.count
    return n_broken


def _histogram(values: NDArray[Any], n: int) -> list[int]:
    counts: list[int] = np.bincount(np.minimum(values, n), minlength=n + 1)[1:].tolist()
    return counts


def _broken_windows(exposures: Mapping[str, NDArray[Any]], counts: PageCounts, works: Table) -> NDArray[Any]:
    """Returns (P,) windows that break a rule; the earlier pages of the user's day count as shown."""
    n_broken = np.zeros(len(counts.first), np.int64)
    for rule in template_rules():
        values = works[rule.column][exposures["work"]].tolist()
        shown: dict[tuple[int, int], list[int]] = {}
        for page, first in enumerate(counts.first.tolist()):
            ids = values[first : first + int(counts.n_items[page])]
            earlier = shown.setdefault((int(exposures["user"][first]), int(exposures["day"][first])), [])
            n_broken[page] += count_broken(rule, earlier, ids)
            earlier += ids
    return n_broken


def _sample(
    exposures: Mapping[str, NDArray[Any]], counts: PageCounts, works: Table, page: int, broken: int
) -> dict[str, Any]:
    first = int(counts.first[page])
    rows = slice(first, first + int(counts.n_items[page]))
    work = exposures["work"][rows]
    columns = {"creators": "creator_id", "songs": "song_id", "tags": "tag"}
    return {
        "day": int(exposures["day"][first]),
        "user": int(exposures["user"][first]),
        "page": int(exposures["position"][first]) // PAGE,
        "works": work.tolist(),
        **{name: works[column][work].tolist() for name, column in columns.items()},
        "play_s": float(exposures["p_play_s"][rows].sum(dtype=np.float64)),
        "likes": float(exposures["p_like"][rows].sum(dtype=np.float64)),
        "broken": broken,
    }
