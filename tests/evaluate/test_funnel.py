"""Tests of the funnel loss on pools small enough for values by hand."""

import numpy as np
import pytest

from karec import ItemIndex
from karec.errors import DataError
from karec.evaluate.funnel import FunnelPool, funnel_loss, logged_funnel, recalled_pools
from karec.logs.write import RankLogWriter
from karec.pipeline.cascade import Cascade
from karec.pipeline.recall import Recall
from karec.pipeline.stage import Stage
from karec.pipeline.step import Hydrator, QueryHydrator, Scorer, Selector, Source
from karec.pipeline.types import Candidates, Request, Selection
from karec.steps.hydrators.index_rows import IndexRows
from karec.steps.selectors.inner_product import InnerProduct
from karec.steps.sources.merge import Merge

DIM, WORKS = 4, 2_000
GENERATOR = np.random.default_rng(5)
VECTORS = GENERATOR.standard_normal((WORKS, DIM)).astype(np.float32)
LIKED = GENERATOR.standard_normal(WORKS).astype(np.float32)


class AllWorks(Source):
    quota = WORKS

    def recall(self, request):
        return Candidates.from_ids(np.arange(WORKS))


class OneVector(QueryHydrator):
    gives = ("request.user_vector",)

    def hydrate_request(self, request):
        return {"user_vector": np.ones((1, DIM), np.float32)}


class EvenIds(Selector):
    """Selects items with an even id, at most 150."""

    k = 150

    def select(self, request, candidates):
        even = np.flatnonzero(candidates.ids % 2 == 0)[: self.k]
        return Selection(even, candidates.scores[even])


class Logits(Hydrator):
    gives = ("column.logits",)

    def hydrate(self, request, candidates):
        return {"logits": LIKED[candidates.ids][:, None]}


class Fused(Scorer):
    needs = ("column.logits",)

    def score(self, request, candidates):
        return candidates.columns["logits"][:, 0]


@pytest.fixture(scope="module")
def cascade():
    index = ItemIndex.build(np.arange(WORKS), VECTORS)
    prerank = Stage("prerank", (IndexRows(index.schema), InnerProduct(index.schema, 400), EvenIds()))
    rank = Stage("rank", (Logits(), Fused()))
    recall = Recall((AllWorks(),), Merge([WORKS], WORKS))
    return Cascade("home", (OneVector(),), recall, (prerank, rank), index=index)


def requests(n):
    return [Request(user, scene="home", time_ms=1, request_id=f"r{user}") for user in range(n)]


def test_funnel_fractions_are_of_the_rankers_best_items(cascade):
    (pool,) = recalled_pools(cascade, cascade.index, requests(1))
    product = VECTORS.astype(np.float64) @ np.ones(DIM)
    order = np.argsort(-product)
    passed = [work for work in order[:400] if work % 2 == 0][:150]
    best = set(np.argsort(-LIKED)[:100].tolist())
    assert pool.passed.sum() == len(passed) == 150
    kept = pool.kept_fractions(100)
    assert kept["prerank"] == len(best & set(passed)) / 100
    assert kept["inner_product"] == len(best & set(order[:150].tolist())) / 100
    assert kept["removed_by_policy"] == pytest.approx(kept["inner_product"] - kept["prerank"])


def test_funnel_loss_counts_requests_and_items(cascade):
    loss = funnel_loss(recalled_pools(cascade, cascade.index, requests(3)))
    assert (loss["requests"], loss["pool"], loss["passed"]) == (3, WORKS, 150)


def test_inner_product_loses_nothing_if_rank_equals_prerank():
    scores = GENERATOR.standard_normal(500)
    passed = np.zeros(500, bool)
    passed[np.argsort(-scores)[:100]] = True
    assert FunnelPool(1, scores, scores, passed).kept_fractions(100) == {
        "inner_product": 1,
        "prerank": 1,
        "removed_by_policy": 0,
    }


def test_item_without_a_vector_is_lost_by_the_inner_product():
    rank = -np.arange(20.0)
    prerank = np.where(np.arange(20) < 3, np.nan, rank)
    assert FunnelPool(1, rank, prerank, np.ones(20, bool)).kept_fractions(10)["inner_product"] == 0.7


def test_funnel_of_a_small_pool_is_nan():
    pools = [FunnelPool(user, np.arange(50.0), np.arange(50.0), np.arange(50) >= 40) for user in range(3)]
    loss = funnel_loss(pools)
    assert loss["prerank"]["top10"] == 1.0 and loss["prerank"]["top10_ci"] == (1.0, 1.0)
    assert loss["prerank"]["top100"] is loss["prerank"]["top100_ci"] is None


def test_funnel_has_the_fractions_of_users_with_few_items():
    scores = np.arange(50.0)
    kept, lost = scores >= 40, scores < 40
    pools = [FunnelPool(1, scores, scores, kept, 100), FunnelPool(2, scores, scores, lost, 9)]
    loss = funnel_loss([*pools, FunnelPool(3, scores, scores, kept)])
    assert loss["prerank"]["top10"] == pytest.approx(2 / 3) and loss["prerank"]["top10_few"] == 0.0
    assert loss["prerank"]["top100_few"] is None
    assert funnel_loss(pools[:1])["prerank"]["top10_few"] is None


def test_funnel_refuses_no_pool():
    with pytest.raises(DataError, match="no pool"):
        funnel_loss([])


def write(folder, requests_by_id):
    """A log of requests: {id: (fused scores of the pool, prerank's or None, positions of what was
    ranked)}."""
    with RankLogWriter(folder, ("click",)) as writer:
        for at, (name, (fused, prerank, ranked)) in enumerate(requests_by_id.items()):
            for works, shadow in ((np.arange(len(fused)), True), (np.asarray(ranked, int), False)):
                if len(works) and (not shadow or prerank is not None):
                    writer.append(
                        request_id=name,
                        user_id=at,
                        item_ids=works,
                        scene="home",
                        time_ms=at,
                        model_version=1,
                        logits=np.zeros((len(works), 1), np.float32),
                        fused=fused[works].astype(np.float32),
                        shadow=shadow,
                        prerank=prerank[works].astype(np.float32) if shadow else None,
                    )


def test_logged_funnel_uses_ranked_items_as_selected(tmp_path):
    scores = np.linspace(1, 0, 30)
    other = np.random.default_rng(1).permutation(scores)
    write(
        tmp_path, {"a": (scores, other, range(5)), "b": (scores, scores, []), "c": (scores, None, range(5))}
    )
    (pool,) = logged_funnel(tmp_path)
    assert pool.passed.sum() == 5
    assert pool.kept_fractions(10)["prerank"] == 0.5
    assert pool.kept_fractions(10)["inner_product"] == len(set(np.argsort(-other)[:5]) & set(range(10))) / 10


def test_logged_funnel_refuses_a_log_without_ranked_items(tmp_path):
    write(tmp_path, {"b": (np.arange(30.0), np.arange(30.0), [])})
    with pytest.raises(DataError, match="whose ranked items are logged too"):
        list(logged_funnel(tmp_path))
