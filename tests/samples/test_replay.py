"""Tests of the first rank log, replayed from past exposures."""

from dataclasses import replace

import numpy as np
import pytest

from karec.logs.read import read_rank_log
from karec.models.fusion import ObjectiveWeights
from karec.samples.examples import ONE_USER_ROWS
from karec.samples.replay import RankLogReplay, pool_logits, ranker_logits

FUSION = ObjectiveWeights({"click": 1.0, "like": 2.0})


@pytest.fixture
def log(examples, ranker, tmp_path):
    RankLogReplay(examples, ranker, FUSION, tmp_path).write_exposures()
    return tmp_path


def late_works(examples):
    """Returns ``examples`` with every third item uploaded in the middle of the training days."""
    works = examples.snapshot.works
    middle = int(np.median(examples.exposures.time_ms))
    upload = np.where(np.arange(len(works)) % 3 == 0, middle, np.asarray(works["upload_ms"]))
    table = replace(works, columns={**works.columns, "upload_ms": upload})
    return replace(examples, snapshot=replace(examples.snapshot, works=table)), middle


def test_shadow_log_has_pools_of_a_fraction_of_requests(examples, ranker, tmp_path):
    late_examples, middle = late_works(examples)
    RankLogReplay(late_examples, ranker, FUSION, tmp_path).write_pools(
        share=0.1, max_requests=1000, n_items=20, seed=0
    )
    log = read_rank_log(tmp_path, ranker.tasks)
    requests = np.unique(np.stack([examples.exposures.user_id, examples.exposures.time_ms]), axis=1).shape[1]
    pools = list(log.requests())
    assert log.shadow.all() and np.isnan(log.prerank).all()
    assert len(pools) == round(0.1 * requests) and {len(pool) for pool in pools} == {20}
    upload = late_examples.snapshot.works["upload_ms"][late_examples.snapshot.works.lookup(log.item_id)]
    assert (upload <= log.time_ms).all() and (upload == middle).any()
    pool = pools[7]
    e = examples.exposures
    row = int(np.flatnonzero((e.user_id == pool.user_id[0]) & (e.time_ms == pool.time_ms[0]))[0])
    expected = pool_logits(late_examples, row, late_examples.snapshot.works.lookup(pool.item_id), ranker)
    np.testing.assert_allclose(pool.logits, expected, atol=1e-5)
    np.testing.assert_allclose(pool.fused, FUSION(expected, ranker.tasks), atol=1e-6)


def test_pool_logits_equal_those_of_the_exposure(examples, ranker):
    """The pool's logits of the shown item equal those of the exposure."""
    row = 200
    shown = int(examples.item_rows[row])
    pool = np.array([3, shown, 5])
    expected = pool_logits(examples, row, pool, ranker)
    np.testing.assert_allclose(
        expected[1], ranker_logits(examples.take(np.array([row])), ranker)[0], atol=1e-5
    )


def test_shadow_log_has_at_most_max_requests(examples, ranker, tmp_path):
    RankLogReplay(examples, ranker, FUSION, tmp_path).write_pools(
        share=1.0, max_requests=7, n_items=500, seed=0
    )
    pools = list(read_rank_log(tmp_path, ranker.tasks).requests())
    assert len(pools) == 7 and {len(pool) for pool in pools} == {40}, "as many works as there are"


def test_logits_of_rows_of_one_user_side_equal_those_of_single_rows(examples, ranker):
    rng = np.random.default_rng(0)
    part = examples.take(np.repeat(np.arange(90), np.arange(90) % 6 + 1))
    items = rng.permutation(len(part))
    part = replace(part, item_rows=part.item_rows[items], item_counts=part.item_counts[items])
    part = part.take(rng.permutation(len(part)))
    n_rows = np.bincount(part.user_sides()[1])
    assert n_rows.min() < ONE_USER_ROWS < n_rows.max()
    expected = ranker.run(part.inputs(np.arange(len(part))), "logits")[0]
    np.testing.assert_allclose(ranker_logits(part, ranker), expected, atol=2e-6)
