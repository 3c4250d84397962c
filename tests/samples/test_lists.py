"""Tests that lists of the rank log are read independent of other logged rows."""

from dataclasses import replace

import numpy as np
import pytest

from karec.aggregates.advance import advance
from karec.features.encoder import Encoder
from karec.logs.write import RankLogWriter
from karec.samples.examples import build_examples
from karec.samples.lists import read_lists

TASKS = ("click", "long_view", "like")


@pytest.fixture(scope="module")
def examples(dataset):
    encoder = Encoder.fit(dataset.snapshot, dataset.split()[0], dataset.tasks, history_length=8, min_count=3)
    return build_examples(encoder, dataset.snapshot, dataset.exposures)


def log_pool(writer, examples, row, works, fused, **more):
    exposures = examples.exposures
    logits = np.stack([fused, fused + 1, fused + 2], axis=1).astype(np.float32)
    writer.append(
        request_id=f"r{row}", user_id=int(exposures.user_id[row]),
        item_ids=examples.snapshot.works.ids[works], scene="home",
        time_ms=int(exposures.time_ms[row]), logits=logits, fused=fused.astype(np.float32),
        **{"shadow": True, "model_version": 1, **more},
    )  # fmt: skip


def first_of_request(examples, row):
    """The first example of the same user and moment."""
    e = examples.exposures
    return int(np.flatnonzero((e.user_id == e.user_id[row]) & (e.time_ms == e.time_ms[row]))[0])


def test_lists_equal_the_logged_pools(examples, tmp_path):
    fused = np.linspace(0.9, 0.1, 12)
    works = np.random.default_rng(0).permutation(40)[:12]
    with RankLogWriter(tmp_path, TASKS) as writer:
        log_pool(writer, examples, 300, works, fused)
    lists = read_lists(examples, tmp_path, TASKS, 12, seed=0)
    assert lists.rows.tolist() == [first_of_request(examples, 300)]
    assert sorted(lists.items[0]) == sorted(works)
    score_of_item = dict(zip(works, fused, strict=True))
    np.testing.assert_allclose(lists.fused[0], [score_of_item[work] for work in lists.items[0]], rtol=1e-6)
    np.testing.assert_allclose(lists.logits[0], lists.fused[0][:, None] + [0, 1, 2], rtol=1e-6)


def test_item_numbers_equal_those_of_serving(dataset, examples, tmp_path):
    """The expected numbers are those of the encoder for the snapshot at the request's time."""
    row, works = 300, np.arange(12)
    with RankLogWriter(tmp_path, TASKS) as writer:
        log_pool(writer, examples, row, works, np.linspace(0.9, 0.1, 12))
    lists = read_lists(examples, tmp_path, TASKS, 12, seed=0)
    moment = int(examples.exposures.time_ms[row])
    advanced = advance(dataset.snapshot, dataset.exposures, moment)
    served = examples.encoder.encode_items(advanced, lists.items[0], moment)["item_numbers"]
    np.testing.assert_allclose(lists.numbers[0], served, atol=1e-6)


def test_longer_pool_gives_its_best_quarter_and_a_sample(examples, tmp_path):
    with RankLogWriter(tmp_path, TASKS) as writer:
        log_pool(writer, examples, 300, np.arange(40), np.linspace(0.9, 0.1, 40))
    lists = read_lists(examples, tmp_path, TASKS, 8, seed=0)
    assert lists.items[0, :2].tolist() == [0, 1]
    assert len(set(lists.items[0].tolist())) == 8
    repeated, other = (read_lists(examples, tmp_path, TASKS, 8, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(repeated.items, lists.items)
    assert (other.items != lists.items).any()


def test_short_lists_and_unknown_requests_are_left_out(examples, tmp_path):
    """Short lists and requests without an example are left out. Ranked lists count like shadow pools."""
    with RankLogWriter(tmp_path, TASKS) as writer:
        log_pool(writer, examples, 10, np.arange(5), np.linspace(0.9, 0.1, 5))
        log_pool(writer, examples, 300, np.arange(10), np.linspace(0.9, 0.1, 10), shadow=False)
        moved = replace(
            examples, exposures=replace(examples.exposures, time_ms=examples.exposures.time_ms + 1)
        )
        log_pool(writer, moved, 500, np.arange(10), np.linspace(0.9, 0.1, 10))
    assert read_lists(examples, tmp_path, TASKS, 10, seed=0).rows.tolist() == [
        first_of_request(examples, 300)
    ]
