"""Tests that soft labels are read from the rank log in any state."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from karec.errors import LogSchemaError
from karec.models.fusion import ObjectiveWeights
from karec.samples.replay import RankLogReplay, ranker_logits
from karec.samples.soft_labels import read_soft_labels

FUSION = ObjectiveWeights({"click": 1.0, "like": 2.0})


@pytest.fixture
def log(examples, ranker, tmp_path):
    RankLogReplay(examples, ranker, FUSION, tmp_path).write_exposures()
    return tmp_path


def unique_rows(examples):
    """Returns (M,) bool: False for exposures of one item to one user at one time, which share a log row."""
    e = examples.exposures
    key = np.stack([e.user_id, e.work_id, e.time_ms], axis=1)
    _, inverse, count = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    return count[inverse.ravel()] == 1


def test_soft_labels_equal_the_rankers_logits(examples, ranker, log):
    soft = read_soft_labels(examples.exposures, log, ranker.tasks)
    logits = ranker_logits(examples, ranker)
    is_unique = unique_rows(examples)
    assert soft.known.all()
    np.testing.assert_array_equal(soft.logits[is_unique], logits[is_unique])
    np.testing.assert_array_equal(soft.fused[is_unique], FUSION(logits, ranker.tasks)[is_unique])


def rewrite(log, change):
    (part,) = log.glob("*.parquet")
    pq.write_table(change(pq.read_table(part)), part)


def test_soft_labels_do_not_depend_on_order_and_repeats(examples, ranker, log):
    clean = read_soft_labels(examples.exposures, log, ranker.tasks)
    shuffle = np.random.default_rng(0).permutation
    rewrite(log, lambda table: pa.concat_tables([table, table.slice(0, 50)]).take(shuffle(len(table) + 50)))
    dirty = read_soft_labels(examples.exposures, log, ranker.tasks)
    np.testing.assert_array_equal(dirty.logits, clean.logits)
    np.testing.assert_array_equal(dirty.known, clean.known)


def test_soft_labels_missing_in_the_log_are_unknown(examples, ranker, log):
    clean = read_soft_labels(examples.exposures, log, ranker.tasks)
    rewrite(log, lambda table: table.slice(100))
    short = read_soft_labels(examples.exposures, log, ranker.tasks)
    assert 0 < (~short.known).sum() <= 110
    np.testing.assert_array_equal(short.logits[short.known], clean.logits[short.known])
    assert not short.logits[~short.known].any()


def test_soft_labels_do_not_depend_on_request_ids(examples, ranker, log):
    clean = read_soft_labels(examples.exposures, log, ranker.tasks)

    def renamed(table):
        names = pa.array([f"host-{name[::-1]}" for name in table["request_id"].to_pylist()])
        return table.set_column(0, "request_id", names)

    rewrite(log, renamed)
    np.testing.assert_array_equal(
        read_soft_labels(examples.exposures, log, ranker.tasks).logits, clean.logits
    )


def test_soft_labels_leave_out_shadow_rows(examples, ranker, log):
    clean = read_soft_labels(examples.exposures, log, ranker.tasks)

    def with_shadow(table):
        names = table.column_names
        shadow = table.set_column(names.index("shadow"), "shadow", pa.array([True] * len(table)))
        for name in ("logit_click", "fused"):
            shadow = shadow.set_column(
                names.index(name), name, pa.array(np.full(len(table), -9.0, np.float32))
            )
        return pa.concat_tables([shadow, table])

    rewrite(log, with_shadow)
    dirty = read_soft_labels(examples.exposures, log, ranker.tasks)
    for name in ("logits", "fused", "known"):
        np.testing.assert_array_equal(getattr(dirty, name), getattr(clean, name))
    rewrite(log, lambda table: table.filter(table["shadow"]))
    assert not read_soft_labels(examples.exposures, log, ranker.tasks).known.any()


def test_log_of_two_versions_is_refused(examples, ranker, log):
    def mixed(table):
        at = table.column_names.index("model_version")
        return table.set_column(
            at, "model_version", pa.array([5 if row == 3 else 4 for row in range(len(table))])
        )

    rewrite(log, mixed)
    with pytest.raises(LogSchemaError, match=r"model versions \[4, 5\], expected one"):
        read_soft_labels(examples.exposures, log, ranker.tasks)


def test_log_of_another_ranker_is_refused_with_the_column(examples, log):
    with pytest.raises(LogSchemaError, match="column 'logit_gift' is missing"):
        read_soft_labels(examples.exposures, log, ("click", "gift"))
