"""``Cascade.run``: every step is traced, and a failure is fatal or named in the page."""

import time
from dataclasses import replace

import numpy as np
import pytest

from karec.errors import ContractError, Unavailable
from karec.index import ItemIndex
from karec.pipeline import (
    Candidates,
    Cascade,
    Filter,
    Merger,
    QueryHydrator,
    Recall,
    Request,
    Scorer,
    SideEffect,
    SideEffectQueue,
    Source,
    Stage,
)
from karec.steps.selectors.top_k import TopK
from karec.steps.sources.merge import Merge


class Finds(Source):
    def __init__(self, name, ids, on_failure="fail"):
        self.name, self.ids, self.on_failure, self.quota = name, ids, on_failure, 100

    def recall(self, request):
        if isinstance(self.ids, Exception):
            raise self.ids
        return Candidates.from_ids(np.array(self.ids, np.int64))


class ScoresById(Scorer):
    name = "by_id"

    def score(self, request, candidates):
        return candidates.ids.astype(np.float32)


class Knows(QueryHydrator):
    name = "knows"

    def hydrate_request(self, request):
        return {"cold_start": np.array([request.user_id == 0]), "tripled": np.array([request.user_id * 3])}


class Remembers(SideEffect):
    name = "remembers"

    def __init__(self, failure=None):
        self.seen, self.failure = [], failure

    def run(self, request, page):
        if self.failure:
            raise self.failure
        self.seen.append((request, page))


def cascade(*sources, observers=(), stages=None):
    sources = sources or (Finds("a", [1, 2, 3]), Finds("b", [3, 4]))
    merger = Merge([100] * len(sources), 100)
    merger.name = "merge"
    stages = (Stage("rank", (ScoresById(), TopK())),) if stages is None else stages
    observers = tuple(SideEffectQueue(observer) for observer in observers)
    return Cascade("home", (Knows(),), Recall(tuple(sources), merger), stages, observers, {"model": 7})


def test_page_has_the_best_items_with_their_sources():
    feed = cascade().run(Request(user_id=5, k=2))
    assert [item.item_id for item in feed.items] == [4, 3]
    assert [item.sources for item in feed] == [("b",), ("a", "b")]
    assert feed.versions == {"model": 7}
    assert feed.shortfall is None
    assert len(feed) == 2


def test_trace_has_every_step_in_order():
    trace = cascade(observers=[Remembers()]).run(Request(user_id=5, k=2)).trace
    assert [(s.stage, s.step, s.n_in, s.n_out) for s in trace.steps] == [
        ("request", "knows", 0, -1),
        ("recall", "a", 0, 3),
        ("recall", "b", 0, 2),
        ("recall", "merge", 5, 4),
        ("rank", "by_id", 4, 4),
        ("rank", "", 4, 2),
    ]
    assert all(step.ms >= 0 for step in trace.steps)


def test_side_effect_gets_all_scored_candidates():
    watcher = Remembers()
    with cascade(observers=[watcher]) as watched:
        watched.run(Request(user_id=5, k=1))
    ((request, feed),) = watcher.seen
    assert sorted(feed.scored["rank"].ids.tolist()) == [1, 2, 3, 4]
    assert request.features["tripled"] == 15
    assert request.request_id
    assert request.time_ms is not None


def test_request_without_time_ms_gets_the_current_time_in_ms():
    before = int(time.time() * 1e3)
    now = cascade().run(Request(1)).request.time_ms
    assert before <= now <= int(time.time() * 1e3)
    assert [cascade().run(Request(1, time_ms=moment)).request.time_ms for moment in (0, 5)] == [0, 5]
    as_of_7 = replace(cascade(), as_of_ms=7)
    assert [as_of_7.run(Request(1, time_ms=moment)).request.time_ms for moment in (None, 5)] == [7, 5]


def test_page_is_cold_start_if_the_user_is_unknown():
    assert cascade().run(Request(user_id=0)).is_cold_start
    assert not cascade().run(Request(user_id=1)).is_cold_start


def test_page_names_a_failed_source_if_on_failure_is_skip():
    feed = cascade(Finds("a", [1]), Finds("social", Unavailable("graph is down"), on_failure="skip")).run(
        Request(1)
    )
    assert feed.degraded == ("recall.social",)
    assert [item.item_id for item in feed] == [1]


def test_failed_source_fails_the_request_if_on_failure_is_fail():
    with pytest.raises(Unavailable):
        cascade(Finds("a", Unavailable("down"))).run(Request(1))


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyError("a programming error")])
def test_failed_side_effect_is_counted_and_does_not_change_the_page(failure):
    watched = cascade(observers=[Remembers(failure)])
    feed = watched.run(Request(1))
    assert len(feed) == 4 and feed.degraded == ()
    (counts,) = watched.close()
    assert (counts.name, counts.seen, counts.failed) == ("remembers", 1, 1)
    assert counts.reasons == {type(failure).__name__: 1}


def test_cascade_refuses_a_side_effect_without_a_queue():
    with pytest.raises(ContractError, match=r"give SideEffectQueue\(side_effect\)"):
        Cascade("home", (), Recall((Finds("a", [1]),), Merge([1], 1)), (), (Remembers(),))


def test_page_is_empty_without_candidates():
    feed = cascade(Finds("a", [])).run(Request(1))
    assert len(feed) == 0
    assert feed.items == ()


def test_page_names_the_reason_of_its_shortfall():
    feed = cascade(Finds("a", [1, 2]), Finds("b", [2])).run(Request(1, k=10))
    assert str(feed.shortfall) == "2 of 10 items: recall returned 2 different items (a 2, b 1)"
    assert feed.to_dict()["shortfall"]["reason"] == "exhausted"
    feed = cascade(stages=(Stage("rank", (TopK(3), TopK())),)).run(Request(1, k=5))
    assert (feed.shortfall.reason, feed.shortfall.step) == ("exhausted", "recall.merge")
    feed = cascade(stages=(Stage("rank", (TopK(3), TopK())),)).run(Request(1, k=4))
    assert (feed.shortfall.reason, feed.shortfall.detail) == ("limit", "rank. keeps at most 3 (of 4)")


def test_page_names_the_index_generation_and_model_versions():
    index = ItemIndex.build(np.arange(4), np.eye(4), model_version=6)
    live = replace(cascade(), index=index)
    assert live.run(Request(1)).versions == {"model": 7, "index_generation": 1, "model_versions": (6,)}
    index.upsert([9], np.ones((1, 4)), model_version=8)
    feed = live.run(Request(1))
    assert feed.versions == {"model": 7, "index_generation": 2, "model_versions": (6, 8)}
    assert feed.to_dict()["versions"] == feed.versions


def test_cascade_raises_if_the_last_stage_leaves_more_than_k_items():
    with pytest.raises(ContractError, match="left 4 items for k = 2"):
        cascade(stages=()).run(Request(1, k=2))


def test_cascade_rejects_a_merger_that_repeats_an_id():
    class Repeats(Merger):
        name = "repeats"

        def merge(self, request, parts):
            return Candidates.from_ids(np.array([1, 1]))

    broken = Cascade("home", (), Recall((Finds("a", [1]),), Repeats()), ())
    with pytest.raises(ContractError, match="appears twice"):
        broken.run(Request(1))


def test_cascade_refuses_a_request_of_another_scene():
    with pytest.raises(ValueError, match="serves the scene 'home'"):
        cascade().run(Request(1, scene="city"))


def test_recall_refuses_more_than_32_sources():
    with pytest.raises(ContractError, match="33 sources"):
        Recall(tuple(Finds(str(i), []) for i in range(33)), Merge([1], 1))


def test_merge_trace_has_its_limit_and_number_of_items_without_a_row():
    merged = cascade().run(Request(user_id=5, k=2)).trace.steps[3]
    assert (merged.step, merged.limit, merged.n_unknown, merged.n_removed) == ("merge", 100, 4, 1)
    assert merged.reason == "found twice, consumed, or over quota"


class KeepsEven(Filter):
    name = "even"

    def keep(self, request, candidates):
        return candidates.ids % 2 == 0


def two_stages(observers=()):
    prerank = Stage("prerank", (KeepsEven(), ScoresById(), TopK(1)))
    return cascade(observers=observers, stages=(prerank, Stage("rank", (ScoresById(), TopK()))))


def test_rank_orders_the_items_of_the_caller():
    """Prerank only filters: its selector would leave one item. Repeated ids count once."""
    page = two_stages().rank(5, [4, 10, 7, 2, 4])
    assert [item.item_id for item in page] == [10, 4, 2]
    assert page.dropped == {7: "prerank.even"} and page.scores == {10: 10.0, 4: 4.0, 2: 2.0}
    assert list(page.scores) == [10, 4, 2] and page.request.features["tripled"] == 15
    assert not {trace.role for trace in page.trace.steps} & {"source", "merger"}


def test_rank_starts_at_the_named_stage_and_returns_at_most_k_items():
    page = two_stages().rank(5, [4, 10, 7], first_stage="prerank")
    assert [item.item_id for item in page] == [10] and page.scores == {10: 10.0, 4: 4.0}
    page = two_stages().rank(5, [4, 10, 8], k=2)
    assert [item.item_id for item in page] == [10, 8] and len(page.scores) == 3


def test_rank_has_no_side_effects_and_no_run_times():
    watcher = Remembers()
    with two_stages(observers=[watcher]) as watched:
        watched.rank(5, [4])
    assert watcher.seen == [] and watched.min_ms == 0.0


def test_rank_refuses_no_ids_an_unknown_stage_and_ids_of_another_kind():
    for ids, stage, words in (
        ([], "rank", "0 item_ids"),
        ([1], "rerank", "'rerank'"),
        (["a"], "rank", "the id 'a'"),
        ([2**63], "rank", "64 bits"),
    ):
        with pytest.raises(ValueError, match=words):
            two_stages().rank(5, ids, first_stage=stage)


def test_a_page_of_sources_has_no_dropped_items_and_scores():
    page = two_stages().run(Request(user_id=5))
    assert page.dropped == {} and page.scores == {}
