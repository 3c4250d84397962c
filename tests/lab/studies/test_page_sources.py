"""Fractions of pages by source, counted by hand."""

from dataclasses import replace

import numpy as np

from karec.lab.studies.page_sources import page_sources, page_sources_table
from karec.pipeline.trace import Trace
from karec.pipeline.types import Candidates, Page, Request


def make_page(bits):
    candidates = replace(Candidates.from_ids(np.arange(len(bits))), sources=np.array(bits, np.uint32))
    return Page(Request(1), candidates, Trace(), source_names=("a", "b"))


def test_page_fractions_are_means_over_users():
    fractions = page_sources([make_page([1, 1, 3, 2]), make_page([3]), make_page([])])
    values = {
        source: {name: measure["value"] for name, measure in measures.items()}
        for source, measures in fractions.items()
    }
    assert values == {"a": {"found": 0.875, "only": 0.25}, "b": {"found": 0.75, "only": 0.125}}
    assert [row[0] for row in page_sources_table(fractions, "sources").rows] == ["a", "b"]


def test_empty_pages_have_no_fractions():
    assert page_sources([make_page([])]) == {}
    assert page_sources_table({}, "sources").rows == []
