"""Tests of a whole training on a tiny platform: files, reproducibility, resuming, and refusals."""

import dataclasses
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from small_settings import SMALL

from karec.aggregates.advance import advance
from karec.catalog.table import Table
from karec.errors import DataError
from karec.evaluate.quality import evaluate_run
from karec.features.encoder import Encoder
from karec.learn.fit.checkpoint import Checkpoint, CheckpointError
from karec.learn.fit.loop import TrainingDiverged
from karec.learn.fit.prepare import prepare
from karec.learn.run.rankers import train_ranker
from karec.learn.run.train import train
from karec.learn.settings.check import check_training, fingerprint
from karec.logs.read import read_rank_log
from karec.models.onnx_model import OnnxModel
from karec.samples.replay import ranker_logits

QUICK = SMALL.replace(ranker={"epochs": 1}, towers={"epochs": 1}, evaluation={"baselines": ()})


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    reports = []
    result = train(dataset, SMALL, tmp_path_factory.mktemp("run"), lambda *step: reports.append(step))
    return result, reports


def test_run_folder_has_all_files_for_serving(dataset, run):
    folder = run[0].folder
    assert Encoder.load(folder / "encoder.npz").tasks == dataset.tasks
    for kind, outputs in (
        ("ranker", ("logits",)),
        ("user_tower", ("user_vector", "task_vectors", "slopes", "levels")),
        ("item_tower", ("item_vector",)),
    ):
        model = OnnxModel(folder / f"{kind}.onnx")
        auxiliary = ("follow", "play_time") if kind == "ranker" else ()
        assert (model.kind, model.tasks, model.outputs) == (kind, (*dataset.tasks, *auxiliary), outputs)
        assert not list(folder.glob("*.data")), "a model is one file"
    log = read_rank_log(folder / "rank_log", dataset.tasks)
    log = log.take(~log.shadow)
    train = dataset.split()[0]
    pairs = np.unique(np.stack([train.user_id, train.work_id, train.time_ms]), axis=1).shape[1]
    assert len(log) == pairs


def test_evaluate_run_repeats_the_quality_of_the_training(dataset, run):
    result = run[0]
    models = result.quality["models"]
    assert list(models) == ["lr", "towers", "mmoe"]
    for by_task in models.values():
        assert list(by_task) == list(dataset.tasks)
        for row in by_task.values():
            assert set(row) >= {"auc", "auc_ci", "gauc", "gauc_ci", "ece", "ece_ci"}
    as_json = json.loads((result.folder / "quality.json").read_text())
    measured = {"format": 1, **evaluate_run(dataset, result.folder)}
    assert json.loads(json.dumps(measured)) == as_json


def test_quality_is_that_of_the_same_categories_with_other_codes(dataset, run):
    works, labels = dataset.snapshot.works, dataset.snapshot.labels
    works = dataclasses.replace(works, columns={**works.columns, "type": works["type"] + 1})
    labels = {**labels, "type": ["album", *labels["type"]]}
    moved = dataclasses.replace(
        dataset, snapshot=dataclasses.replace(dataset.snapshot, works=works, labels=labels)
    )
    assert evaluate_run(moved, run[0].folder)["models"] == run[0].quality["models"]


def test_quality_uses_the_threads_of_the_settings(dataset, run, monkeypatch):
    """One thread on a machine with four cores."""
    monkeypatch.setattr("karec.samples.replay.BATCH", 4)
    monkeypatch.setattr("karec.samples.threads.usable_cores", lambda: 4)
    names = set()
    evaluate_run(dataset, run[0].folder, lambda *_: names.update(each.name for each in threading.enumerate()))
    assert [name for name in names if name.startswith("karec-in-order")] == ["karec-in-order_0"]


def test_run_json_has_the_keys_of_its_golden_file(run):
    golden = json.loads((Path(__file__).parents[2] / "evaluate" / "golden" / "run-1.json").read_text())
    written = json.loads((run[0].folder / "run.json").read_text())
    assert list(written) == list(golden) and written["format"] == golden["format"]
    for section, value in written["settings"].items():
        if isinstance(value, dict) and section != "task_weights":
            assert list(value) == list(golden["settings"][section])


def test_quality_does_not_report_models_of_an_earlier_run(dataset, run):
    folder = run[0].folder
    old_model = folder / "baseline_lightgbm.onnx"
    old_model.write_bytes((folder / "ranker.onnx").read_bytes())
    try:
        assert list(evaluate_run(dataset, folder)["models"]) == ["lr", "towers", "mmoe"]
    finally:
        old_model.unlink()


def test_progress_of_each_part_ends_at_its_total(run):
    last = {}
    for done, total, change_name in run[1]:
        assert 0 < done <= total
        last[change_name] = (done, total)
    assert {
        "encoding examples",
        "training the ranker",
        "training the towers",
        "ranker over past exposures",
    } <= set(last)
    assert all(done == total for done, total in last.values())


def test_training_is_reproducible(dataset, run, tmp_path):
    repeated = train(dataset, SMALL, tmp_path / "again")
    assert repeated.quality == run[0].quality


class Stopped(Exception):
    pass


@pytest.mark.long
@pytest.mark.parametrize(
    "where", ["training the ranker", "training logistic regression", "training the towers"]
)
def test_stopped_run_resumes_to_the_same_models(dataset, run, tmp_path, where):
    def stop(done, total, change_name):
        if (done, change_name) == (9, where):
            raise Stopped

    settings = SMALL.replace(run={"checkpoint_steps": 2})
    with pytest.raises(Stopped):
        train(dataset, settings, tmp_path, stop)
    reports = []
    repeated = train(dataset, settings, tmp_path, lambda *step: reports.append(step), resume=True)
    assert repeated.quality == run[0].quality
    assert min(done for done, _, change_name in reports if change_name == where) == 9, (
        "the eight steps before are not trained again"
    )
    heads = [
        json.loads((folder / "run.json").read_text())["towers"] for folder in (repeated.folder, run[0].folder)
    ]
    assert heads[0] == heads[1]


def test_resume_refuses_checkpoints_of_other_settings_and_keeps_the_run(dataset, run):
    """run.json once described a run with the encoder of the refused training."""
    folder = run[0].folder
    encoder = (folder / "encoder.npz").read_bytes()
    other = SMALL.replace(features={"history_length": 4})
    with pytest.raises(CheckpointError, match=r"ranker\.pt belongs to another training"):
        train(dataset, other, folder, resume=True)
    assert (folder / "encoder.npz").read_bytes() == encoder


def test_run_json_has_a_curve_for_each_training(run):
    facts = json.loads((run[0].folder / "run.json").read_text())
    assert set(facts["curves"]) == set(facts["epochs"]) == {"mmoe", "lr", "towers"}
    steps = [step for step, _ in facts["curves"]["towers"]]
    assert steps == sorted(steps) and all(np.isfinite(loss) for _, loss in facts["curves"]["towers"])


def test_model_distillation_trains_a_ranker_with_tower_features(dataset, tmp_path):
    settings = QUICK.with_recipe("model-distillation")
    folder = train(dataset, settings, tmp_path).folder
    assert "crosses" not in OnnxModel(folder / "ranker.onnx").inputs


def test_other_seed_gives_another_ranker(dataset, run, tmp_path):
    prepared = prepare(dataset, SMALL, tmp_path)
    names = ranker_logits(prepared.valid, OnnxModel(run[0].folder / "ranker.onnx"))
    train_ranker("mmoe", prepared, SMALL.replace(seed=1), tmp_path / "ranker.onnx")
    assert np.abs(ranker_logits(prepared.valid, OnnxModel(tmp_path / "ranker.onnx")) - names).max() > 1e-3


@pytest.mark.parametrize("ranker", ["lr", "lightgbm"])
def test_towers_learn_from_logistic_regression_and_lightgbm(dataset, tmp_path, ranker):
    settings = QUICK.replace(ranker={"kind": ranker})
    quality = train(dataset, settings, tmp_path).quality
    assert list(quality["models"]) == ["towers", ranker]


def test_integer_fusion_weight_trains_like_a_float(dataset, tmp_path):
    """An integer weight once failed when the log was written, after the ranker was trained."""
    one_task = dataclasses.replace(dataset, tasks=("click",))
    settings = QUICK.with_recipe("hard").replace(fusion={"click": 1}, ranker={"kind": "lr"})
    quality = train(one_task, settings, tmp_path).quality
    assert list(quality["models"]) == ["towers", "lr"]


@pytest.mark.parametrize("lacking", [("count_exposed",), ("count_like",), ("count_exposed", "count_click")])
def test_items_without_counters_are_refused_with_the_remedy(dataset, tmp_path, lacking):
    works = dataset.snapshot.works
    columns = {name: column for name, column in works.columns.items() if name not in lacking}
    bare = replaced(dataset, works=Table(works.ids, columns))
    message = rf"tiny: snapshot\.works has no column {', '.join(lacking)}: .*advance\(snapshot, exposures"
    reports = []
    with pytest.raises(DataError, match=message):
        train(bare, SMALL, tmp_path / "run", lambda *step: reports.append(step))
    assert not reports and not (tmp_path / "run").exists()
    counted = dataclasses.replace(
        bare, snapshot=advance(bare.snapshot, bare.exposures, bare.snapshot.time_ms)
    )
    check_training(counted, SMALL)


def test_diverged_run_keeps_the_last_finite_checkpoint(dataset, tmp_path):
    settings = SMALL.replace(optimizer={"learning_rate": 1e6}, run={"checkpoint_steps": 1})
    path = tmp_path / "checkpoints" / "ranker.pt"
    with pytest.raises(
        TrainingDiverged, match=r"training the ranker: .* (at|after) step \d+.*lower the rate"
    ) as caught:
        train(dataset, settings, tmp_path)
    assert str(path) in str(caught.value)
    state = Checkpoint(path, 1, f"ranker of {fingerprint(dataset, settings.resolve(dataset))}").load()
    assert all(torch.isfinite(value).all() for value in state["model"].values())


@pytest.mark.parametrize("has_folder", [False, True])
def test_resume_of_a_folder_without_a_run_is_refused(dataset, tmp_path, has_folder):
    if has_folder:
        (tmp_path / "run").mkdir()
    with pytest.raises(CheckpointError, match=r"run: no run to resume\. Start without --resume"):
        train(dataset, SMALL, tmp_path / "run", resume=True)
    assert (tmp_path / "run").exists() == has_folder


def test_fingerprint_does_not_depend_on_the_model_version(dataset):
    """A run that was killed while it was published resumes under the next version."""
    assert fingerprint(dataset, SMALL.replace(model_version=2)) == fingerprint(dataset, SMALL)


CHANGES = {
    "scenes": lambda d: replaced(d, exposures=dataclasses.replace(d.exposures, scene=1 - d.exposures.scene)),
    "play time": lambda d: replaced(
        d, exposures=dataclasses.replace(d.exposures, play_ms=d.exposures.play_ms + 1)
    ),
    "histories": lambda d: replaced(
        d, relations={**d.snapshot.relations, "history": d.snapshot.relations["friends"]}
    ),
    "a column": lambda d: replaced(
        d, users=Table(d.snapshot.users.ids, {"city": d.snapshot.users["city"] + 1})
    ),
}


def replaced(dataset, exposures=None, **of_snapshot):
    snapshot = dataclasses.replace(dataset.snapshot, **of_snapshot)
    return dataclasses.replace(dataset, snapshot=snapshot, exposures=exposures or dataset.exposures)


@pytest.mark.parametrize("change_name", CHANGES)
def test_fingerprint_depends_on_all_data_that_training_reads(dataset, change_name):
    assert fingerprint(replaced(dataset), SMALL) == fingerprint(dataset, SMALL)
    assert fingerprint(CHANGES[change_name](dataset), SMALL) != fingerprint(dataset, SMALL)
