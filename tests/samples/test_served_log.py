"""Tests which rows of a served log are used for training."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from karec.aggregates.advance import advance
from karec.aggregates.events import WORK
from karec.errors import DataError, LogSchemaError
from karec.learn.export.onnx_export import copy_as_version
from karec.logs.read import read_rank_log
from karec.logs.write import RankLogWriter
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.arms import ArmRows
from karec.samples.examples import build_examples
from karec.samples.lists import select_lists
from karec.samples.replay import RankLogReplay
from karec.samples.served_log import concat_impressions, read_served_log
from karec.samples.soft_labels import join_soft_labels, read_soft_labels

FUSION = ObjectiveWeights({"click": 1.0, "like": 2.0})
TASKS = ("click", "long_view", "like")


@pytest.fixture
def log(examples, ranker, tmp_path):
    """A log over all exposures; ``ranker`` is of model version 4."""
    RankLogReplay(examples, ranker, FUSION, tmp_path / "log").write_exposures()
    return tmp_path / "log"


def read(log, ranker, dataset, **more):
    return read_served_log(log, ranker, TASKS, dataset.snapshot, dataset.valid_until_ms, **more)


def append(log, ranker, version=4, fingerprint=None, tasks=TASKS, item_type=WORK, **changes):
    """Logs a request with two items in a part of its own."""
    row = {"request_id": "more", "user_id": 1, "item_ids": np.array([100, 107]), "scene": "home", **changes}
    ranker_name = ranker.fingerprint if fingerprint is None else fingerprint
    with RankLogWriter(log, tasks, ranker=ranker_name, item_type=item_type) as writer:
        writer.append(
            **{"time_ms": 1_700_000_000_000, **row},
            model_version=version,
            logits=np.zeros((len(row["item_ids"]), len(tasks)), np.float32),
            fused=np.zeros(len(row["item_ids"]), np.float32),
        )


def test_rows_after_the_start_of_the_test_are_counted_and_dropped(dataset, ranker, log):
    served = read(log, ranker, dataset)
    late = int((dataset.exposures.time_ms > dataset.valid_until_ms).sum())
    assert served.log.time_ms.max() <= dataset.valid_until_ms and late > 0
    assert "rows of model version 4" in served.notes[0]
    assert any(
        f"{late:,} rows of requests after the start of the test, left out" in note for note in served.notes
    )


def test_repeats_and_unknown_rows_are_counted_and_dropped(dataset, ranker, log):
    clean = read(log, ranker, dataset)
    (part,) = log.glob("*.parquet")
    table = pq.read_table(part)
    pq.write_table(pa.concat_tables([table, table.slice(0, 50)]), part)
    append(log, ranker, user_id=10**12, time_ms=dataset.snapshot.time_ms)
    append(log, ranker, request_id="work", item_ids=np.array([100, 5]), time_ms=dataset.snapshot.time_ms)
    append(log, ranker, request_id="early", time_ms=dataset.snapshot.time_ms - 1)
    served = read(log, ranker, dataset)
    assert len(served.log) == len(clean.log) + 1
    only_past = sum(int(note.split()[2]) for note in clean.notes if note.endswith("rows repeated, left out"))
    for reason in (
        f"{only_past + 50} rows repeated",
        "2 rows of users that the data do not contain",
        "1 rows of items that the data do not contain",
        "2 rows of requests before the start of the data",
    ):
        assert f"served log: {reason}, left out" in served.notes


def test_versions_of_one_ranker_are_used_together(dataset, ranker, log, tmp_path):
    copy_as_version(ranker.path, tmp_path / "again.onnx", 5)
    second_ranker = OnnxModel(tmp_path / "again.onnx")
    assert (second_ranker.model_version, second_ranker.fingerprint) == (5, ranker.fingerprint)
    assert second_ranker.fingerprint
    append(log, second_ranker, version=5, time_ms=dataset.snapshot.time_ms)
    served = read(log, second_ranker, dataset)
    assert set(served.log.model_version) == {4, 5}
    assert set(read(log, second_ranker, dataset, version=5).log.model_version) == {5}


def test_versions_of_two_rankers_are_refused_with_row_counts(dataset, ranker, log):
    append(log, ranker, version=5, fingerprint="another")
    with pytest.raises(LogSchemaError, match=r"model versions 4 \(\d+ rows\), 5 \(2 rows\), .*--log-version"):
        read(log, ranker, dataset)
    assert set(read(log, ranker, dataset, version=4).log.model_version) == {4}
    with pytest.raises(LogSchemaError, match="written by the ranker another, which has another encoder"):
        read(log, ranker, dataset, version=5)
    with pytest.raises(
        LogSchemaError,
        match=r"no row of model version 6, only of 4 \(\d+ rows\), 5 \(2 "
        r"rows\)",
    ):
        read(log, ranker, dataset, version=6)


def test_log_of_another_encoder_is_refused(dataset, ranker, tmp_path):
    append(tmp_path, ranker, fingerprint="another")
    with pytest.raises(LogSchemaError, match=r"part-.*another, which has another encoder.*--run"):
        read(tmp_path, ranker, dataset)


def test_log_of_other_tasks_is_refused_with_the_column(dataset, ranker, log):
    with pytest.raises(LogSchemaError, match="column 'logit_gift' is missing"):
        read_served_log(log, ranker, ("click", "gift"), dataset.snapshot, dataset.valid_until_ms)


def test_log_without_ranker_name_is_identified_by_version(dataset, ranker, tmp_path):
    moment = dataset.snapshot.time_ms
    append(tmp_path / "same", ranker, fingerprint="", time_ms=moment)
    assert len(read(tmp_path / "same", ranker, dataset).log) == 2
    append(tmp_path / "other", ranker, version=7, fingerprint="", time_ms=moment)
    with pytest.raises(
        LogSchemaError,
        match=r"model version 7 \(2 rows\) and do not name their "
        r"ranker.*version 4",
    ):
        read(tmp_path / "other", ranker, dataset)
    assert len(read(tmp_path / "other", ranker, dataset, version=7).log) == 2


def test_rows_without_logits_of_works_are_counted_and_left_out(dataset, ranker, log, tmp_path):
    clean = read(log, ranker, dataset)
    append(log, ranker, version=3, fingerprint="", tasks=(), item_type="song")
    append(log, ranker, tasks=("sing",), item_type="song", time_ms=dataset.snapshot.time_ms)
    served = read(log, ranker, dataset)
    np.testing.assert_array_equal(served.log.logits, clean.log.logits)
    assert "served log: 4 rows without logits of works, left out" in served.notes
    append(tmp_path / "songs", ranker, tasks=(), item_type="song")
    with pytest.raises(LogSchemaError, match="songs: no part has logits of works"):
        read(tmp_path / "songs", ranker, dataset)


def test_rows_of_other_arms_are_counted_and_left_out(dataset, ranker, log):
    time_ms = int(dataset.snapshot.time_ms) + 1
    for request_id, arms in (("own", {"dpp": "wide"}), ("other", {"dpp": "narrow"}), ("none", {"a": "wide"})):
        append(log, ranker, request_id=request_id, arms=arms, time_ms=time_ms)
    served = read(log, ranker, dataset, arm_rows=ArmRows("dpp", "wide"))
    all_arms = read(log, ranker, dataset)
    assert "served log: 2 rows of other arms, left out" in served.notes
    assert {*all_arms.log.request_id} - {*served.log.request_id} == {"other"}
    assert len(all_arms.log) - len(served.log) == 2
    with pytest.raises(DataError, match="no request is in the arm 'gone'"):
        read(log, ranker, dataset, arm_rows=ArmRows("dpp", "gone"))


def test_log_of_other_data_is_refused(dataset, ranker, tmp_path):
    append(tmp_path, ranker, user_id=10**12)
    with pytest.raises(DataError, match="no usable row: 2 rows of users that the data do not contain"):
        read(tmp_path, ranker, dataset)


def test_requests_without_outcome_have_serving_inputs_and_lists(dataset, examples, ranker, tmp_path):
    """The pools have a time without exposures. Each request becomes a row and changes no counter."""
    past = dataset.exposures
    moment = int(past.time_ms[300]) + 1
    for user in (3, 5):
        append(
            tmp_path,
            ranker,
            request_id=f"r{user}",
            user_id=user,
            time_ms=moment,
            item_ids=100 + 7 * np.arange(12),
        )
    append(tmp_path, ranker, request_id="short", user_id=4, time_ms=moment)
    served = read(tmp_path, ranker, dataset)
    requests = served.requests(dataset.snapshot, 12)
    assert requests.user_id.tolist() == [3, 5]
    rows = build_examples(
        examples.encoder, dataset.snapshot, concat_impressions([past, requests], TASKS), happened=past
    )
    lists = select_lists(rows, served.log, 12, seed=0)
    assert lists.rows.tolist() == [len(past), len(past) + 1]
    advanced = advance(dataset.snapshot, past, moment)
    inputs = rows.inputs(lists.rows)
    for index, user in enumerate((3, 5)):
        for name, value in examples.encoder.encode_user(advanced, user, moment, 0).items():
            if name in inputs:
                np.testing.assert_array_equal(inputs[name][index], value[0], err_msg=name)
    only_past = build_examples(examples.encoder, dataset.snapshot, past).inputs(np.arange(len(past)))
    for name, value in rows.inputs(np.arange(len(past))).items():
        np.testing.assert_array_equal(value, only_past[name], err_msg=name)


def test_longer_list_gives_several_samples_of_its_rest(examples, ranker, tmp_path):
    RankLogReplay(examples, ranker, FUSION, tmp_path).write_pools(
        share=0.05, max_requests=5, n_items=30, seed=0
    )
    log = read_rank_log(tmp_path, TASKS)
    once, often = (select_lists(examples, log, 8, seed=0, draws=draws) for draws in (1, 3))
    assert len(once) == 5 and len(often) == 15
    np.testing.assert_array_equal(np.repeat(once.rows, 3), often.rows)
    first, second = often.items[0], often.items[1]
    assert first[:2].tolist() == second[:2].tolist() and set(first.tolist()) != set(second.tolist())


def test_soft_labels_missing_in_one_log_come_from_the_other(examples, ranker, log):
    from_whole_log = read_soft_labels(examples.exposures, log, TASKS)
    whole = read_rank_log(log, TASKS)
    half = join_soft_labels(examples.exposures, whole.take(np.arange(0, len(whole), 2)))
    assert 0 < half.known.sum() < len(half.known)
    both = half.or_else(from_whole_log)
    np.testing.assert_array_equal(both.known, from_whole_log.known)
    np.testing.assert_array_equal(both.logits, from_whole_log.logits)
