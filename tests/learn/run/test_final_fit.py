"""Tests of the final fit: after the test, the published models learn from the whole log."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from small_settings import LISTS, SMALL

from karec.bundle import Bundle
from karec.config.project import set_up
from karec.evaluate.model_pages import FACTORS, RANKER, TOWERS, model_pages
from karec.evaluate.pages import validation_requests
from karec.evaluate.quality import TESTED, evaluate_run
from karec.features.encoder import Encoder
from karec.learn.fit.checkpoint import best_weights
from karec.learn.run.train import train
from karec.logs.read import read_rank_log
from karec.models.onnx_model import OnnxModel

FINAL = SMALL.replace(
    ranker={"kind": "lr"},
    towers={"epochs": 2},
    distil=LISTS,
    shadow={"works": 20},
    evaluation={"baselines": ()},
    run={"final_fit": True},
)


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return train(dataset, FINAL, tmp_path_factory.mktemp("final") / "run")


def facts_of(folder):
    return json.loads((folder / "run.json").read_text())


def finished(folder, model):
    return torch.load(folder / "checkpoints" / f"{model}.pt", weights_only=True)["progress"]


def test_tested_models_equal_those_of_a_training_without_a_final_fit(dataset, run, tmp_path):
    other = train(dataset, FINAL.replace(run={"final_fit": False}), tmp_path / "run")
    assert other.quality == run.quality and not (other.folder / TESTED).exists()
    for name in ("ranker", "user_tower", "item_tower"):
        paths = [folder / f"{name}.onnx" for folder in (other.folder, run.folder / TESTED)]
        assert OnnxModel(paths[0]).fingerprint == OnnxModel(paths[1]).fingerprint
    assert facts_of(other.folder)["trained_until_ms"] == dataset.valid_until_ms
    assert "tested" not in facts_of(other.folder)


def test_final_fit_learns_from_the_whole_log(dataset, run):
    facts, tested = facts_of(run.folder), facts_of(run.folder / TESTED)
    assert facts["tested"] == TESTED
    assert facts["trained_until_ms"] == dataset.exposures.time_ms[-1] + 1
    assert tested["trained_until_ms"] == dataset.valid_until_ms
    log = read_rank_log(run.folder / "rank_log", dataset.tasks)
    assert log.time_ms.max() == dataset.exposures.time_ms[-1]
    vocabularies = [Encoder.load(f / "encoder.npz").people.keys for f in (run.folder, run.folder / TESTED)]
    assert len(vocabularies[0]) >= len(vocabularies[1])
    for name in ("ranker", "item_tower"):
        models = [OnnxModel(folder / f"{name}.onnx") for folder in (run.folder, run.folder / TESTED)]
        assert models[0].fingerprint != models[1].fingerprint


def test_final_fit_runs_the_epochs_that_validation_chose(run):
    for model, name in (("ranker", "lr"), ("towers", "towers")):
        scores = [epoch["score"] for epoch in facts_of(run.folder)["epochs"][name]]
        assert finished(run.folder, model)["epoch"] == np.argmax(scores) + 1
        assert all(epoch["score"] is None for epoch in finished(run.folder, model)["history"])


def test_evaluate_run_measures_the_tested_models(dataset, run):
    stored = (run.folder / TESTED / "quality.json").read_text()
    assert evaluate_run(dataset, run.folder)["models"] == run.quality["models"]
    assert (run.folder / TESTED / "quality.json").read_text() == stored
    assert not (run.folder / "quality.json").exists()


def test_published_snapshot_knows_all_events(dataset, run, tmp_path):
    set_up(dataset, run.folder, facts_of(run.folder)["settings"], tmp_path)
    assert Bundle.open(tmp_path / "bundles").snapshot.time_ms == dataset.end_ms


class Stopped(Exception):
    pass


@pytest.mark.parametrize("part", [TESTED, "."])
def test_killed_final_fit_resumes_to_the_same_models(dataset, run, tmp_path, part):
    folder = tmp_path / "run"

    def stop(done, total, title):
        is_part = (folder / TESTED / "quality.json").exists() == (part == ".")
        if is_part and (done, title) == (3, "training the towers"):
            raise Stopped

    settings = FINAL.replace(run={"checkpoint_steps": 1})
    with pytest.raises(Stopped):
        train(dataset, settings, folder, stop)
    resumed = train(dataset, settings, folder, resume=True)
    assert resumed.quality == run.quality
    for name, weight in best_weights(run.folder / "checkpoints" / "towers.pt").items():
        assert torch.equal(weight, best_weights(folder / "checkpoints" / "towers.pt")[name])


def test_final_fit_of_trees_has_the_choices_of_the_tested_ones(dataset, tmp_path):
    settings = FINAL.with_recipe("hard").replace(ranker={"kind": "lightgbm"}, towers={"epochs": 1})
    folder = train(dataset, settings, tmp_path / "run").folder
    models = [OnnxModel(part / "ranker.onnx") for part in (folder, folder / TESTED)]
    assert models[0].tasks == models[1].tasks and models[0].fingerprint != models[1].fingerprint


def test_train_orders_pages_by_the_model_with_the_best_validation_pages(dataset, tmp_path):
    positives = dataclasses.replace(dataset, drawn=0.5, tasks=("click",), weights={})
    settings = FINAL.with_recipe("hard").replace(
        fusion={"click": 1.0}, ranker={"auxiliary": ()}, run={"final_fit": False}
    )
    folder = train(positives, settings, tmp_path / "run").folder
    requests, facts = validation_requests(positives), facts_of(folder)
    pages = model_pages(positives, requests, folder, facts["settings"])
    rows = {"ranker": RANKER, "towers": TOWERS, "als": FACTORS}
    ndcg = {order: requests.measure(pages[row])["ndcg"].mean() for order, row in rows.items()}
    assert len(set(ndcg.values())) == 3 and facts["ranked_by"] == max(ndcg, key=ndcg.get)


def test_the_ranker_orders_pages_if_the_log_has_impressions(dataset, run):
    assert dataset.has_impressions and facts_of(run.folder / TESTED)["ranked_by"] == "ranker"
