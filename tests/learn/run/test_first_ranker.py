"""The first ranker is a part of the ranker that was trained, beside it in the run folder."""

import numpy as np
import pytest
import torch
from small_settings import SMALL, changed

from karec.learn.fit.prepare import prepare
from karec.learn.nets.ranker import MmoeRanker
from karec.learn.run.first_ranker import TREES, first_member, first_path, first_trees
from karec.learn.run.lightgbm import first_of
from karec.learn.run.rankers import train_ranker
from karec.models.onnx_model import OnnxModel
from karec.training_data.replay import ranker_logits


@pytest.fixture(scope="module")
def prepared(dataset, tmp_path_factory):
    return prepare(dataset, SMALL, tmp_path_factory.mktemp("prepared"))


def trained(prepared, folder, **ranker):
    path = folder / "ranker.onnx"
    train_ranker(ranker["kind"], prepared, changed(SMALL, ranker={"epochs": 1, **ranker}), path)
    return path


def test_a_member_by_itself_gives_the_logits_that_it_has_among_the_others(prepared):
    torch.manual_seed(1)
    edges = prepared.train_batches.edges(3)
    ranker = MmoeRanker(
        prepared.encoder, edges, extra=("follow",), dim=4, members=3, hidden=6, n_experts=2
    ).eval()
    with torch.no_grad():
        for parameter in ranker.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        inputs = prepared.train_batches.inputs(torch.arange(60), MmoeRanker.inputs)
        expected = ranker.by_member(inputs)[:, 0, : len(prepared.encoder.tasks)]
        torch.testing.assert_close(first_member(ranker)(inputs), expected, atol=1e-6, rtol=1e-6)
        assert ranker.members == 3 and ranker.by_member(inputs).shape[1] == 3  # it is left as it was


def test_an_mmoe_leaves_a_first_ranker_of_one_member_where_its_settings_say_so(prepared, tmp_path):
    path = trained(prepared, tmp_path, kind="mmoe", first=True)
    whole, first = OnnxModel(path), OnnxModel(first_path(path))
    assert first.tasks == prepared.encoder.tasks == whole.tasks[: len(first.tasks)]
    assert (first.kind, first.model_version) == (whole.kind, whole.model_version)
    assert first_path(path).stat().st_size < 0.8 * path.stat().st_size
    of_whole, of_first = (ranker_logits(prepared.valid, model) for model in (whole, first))
    for task in range(len(first.tasks)):
        assert np.corrcoef(of_whole[:, task], of_first[:, task])[0, 1] > 0.3
        assert not np.allclose(of_whole[:, task], of_first[:, task])


def test_without_the_setting_there_is_none(prepared, tmp_path):
    assert not first_path(trained(prepared, tmp_path, kind="mmoe")).exists()


def test_of_trees_the_first_ranker_has_the_first_of_each_task(prepared, tmp_path):
    lightgbm = pytest.importorskip("lightgbm", reason="LightGBM comes with the extra train")
    x = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    data = lightgbm.Dataset(x, (x[:, 0] * x[:, 1] > 0).astype(int))
    booster = lightgbm.train({"objective": "binary", "num_leaves": 5, "verbose": -1}, data, 20)
    few = first_of(booster)
    assert few.num_trees() == round(TREES * 20) == 6
    np.testing.assert_array_equal(
        few.predict(x, raw_score=True), booster.predict(x, raw_score=True, num_iteration=6)
    )
    path = trained(prepared, tmp_path, kind="lightgbm", first=True)
    assert OnnxModel(first_path(path)).tasks == prepared.encoder.tasks
    assert first_path(path).stat().st_size <= path.stat().st_size


def test_a_single_tree_stays():
    assert [first_trees(n) for n in (1, 2, 10)] == [1, 1, 3]


def test_of_both_the_part_that_weighs_more_gives_the_first_ranker(prepared, tmp_path):
    path = trained(prepared, tmp_path, kind="both", first=True)
    parts = [first_path(path.with_name(f"ranker_{part}.onnx")).read_bytes() for part in ("mmoe", "lightgbm")]
    assert first_path(path).read_bytes() in parts
