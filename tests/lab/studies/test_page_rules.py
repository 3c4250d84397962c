"""The check of page rules counts windows by hand, and finds a page whose rules were not kept."""

import json
from dataclasses import replace

import numpy as np
import pytest
from thirty_works import thirty_works

from karec.lab.studies.page_rules import check_page_rules, page_rules_table
from karec.pipeline.cascade import Cascade
from karec.pipeline.recall import Recall
from karec.pipeline.stage import Stage
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates
from karec.steps.hydrators.index_rows import IndexRows
from karec.steps.selectors.page_rules import PageRules
from karec.steps.selectors.top_k import TopK
from karec.steps.shared.page_rules import Position, Rule
from karec.steps.sources.merge import Merge


class All(Source):
    name, quota = "all", 30

    def recall(self, request):
        ids = np.setdiff1d(np.arange(30), request.shown)
        return Candidates.from_ids(ids, -(ids % 7))  # items of one creator are neighbours


def cascade_of(index, rules, *last):
    page_rules = PageRules(index.schema, rules)
    page_rules.name = "page_rules"
    stages = (
        Stage("rank", (IndexRows(index.schema), TopK(8))),
        Stage("rerank", last or (page_rules,)),
    )
    return Cascade("home", (), Recall((All(),), Merge([30], 30)), stages, index=index)


def test_pages_and_their_reserve_are_written(tmp_path):
    index, out = thirty_works(), tmp_path / "pages.jsonl"
    cascade = cascade_of(index, [Rule("creator_id", 4), Rule("song_id", 2)])
    report = check_page_rules(cascade, [5, 6], out, time_ms=0, k=4)
    assert report == {
        "pages": 4,
        "short": 0,
        "degraded": 0,
        "broken": 0,
        "min_reserve": 26,
        "rules": {"at most 1 of one creator_id in 4": 0, "at most 1 of one song_id in 2": 0},
    }
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["user_id"], line["page"]) for line in lines] == [(5, 1), (5, 2), (6, 1), (6, 2)]
    first, second = lines[:2]
    assert second["shown"] == first["ids"] and len(first["reserve"]) == 30
    assert first["columns"]["creator_id"]["ids"] == [id_ % 7 for id_ in first["ids"]]
    assert [row[1] for row in page_rules_table(report).rows] == ["0", "0", "0", "0", "0", "26"]


def test_broken_rules_are_counted(tmp_path):
    index = thirty_works()
    impossible = [Rule("creator_id", 100, 1)]
    report = check_page_rules(cascade_of(index, impossible), [5], tmp_path / "a", time_ms=0, k=9)
    assert (report["degraded"], report["broken"]) == (2, 0) and report["rules"] == {str(impossible[0]): 2}

    class Careless(PageRules):
        keeps_rules = False  # as if it had not noticed

        def select(self, request, candidates):
            return replace(super().select(request, candidates), notes={})

    careless = Careless(index.schema, [Rule("creator_id", 4)])
    report = check_page_rules(cascade_of(index, [], careless), [5], tmp_path / "b", time_ms=0, k=8)
    assert report["broken"] == 2


def test_scene_without_page_rules_is_refused(tmp_path):
    index = thirty_works()
    with pytest.raises(ValueError, match="expected page_rules"):
        check_page_rules(cascade_of(index, [], TopK(3)), [5], tmp_path / "pages", time_ms=0)


def test_scene_with_places_or_pairs_is_refused(tmp_path):
    index = thirty_works()
    for page_rules in (
        PageRules(index.schema, places=[Position(2)]),
        PageRules(index.schema, [Rule("song_id", apart=((0, 1),))]),
    ):
        with pytest.raises(ValueError, match="places or apart"):
            check_page_rules(cascade_of(index, [], page_rules), [5], tmp_path / "pages", time_ms=0)
