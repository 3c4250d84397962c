"""Soft labels come from the rank log, whatever state the log is in."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from karec.errors import LogSchemaError
from karec.features.encoder import Encoder
from karec.learn.export.onnx_export import export_onnx
from karec.learn.nets.logistic_regression import LogisticRegression
from karec.logs.rank_log import read_rank_log
from karec.models.onnx_model import OnnxModel
from karec.rank.fusion import Fusion
from karec.training_data.examples import build_examples
from karec.training_data.replay import pool_logits, ranker_logits, write_rank_log, write_shadow_log
from karec.training_data.soft_labels import read_soft_labels

FUSION = Fusion({"click": 1.0, "like": 2.0})


@pytest.fixture(scope="module")
def examples(dataset):
    encoder = Encoder.fit(dataset.snapshot, dataset.split()[0], dataset.tasks)
    return build_examples(encoder, dataset.snapshot, dataset.exposures)


@pytest.fixture(scope="module")
def ranker(examples, tmp_path_factory):
    torch.manual_seed(0)
    model = LogisticRegression(examples.encoder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    path = tmp_path_factory.mktemp("ranker") / "ranker.onnx"
    inputs = {name: examples.inputs(np.arange(20))[name] for name in model.inputs}
    export_onnx(
        model,
        inputs,
        ["logits"],
        path,
        kind="ranker",
        tasks=examples.encoder.tasks,
        model_version=4,
        shared=["user_ids", "user_numbers", "context"],
    )
    return OnnxModel(path)


@pytest.fixture
def log(examples, ranker, tmp_path):
    write_rank_log(examples, ranker, FUSION, tmp_path)
    return tmp_path


def unique_rows(examples):
    """Exposures of one work to one user at one moment are one row of the log; only rows without such a twin compare."""
    e = examples.exposures
    key = np.stack([e.user_id, e.work_id, e.time_ms], axis=1)
    _, inverse, count = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    return count[inverse.ravel()] == 1


def test_every_exposure_finds_what_the_ranker_said_of_it(examples, ranker, log):
    soft = read_soft_labels(examples.exposures, log, ranker.tasks)
    logits = ranker_logits(examples, ranker)
    alone = unique_rows(examples)
    assert soft.known.all()
    np.testing.assert_array_equal(soft.logits[alone], logits[alone])
    np.testing.assert_array_equal(soft.fused[alone], FUSION(logits, ranker.tasks)[alone])


def rewrite(log, change):
    (part,) = log.glob("*.parquet")
    pq.write_table(change(pq.read_table(part)), part)


def test_a_log_out_of_order_and_with_repeats_teaches_the_same(examples, ranker, log):
    clean = read_soft_labels(examples.exposures, log, ranker.tasks)
    shuffle = np.random.default_rng(0).permutation
    rewrite(log, lambda table: pa.concat_tables([table, table.slice(0, 50)]).take(shuffle(len(table) + 50)))
    dirty = read_soft_labels(examples.exposures, log, ranker.tasks)
    np.testing.assert_array_equal(dirty.logits, clean.logits)
    np.testing.assert_array_equal(dirty.known, clean.known)


def test_rows_that_the_log_lacks_are_unknown(examples, ranker, log):
    clean = read_soft_labels(examples.exposures, log, ranker.tasks)
    rewrite(log, lambda table: table.slice(100))
    short = read_soft_labels(examples.exposures, log, ranker.tasks)
    assert 0 < (~short.known).sum() <= 110
    np.testing.assert_array_equal(short.logits[short.known], clean.logits[short.known])
    assert not short.logits[~short.known].any()


def test_whoever_served_chose_the_ids_of_requests(examples, ranker, log):
    clean = read_soft_labels(examples.exposures, log, ranker.tasks)

    def renamed(table):
        names = pa.array([f"host-{name[::-1]}" for name in table["request_id"].to_pylist()])
        return table.set_column(0, "request_id", names)

    rewrite(log, renamed)
    np.testing.assert_array_equal(read_soft_labels(examples.exposures, log, ranker.tasks).logits, clean.logits)


def test_shadow_rows_are_no_labels_of_what_was_shown(examples, ranker, log):
    clean = read_soft_labels(examples.exposures, log, ranker.tasks)

    def with_shadow(table):
        names = table.column_names
        shadow = table.set_column(names.index("shadow"), "shadow", pa.array([True] * len(table)))
        for name in ("logit_click", "fused"):
            shadow = shadow.set_column(names.index(name), name, pa.array(np.full(len(table), -9.0, np.float32)))
        return pa.concat_tables([shadow, table])

    rewrite(log, with_shadow)
    dirty = read_soft_labels(examples.exposures, log, ranker.tasks)
    for name in ("logits", "fused", "known"):
        np.testing.assert_array_equal(getattr(dirty, name), getattr(clean, name))
    rewrite(log, lambda table: table.filter(table["shadow"]))
    assert not read_soft_labels(examples.exposures, log, ranker.tasks).known.any()


def test_two_rankers_in_one_log_teach_only_where_both_are_wanted(examples, ranker, log):
    def mixed(table):
        at = table.column_names.index("model_version")
        return table.set_column(at, "model_version", pa.array([5 if row == 3 else 4 for row in range(len(table))]))

    rewrite(log, mixed)
    with pytest.raises(LogSchemaError, match=r"model versions \[4, 5\]: say which may teach"):
        read_soft_labels(examples.exposures, log, ranker.tasks)
    with pytest.raises(LogSchemaError, match="column 'model_version', row 3: 5, expected one of"):
        read_soft_labels(examples.exposures, log, ranker.tasks, [4])
    assert read_soft_labels(examples.exposures, log, ranker.tasks, [4, 5]).known.all()


def test_a_log_of_another_ranker_is_refused_by_column(examples, log):
    with pytest.raises(LogSchemaError, match="column 'logit_gift' is missing"):
        read_soft_labels(examples.exposures, log, ("click", "gift"))


def late_works(examples):
    """The same examples where every third work is uploaded in the middle of the training days."""
    works = examples.snapshot.works
    middle = int(np.median(examples.exposures.time_ms))
    upload = np.where(np.arange(len(works)) % 3 == 0, middle, np.asarray(works["upload_ms"]))
    table = replace(works, columns={**works.columns, "upload_ms": upload})
    return replace(examples, snapshot=replace(examples.snapshot, works=table)), middle


def test_the_first_log_holds_whole_pools_of_a_share_of_the_requests(examples, ranker, tmp_path):
    late, middle = late_works(examples)
    write_shadow_log(late, ranker, FUSION, tmp_path, share=0.1, most=1000, works=20, seed=0)
    log = read_rank_log(tmp_path, ranker.tasks)
    requests = np.unique(np.stack([examples.exposures.user_id, examples.exposures.time_ms]), axis=1).shape[1]
    pools = list(log.requests())
    assert log.shadow.all() and np.isnan(log.prerank).all()
    assert len(pools) == round(0.1 * requests) and {len(pool) for pool in pools} == {20}
    upload = late.snapshot.works["upload_ms"][late.snapshot.works.lookup(log.item_id)]
    assert (upload <= log.time_ms).all() and (upload == middle).any()
    pool = pools[7]
    e = examples.exposures
    row = int(np.flatnonzero((e.user_id == pool.user_id[0]) & (e.time_ms == pool.time_ms[0]))[0])
    said = pool_logits(late, row, late.snapshot.works.lookup(pool.item_id), ranker)
    np.testing.assert_allclose(pool.logits, said, atol=1e-5)
    np.testing.assert_allclose(pool.fused, FUSION(said, ranker.tasks), atol=1e-6)


def test_a_pool_is_ranked_as_if_its_works_had_been_shown(examples, ranker):
    """For the work that was shown, the pool's logits are those of the exposure itself."""
    row = 200
    shown = int(examples.work_rows[row])
    pool = np.array([3, shown, 5])
    said = pool_logits(examples, row, pool, ranker)
    np.testing.assert_allclose(said[1], ranker_logits(examples.take(np.array([row])), ranker)[0], atol=1e-5)


def test_no_more_pools_than_are_wanted(examples, ranker, tmp_path):
    write_shadow_log(examples, ranker, FUSION, tmp_path, share=1.0, most=7, works=500, seed=0)
    pools = list(read_rank_log(tmp_path, ranker.tasks).requests())
    assert len(pools) == 7 and {len(pool) for pool in pools} == {40}, "as many works as there are"
