"""Tests of the mixed ranker: graph, fitted weights, resuming, and refused settings."""

import json

import numpy as np
import onnx
import pytest
from small_settings import SMALL

from karec.evaluate.metrics.accuracy import auc
from karec.learn.export.mixture import Mixture, mixed_onnx
from karec.learn.nets.calibration import fit_calibration
from karec.learn.run.mixed_ranker import SHARES, fit_mixture
from karec.learn.run.train import train
from karec.models.onnx_model import OnnxModel
from karec.samples.replay import pool_logits, ranker_logits

SETTINGS = SMALL.replace(
    ranker={"kind": "both", "epochs": 1},
    towers={"epochs": 1},
    evaluation={"baselines": ("lightgbm",)},
    run={"checkpoint_steps": 2},
)


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return train(dataset, SETTINGS, tmp_path_factory.mktemp("both"))


def test_mixed_ranker_gives_the_weighted_mean_of_its_parts(run, prepared, dataset):
    mmoe, trees, both = (OnnxModel(run.folder / f"ranker{part}.onnx") for part in ("_mmoe", "_lightgbm", ""))
    assert both.tasks == mmoe.tasks == (*dataset.tasks, "follow", "play_time")
    assert set(both.inputs) == {*mmoe.inputs, "dense"} and both.outputs == ("logits",)
    fitted = json.loads((run.folder / "ranker_mixture.json").read_text())["tasks"]
    assert list(fitted) == list(dataset.tasks)
    m, t, b = (ranker_logits(prepared.test, model).astype(np.float64) for model in (mmoe, trees, both))
    for step, task in enumerate(dataset.tasks):
        by_hand = (
            fitted[task]["mmoe"] * m[:, step] + fitted[task]["lightgbm"] * t[:, step] + fitted[task]["bias"]
        )
        np.testing.assert_allclose(b[:, step], by_hand, atol=1e-4)
    np.testing.assert_array_equal(b[:, len(dataset.tasks) :], m[:, len(dataset.tasks) :])
    works = np.arange(20)
    one, parts = pool_logits(prepared.test, 0, works, both), pool_logits(prepared.test, 0, works, mmoe)
    np.testing.assert_allclose(one[:, 3:], parts[:, 3:], atol=1e-5)  # one row for the user, many works


def test_mixed_ranker_is_the_last_row_of_quality_after_its_parts(run):
    assert list(run.quality["models"]) == ["popularity", "rates", "lightgbm", "mmoe", "towers", "both"]
    assert not list(run.folder.glob("baseline_*"))
    assert list(run.epochs) == ["mmoe", "towers"]
    assert OnnxModel(run.folder / "ranker.onnx").kind == "ranker"


def test_fit_mixture_minimizes_cross_entropy():
    """Compares with each share computed by hand: parts calibrated, mixed, calibrated again."""
    generator = np.random.default_rng(0)
    truth = generator.standard_normal((4000, 2))
    y = (generator.random((4000, 2)) < 1 / (1 + np.exp(-truth))).astype(np.float32)
    first = (0.5 * truth + 0.4 * generator.standard_normal(truth.shape)).astype(np.float32)
    second = (2.0 * truth + [0.5, 30.0] * generator.standard_normal(truth.shape) + 1).astype(np.float32)
    mixture = fit_mixture(np.concatenate([first, truth[:, :1]], axis=1, dtype=np.float32), second, y)
    for t in range(2):
        losses = []
        for share in SHARES:
            (a, b), (c, d) = (
                fit_calibration(part[:, t : t + 1], y[:, t : t + 1]) for part in (first, second)
            )
            mixed = share * (a * first[:, t] + b) + (1 - share) * (c * second[:, t] + d)
            scale, bias = fit_calibration(mixed[:, None], y[:, t : t + 1])
            p = 1 / (1 + np.exp(-(scale * mixed + bias).astype(np.float64)))
            losses.append(-np.mean(np.where(y[:, t] > 0, np.log(p), np.log1p(-p))))
        assert mixture.share[t] == pytest.approx(SHARES[int(np.argmin(losses))])
    assert 0 < mixture.share[0] < 1 and mixture.share[1] >= 0.8, "a noisy part must get a small share"
    scores = mixture(np.concatenate([first, truth[:, :1]], axis=1, dtype=np.float32), second)
    assert auc(y[:, 0], scores[:, 0]) >= max(auc(y[:, 0], part[:, 0]) for part in (first, second))
    np.testing.assert_array_equal(scores[:, 2], truth[:, 0].astype(np.float32))
    assert np.mean(1 / (1 + np.exp(-scores[:, 0]))) == pytest.approx(y[:, 0].mean(), abs=1e-3)


def test_fit_mixture_is_finite_if_labels_are_of_one_class():
    mixture = fit_mixture(
        np.ones((5, 1), np.float32), np.ones((5, 1), np.float32), np.zeros((5, 1), np.float32)
    )
    assert all(np.isfinite(part).all() for part in (mixture.first, mixture.second, mixture.bias))


class Stopped(Exception):
    pass


@pytest.mark.long
@pytest.mark.parametrize(("where", "step"), [("training the ranker", 3), ("LightGBM, click", 1)])
def test_stopped_mixed_run_resumes_to_the_same_bytes(dataset, run, tmp_path, where, step):
    def stop(done, total, title):
        if (done, title) == (step, where):
            raise Stopped

    with pytest.raises(Stopped):
        train(dataset, SETTINGS, tmp_path, stop)
    resumed = train(dataset, SETTINGS, tmp_path, resume=True)
    assert resumed.quality == run.quality
    for name in ("ranker.onnx", "ranker_mixture.json", "user_tower.onnx", "item_tower.onnx"):
        assert (resumed.folder / name).read_bytes() == (run.folder / name).read_bytes()


@pytest.mark.parametrize("weights", [{"click": 1.0, "followed": 2.0}, {"click": 1.0, "play_time": 0.5}])
def test_fusion_may_weigh_auxiliary_tasks_of_the_mmoe(dataset, tmp_path, weights):
    settings = SETTINGS.replace(fusion=weights, evaluation={"baselines": ()})
    settings = settings.replace(ranker={"kind": "mmoe"})
    folder = train(dataset, settings, tmp_path).folder
    written = json.loads((folder / "run.json").read_text())["settings"]["fusion"]
    assert set(written) == {"click", "follow" if "followed" in weights else "play_time"}


def test_mixed_onnx_refuses_incompatible_graphs(run):
    first, second = (onnx.load(run.folder / f"ranker_{part}.onnx") for part in ("mmoe", "lightgbm"))
    ones = np.ones(5, np.float32)
    mixture = Mixture(ones, ones[:3], ones, ones[:3])
    newer = onnx.ModelProto()
    newer.CopyFrom(second)
    next(entry for entry in newer.opset_import if not entry.domain).version += 1
    with pytest.raises(ValueError, match=r"operators of 'ai\.onnx' have version"):
        mixed_onnx(first, newer, mixture)
    renamed = onnx.ModelProto()
    renamed.CopyFrom(second)
    renamed.graph.input[0].name = "item_ids"
    with pytest.raises(ValueError, match="input 'item_ids' has another type"):
        mixed_onnx(first, renamed, mixture)
