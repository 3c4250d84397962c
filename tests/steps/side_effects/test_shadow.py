"""Shadow requests: all candidates are scored and logged after the page, which does not change."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from karec.features.pool_scores import CHUNK, PoolScorer
from karec.index import ItemIndex
from karec.logs.read import read_rank_log
from karec.pipeline.cascade import Cascade
from karec.pipeline.recall import Recall
from karec.pipeline.side_effects import SideEffectQueue
from karec.pipeline.stage import Stage
from karec.pipeline.step import Hydrator, QueryHydrator, Source
from karec.pipeline.types import Candidates, Request
from karec.steps.filters.has_embedding import HasEmbedding
from karec.steps.hydrators.index_rows import IndexRows
from karec.steps.scorers.fusion import Fusion
from karec.steps.selectors.inner_product import InnerProduct
from karec.steps.selectors.top_k import TopK
from karec.steps.side_effects.rank_log import RankLog
from karec.steps.side_effects.shadow import Shadow
from karec.steps.sources.merge import Merge

TASKS = ("click", "like")
N = 400
IDS = np.arange(N, dtype=np.int64) * 3 + 5
STRANGERS = np.array([1, 2], np.int64)  # items that the index lacks
VECTORS = np.random.default_rng(0).standard_normal((N, 8)).astype(np.float32)


class Everything(Source):
    name, quota = "everything", 10_000

    def recall(self, request):
        return Candidates.from_ids(np.concatenate([STRANGERS, IDS]))


class UserVector(QueryHydrator):
    name = "user_vector"

    def hydrate_request(self, request):
        return {
            "user_vector": np.random.default_rng(request.user_id).standard_normal((1, 8)).astype(np.float32)
        }


class Ranks(Hydrator):
    """Returns logits by item id. It raises for more than ``fails_above`` candidates, like an unreachable
    model."""

    name = "ranks"
    gives = ("column.logits",)

    def __init__(self, ranker):
        self.ranker, self.fails_above = ranker, N

    def hydrate(self, request, candidates):
        if len(candidates) > self.fails_above:
            raise RuntimeError("too many works")
        numbers = ((candidates.ids * 7919 + request.user_id) % 1009 / 1009).astype(np.float32)[:, None]
        return {"logits": self.ranker.run({"item_numbers": numbers}, "logits")[0]}


@pytest.fixture
def index():
    return ItemIndex.build(IDS, VECTORS, dtype="float32", model_version=7)


@pytest.fixture
def build(ranker, index, tmp_path):
    def cascade(share=1.0, **options):
        ranks, log = Ranks(ranker), tmp_path / "log"
        stages = (
            Stage("prerank", (IndexRows(index.schema), HasEmbedding(), InnerProduct(index.schema, 50))),
            Stage("rank", (ranks, Fusion(ranker, {"click": 1.0, "like": 3.0}), TopK())),
        )
        for stage in stages:
            for step in stage.steps:
                step.name = step.name or type(step).__name__
        merger = Merge([10_000], 10_000)
        models = SimpleNamespace(ranker=ranker)
        observers = [RankLog(models, stages, tmp_path, "log")]
        if share:
            observers.append(Shadow(models, index.schema, stages, tmp_path, "log", share, **options))
        for observer in observers:
            observer.name = type(observer).__name__
        queues = tuple(SideEffectQueue(observer) for observer in observers)
        recall = Recall((Everything(),), merger)
        return Cascade("home", (UserVector(),), recall, stages, queues, index=index), ranks, log

    return cascade


def request(at, user=3):
    return Request(user, k=5, time_ms=1000 + at, request_id=f"r{at}")


def test_shadow_logs_all_candidates_with_prerank_and_rank_scores(build, index):
    cascade, _, folder = build()
    feed = cascade.run(request(0))
    cascade.close()
    log = read_rank_log(folder, TASKS)
    shadow, ranked = log.take(log.shadow), log.take(~log.shadow)
    np.testing.assert_array_equal(np.sort(shadow.item_id), IDS)
    assert len(ranked) == 50 and np.isnan(ranked.prerank).all()
    order = np.argsort(shadow.item_id)
    query = UserVector().hydrate_request(feed.request)["user_vector"][0]
    np.testing.assert_allclose(shadow.prerank[order], VECTORS @ query, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.sort(shadow.position), np.arange(N))
    # the works that were ranked were ranked the same, and prerank had let through the best of its own order
    both = np.searchsorted(shadow.item_id[order], ranked.item_id)
    np.testing.assert_array_equal(shadow.logits[order][both], ranked.logits)
    np.testing.assert_array_equal(shadow.fused[order][both], ranked.fused)
    assert set(ranked.item_id) == set(shadow.item_id[np.argsort(-shadow.prerank)[:50]])
    assert (
        set(shadow.request_id) == {"r0"}
        and set(shadow.model_version) == {7}
        and set(shadow.time_ms) == {1000}
    )


def test_page_is_the_same_with_and_without_shadow(build):
    with_shadow, without = build()[0], build(share=0.0)[0]
    for at in range(5):
        one, other = with_shadow.run(request(at)), without.run(request(at))
        np.testing.assert_array_equal(one.candidates.ids, other.candidates.ids)
        np.testing.assert_array_equal(one.candidates.scores, other.candidates.scores)
        assert one.degraded == ()


def test_shadow_samples_requests_by_their_id_only(build):
    few, more = (build(share=share)[0].side_effects[1].side_effect for share in (0.03, 0.05))
    requests = [Request(1, request_id=f"request-{at}") for at in range(20_000)]
    chosen = [request for request in requests if few.is_enabled(request)]
    assert 450 < len(chosen) < 750
    first = [request.request_id for request in chosen[:3]]
    assert first == ["request-34", "request-154", "request-162"]  # in every process, on every machine
    assert all(more.is_enabled(request) for request in chosen)


def test_shadow_logs_only_sampled_requests(build):
    cascade, _, folder = build(share=0.5)
    chosen = {f"r{at}" for at in range(20) if cascade.side_effects[1].side_effect.is_enabled(request(at))}
    for at in range(20):
        cascade.run(request(at))
    ranked, shadow = cascade.close()
    assert 0 < len(chosen) < 20
    assert (ranked.seen, ranked.done, ranked.own["rows_written"]) == (20, 20, 20 * 50)
    assert (shadow.seen, shadow.done, shadow.own["rows_written"]) == (
        len(chosen),
        len(chosen),
        len(chosen) * N,
    )
    log = read_rank_log(folder, TASKS)
    assert set(log.request_id[log.shadow]) == chosen


def test_trace_contains_no_side_effects(build):
    cascade, _, _ = build()
    feed = cascade.run(request(0))
    assert {step.role for step in feed.trace.steps}.isdisjoint({"observer"})


def test_shadow_samples_candidates_above_at_most_by_request_id(build):
    samples = []
    for at in (0, 0, 1):
        cascade, _, folder = build(at_most=100)
        cascade.run(request(at))
        cascade.close()
        log = read_rank_log(folder, TASKS)
        samples.append(set(log.item_id[log.shadow & (log.request_id == f"r{at}")].tolist()))
    assert samples[0] == samples[1] != samples[2]
    assert all(len(sample) == 100 for sample in samples)
    result = np.array(sorted(samples[0]))
    assert result.min() < IDS[20] and result.max() > IDS[-20], (
        "the sample is not the first hundred items of a source"
    )


def test_failed_shadow_logs_no_rows_and_does_not_change_the_page(build):
    cascade, ranks, folder = build()
    ranks.fails_above = 50  # ranking works for the output of prerank and fails for all candidates
    feed = cascade.run(request(0))
    assert len(feed) == 5 and feed.degraded == ()
    _, shadow = cascade.close()
    assert (shadow.failed, shadow.reasons) == (1, {"RuntimeError": 1})
    assert not read_rank_log(folder, TASKS).shadow.any()


def test_shadow_logs_no_request_with_an_infinite_logit(build):
    cascade, ranks, folder = build()
    plain = ranks.hydrate

    def broken(request, candidates):
        logits = plain(request, candidates)["logits"].copy()
        logits[candidates.ids == IDS[-1], 0] = -np.inf  # its fused score is finite all the same
        return {"logits": logits}

    ranks.hydrate = broken
    cascade.run(request(0))
    _, shadow = cascade.close()
    assert (shadow.failed, shadow.reasons) == (1, {"Unavailable": 1})
    assert not read_rank_log(folder, TASKS).shadow.any()


def test_pool_scorer_gives_the_same_scores_in_several_chunks(ranker, index):
    scorer = PoolScorer([Stage("rank", (Ranks(ranker), Fusion(ranker, {"click": 1.0}), TopK()))])
    scorer.stage.steps[0].fails_above = CHUNK
    ids = np.arange(2 * CHUNK + 17, dtype=np.int64)
    user_request = (
        request(0).with_features({"user_vector": np.ones((1, 8), np.float32)}).with_view(index.pinned())
    )
    ranked, prerank = scorer.score(user_request, Candidates.from_ids(ids))
    np.testing.assert_array_equal(ranked.ids, ids)
    np.testing.assert_array_equal(np.isfinite(prerank), np.isin(ids, IDS))
    few, _ = scorer.score(user_request, Candidates.from_ids(ids[-40:]))
    np.testing.assert_array_equal(ranked.scores[-40:], few.scores)
    empty, nothing = scorer.score(user_request, Candidates.empty())
    assert len(empty) == len(nothing) == 0


def test_pool_scorer_uses_the_user_vector_of_each_version(ranker, index):
    index.upsert(IDS[:40], VECTORS[:40] + 1, model_version=8)
    index.upsert(IDS[40:50], VECTORS[40:50], model_version=9)
    users = np.random.default_rng(5).standard_normal((2, 8)).astype(np.float32)
    features = {"user_vector": users, "user_vector_versions": np.array([7, 8])}
    scorer = PoolScorer([Stage("rank", (Ranks(ranker), Fusion(ranker, {"click": 1.0})))])
    _, prerank = scorer.score(
        request(0).with_features(features).with_view(index.pinned()), Candidates.from_ids(IDS)
    )
    np.testing.assert_allclose(prerank[:40], (VECTORS[:40] + 1) @ users[1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(prerank[50:], VECTORS[50:] @ users[0], rtol=1e-4, atol=1e-4)
    assert np.isnan(prerank[40:50]).all()


def test_shadow_logs_every_request_of_8_threads(build):
    cascade, _, folder = build(at_most=90)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda at: cascade.run(request(at)), range(40)))
    cascade.close()
    pools = [log for log in read_rank_log(folder, TASKS).requests() if log.shadow[0]]
    assert sorted(log.request_id[0] for log in pools) == sorted(f"r{at}" for at in range(40))
    assert all(len(log) == 90 for log in pools)


def test_shadow_refuses_a_wrong_share_at_most_or_stage(build, ranker, index, tmp_path):
    for options, message in (
        ({"share": 1.5}, "share"),
        ({"at_most": 0}, "at_most"),
        ({"stage": "nowhere"}, "nowhere"),
    ):
        with pytest.raises(ValueError, match=message):
            build(**options)
    with pytest.raises(ValueError, match="no scorer before its first selector"):
        Shadow(
            SimpleNamespace(ranker=ranker), index.schema, (Stage("rank", (TopK(),)),), tmp_path, "log", 0.5
        )


def test_shadow_leaves_out_and_counts_a_request_with_a_fallback(build):
    cascade, _, folder = build()
    rank = cascade.stages[1]
    best = TopK()
    best.name = "best"
    hurried = replace(cascade, stages=(cascade.stages[0], Stage("rank", rank.steps, (best,))))
    for _ in range(20):
        hurried.run_times.add("rank", 1e7)
    assert hurried.run(replace(request(0), deadline_ms=60_000)).degraded == ("rank: fallback",)
    assert hurried.run(request(1)).degraded == ()
    shadow = hurried.close()[1]
    assert (shadow.seen, shadow.failed) == (2, 0)
    assert (shadow.own["rows_written"], shadow.own["pages_left_out"]) == (N, 1)
    assert set(read_rank_log(folder, TASKS).request_id) == {"r1"}
