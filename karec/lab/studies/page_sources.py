"""Fraction of the items on pages that each source found.

found     fraction of places whose item the source found
only      fraction of places whose item no other source found

Means over users with 95 % intervals from resampling users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from karec.evaluate.metrics.accuracy import UserBootstrap
from karec.evaluate.tables import format_measure
from karec.lab.report import Table
from karec.pipeline.types import Page

RESAMPLES = 1000


def page_sources(pages: Sequence[Page]) -> dict[str, dict[str, Any]]:
    """Returns {source: {"found", "only"}}, each {"value", "ci"}, from one page per user.

    Returns {} if all pages are empty.
    """
    filled = [page for page in pages if len(page)]
    if not filled:
        return {}
    bootstrap = UserBootstrap(np.arange(len(filled)), RESAMPLES, 0)
    fractions = {}
    for bit, source in enumerate(filled[0].source_names):
        masks = [page.candidates.sources for page in filled]
        found = np.array([np.mean(mask >> np.uint32(bit) & np.uint32(1)) for mask in masks])
        only = np.array([np.mean(mask == 1 << bit) for mask in masks])
        fractions[source] = {
            "found": bootstrap.mean_with_interval(found),
            "only": bootstrap.mean_with_interval(only),
        }
    return fractions


def page_sources_table(fractions: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """Returns a row for each source of ``page_sources``."""
    rows = [
        (source, *(format_measure(measure["value"], measure["ci"], 3) for measure in measures.values()))
        for source, measures in fractions.items()
    ]
    return Table(title, ("source", "found", "only this source"), rows)
