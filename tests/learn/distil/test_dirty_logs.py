"""Tests training from damaged rank logs: order and repeats do not matter, missing rows are left out."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_settings import LISTS, SMALL

from karec.learn.distil.distillation import fit_towers
from karec.learn.distil.targets import Targets
from karec.learn.fit.prepare import prepare
from karec.learn.run.rankers import train_ranker
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.lists import read_lists
from karec.samples.replay import write_rank_log, write_shadow_log
from karec.samples.soft_labels import read_soft_labels

SETTINGS = SMALL.replace(
    optimizer={"learning_rate": 0.01},
    ranker={"epochs": 1},
    towers={"epochs": 1},
    distil={**LISTS, "warm_up": 0.0},
)


@pytest.fixture(scope="module")
def prepared(dataset, tmp_path_factory):
    return prepare(dataset, SETTINGS, tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def table(prepared, tmp_path_factory):
    """The ranker's log of the training days with a few whole pools."""
    folder = tmp_path_factory.mktemp("ranker")
    train_ranker("lr", prepared, SETTINGS, folder / "ranker.onnx")
    ranker, fusion = OnnxModel(folder / "ranker.onnx"), ObjectiveWeights(SETTINGS.fusion)
    write_rank_log(prepared.train, ranker, fusion, folder / "log")
    write_shadow_log(
        prepared.train, ranker, fusion, folder / "log", share=0.1, max_requests=100, n_items=20, seed=0
    )
    return pa.concat_tables([pq.read_table(part) for part in sorted((folder / "log").glob("*.parquet"))])


def read(prepared, folder, *parts):
    for at, part in enumerate(parts):
        pq.write_table(part, folder / f"part-{at}.parquet")
    tasks = prepared.encoder.tasks
    lists = read_lists(prepared.train, folder, tasks, SETTINGS.distil.list_works, 0)
    return read_soft_labels(prepared.train.exposures, folder, tasks), lists


def weights(prepared, soft, lists):
    model, _ = fit_towers(prepared, Targets.from_logs(soft, lists), lists, SETTINGS)
    return model.state_dict()


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_order_repeats_and_parts_of_a_log_do_not_change_weights(prepared, table, tmp_path_factory):
    clean = weights(prepared, *read(prepared, tmp_path_factory.mktemp("clean"), table))
    rows = np.random.default_rng(0).permutation(np.r_[np.arange(len(table)), np.arange(0, len(table), 3)])
    shuffled = table.take(rows)
    half = len(rows) // 2
    dirty = read(prepared, tmp_path_factory.mktemp("dirty"), shuffled.slice(0, half), shuffled.slice(half))
    assert same(clean, weights(prepared, *dirty))


def test_missing_log_rows_do_not_change_other_targets(prepared, table, tmp_path_factory):
    soft, lists = read(prepared, tmp_path_factory.mktemp("clean"), table)
    shown = np.flatnonzero(~table["shadow"].to_numpy())
    gone = np.random.default_rng(1).choice(shown, 60, replace=False)
    short = read(
        prepared, tmp_path_factory.mktemp("short"), table.take(np.delete(np.arange(len(table)), gone))
    )
    unheard = ~short[0].known
    assert 50 < unheard.sum() < 90  # several exposures may be of one row, and several rows of one exposure
    expected = replace(soft, known=soft.known & ~unheard)
    found = weights(prepared, *short)
    assert same(weights(prepared, expected, lists), found)
    assert not same(weights(prepared, soft, lists), found)
