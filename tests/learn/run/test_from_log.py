"""Tests of training from a served rank log."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_settings import LISTS, SMALL

from karec.config import load_cascade
from karec.config.project import set_up
from karec.errors import ConfigError, DataError, LogSchemaError
from karec.evaluate.quality import evaluate_run, read_run
from karec.lab.simulate.world import make_world
from karec.learn.fit.checkpoint import CheckpointError, best_weights
from karec.learn.fit.warm_start import WarmStart
from karec.learn.run.from_log import ServedRun, train_from_log
from karec.learn.run.train import train
from karec.logs.contents import read_log_contents
from karec.logs.read import read_rank_log
from karec.models.onnx_model import OnnxModel
from karec.pipeline.side_effects import SideEffectQueue
from karec.pipeline.types import Request
from karec.samples.lists import list_bounds
from karec.steps.side_effects.rank_log import RankLog
from karec.steps.side_effects.shadow import Shadow

SETTINGS = SMALL.replace(distil=LISTS, evaluation={"baselines": (), "resamples": 5}, fusion={})


@pytest.fixture(scope="module")
def world():
    return make_world(800, 120, 3_000, seed=5)


@pytest.fixture(scope="module")
def first(world, tmp_path_factory):
    return train(world.dataset, SETTINGS, tmp_path_factory.mktemp("served") / "run")


@pytest.fixture(scope="module")
def served(world, first):
    """(the run that served, its rank log with a shadow pool of every request)."""
    run, out = first.folder, first.folder.parent
    dataset = world.dataset
    config = set_up(dataset, run, read_run(run)["settings"], out)
    cascade = load_cascade(config, "home")
    index = cascade.bundle.index
    observers = []
    for name, observer in (
        ("rank_log", RankLog(cascade.bundle, cascade.stages, out, "log")),
        ("shadow", Shadow(cascade.bundle, index.schema, cascade.stages, out, "log", share=1.0)),
    ):
        observer.name = name
        observers.append(SideEffectQueue(observer))
    with replace(cascade, side_effects=tuple(observers)) as logged:
        users = dataset.snapshot.users.ids[:40]
        for user in users.tolist():
            logged.run(Request(user, time_ms=dataset.valid_until_ms, request_id=f"r{user}"))
    return ServedRun.from_folder(run), out / "log"


def learn(world, served, out, **more):
    run, log = served
    settings = run.settings.replace(model_version=2)
    return train_from_log(world.dataset, run, log, settings, out, **more)


@pytest.fixture(scope="module")
def continued(world, served, tmp_path_factory):
    return learn(world, served, tmp_path_factory.mktemp("taught") / "run")


def towers_of(folder):
    return best_weights(folder / "checkpoints" / "towers.pt")


def furthest(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def on_pools(world, folder, log):
    """The mean correlation of the towers' cosines and the ranker's fused scores on the log's shadow pools."""
    from karec.aggregates.advance import advance
    from karec.features.encoder import Encoder
    from karec.logs.read import read_rank_log

    dataset = world.dataset
    encoder = Encoder.load(folder / "encoder.npz")
    advanced = advance(dataset.snapshot, dataset.exposures, dataset.valid_until_ms)
    user, item = (OnnxModel(folder / f"{side}_tower.onnx") for side in ("user", "item"))
    rows = read_rank_log(log, dataset.tasks)
    correlations = []
    for pool in rows.take(rows.shadow).requests():
        moment = int(pool.time_ms[0])
        (vector,) = user.run(encoder.encode_user(advanced, int(pool.user_id[0]), moment, 0), "user_vector")
        (works,) = item.run(
            encoder.encode_items(advanced, advanced.works.lookup(pool.item_id), moment), "item_vector"
        )
        correlations.append(np.corrcoef(works @ vector[0], pool.fused)[0, 1])
    return float(np.mean(correlations))


def test_train_from_log_keeps_the_ranker_under_the_new_version(served, continued):
    before, after = (OnnxModel(folder / "ranker.onnx") for folder in (served[0].folder, continued.folder))
    assert (before.model_version, after.model_version) == (1, 2)
    assert before.fingerprint == after.fingerprint
    assert OnnxModel(continued.folder / "item_tower.onnx").model_version == 2
    for name in ("encoder.npz",):
        assert (continued.folder / name).read_bytes() == (served[0].folder / name).read_bytes()


def test_towers_correlate_more_with_the_ranker_on_served_pools(world, served, continued):
    before, after = (on_pools(world, folder, served[1]) for folder in (served[0].folder, continued.folder))
    assert after > before + 0.05


def test_train_from_log_keeps_min_count_of_the_serving_run(world, served, tmp_path):
    """A value from the present number of rows would not fit the encoder of the run."""
    run, log = served
    unset = run.settings.replace(features={"min_count": 0})
    correlations = train_from_log(world.dataset, run, log, unset.replace(model_version=2), tmp_path / "run")
    assert (
        json.loads((correlations.folder / "run.json").read_text())["settings"]["features"]["min_count"] == 3
    )


def test_train_from_log_is_reproducible(world, served, continued, tmp_path):
    again = learn(world, served, tmp_path / "run")
    assert furthest(towers_of(again.folder), towers_of(continued.folder)) == 0.0
    assert again.quality == continued.quality


def test_new_category_that_moves_the_codes_of_others_changes_no_weight(world, served, continued, tmp_path):
    run, log = served
    dataset, snapshot = world.dataset, world.dataset.snapshot
    works = replace(snapshot.works, columns={**snapshot.works.columns, "type": snapshot.works["type"] + 1})
    labels = {**snapshot.labels, "type": ["album", *snapshot.labels["type"]]}
    moved = replace(dataset, snapshot=replace(snapshot, works=works, labels=labels))
    settings = run.settings.replace(model_version=2)
    again = train_from_log(moved, run, log, settings, tmp_path / "run")
    assert furthest(towers_of(again.folder), towers_of(continued.folder)) == 0.0
    assert again.quality == continued.quality


def test_trainings_with_a_served_log_stream_rows_from_disk(world, served, tmp_path):
    run, log = served
    settings = run.settings.replace(model_version=2, run={"rows": "disk"})
    continued = train_from_log(world.dataset, run, log, settings, tmp_path / "continued")
    new = train(world.dataset, settings, tmp_path / "new", log=log, evaluate=False)
    for folder in (continued.folder, new.folder):
        facts = read_run(folder)
        assert facts["settings"]["run"]["rows"] == "disk" and facts["curves"]["towers"]
        assert not (folder / "rows").exists()


def test_train_from_log_starts_from_the_serving_towers(world, served, tmp_path):
    """Towers hardly change at a tiny learning rate. Newly initialised towers would differ."""
    run, log = served
    settings = run.settings.replace(model_version=2, optimizer={"learning_rate": 1e-9, "weight_decay": 0.0})
    still = train_from_log(world.dataset, run, log, settings, tmp_path / "run")
    assert furthest(towers_of(still.folder), towers_of(run.folder)) < 1e-4


def test_run_from_log_can_be_evaluated_and_continued(world, served, continued, tmp_path):
    assert evaluate_run(world.dataset, continued.folder) == continued.quality
    facts = json.loads((continued.folder / "run.json").read_text())
    assert facts["settings"]["model_version"] == 2 and list(facts["epochs"]) == ["towers"]
    assert any("rows of model version 1" in note for note in facts["data"]["notes"])
    third = train_from_log(
        world.dataset,
        ServedRun.from_folder(continued.folder),
        served[1],
        SETTINGS.replace(model_version=3),
        tmp_path / "run",
    )
    assert OnnxModel(third.folder / "ranker.onnx").model_version == 3, (
        "the ranker knows its log by its fingerprint"
    )


def test_stopped_training_from_log_resumes_to_the_same_towers(world, served, continued, tmp_path):
    class Stopped(Exception):
        pass

    def stop(done, total, what):
        if (done, what) == (9, "training the towers"):
            raise Stopped

    run, log = served
    settings = run.settings.replace(model_version=2, run={"checkpoint_steps": 2})
    with pytest.raises(Stopped):
        train_from_log(world.dataset, run, log, settings, tmp_path / "run", stop)
    again = train_from_log(world.dataset, run, log, settings, tmp_path / "run", resume=True)
    assert furthest(towers_of(again.folder), towers_of(continued.folder)) == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": {"dim": 8}}, r"features\.dim is 8, expected 4 as in the training of "),
        ({"features": {"history_length": 9}}, r"features\.history_length is 9"),
        ({"towers": {"wide": False}}, r"make towers that are not wide; those of .* are\."),
        (
            {"distil": {"list_weight": 0.0, "pool_weight": 0.0}},
            r"make towers that are not wide; those of .* are\.",
        ),
        ({"towers": {"vector": 16}}, r"towers\.vector is 16"),
    ],
)
def test_settings_of_other_towers_are_refused_before_training(world, served, tmp_path, change, message):
    run, log = served
    reports = []
    with pytest.raises(ConfigError, match=message):
        train_from_log(
            world.dataset,
            run,
            log,
            run.settings.replace(**change),
            tmp_path / "run",
            lambda *step: reports.append(step),
        )
    assert not reports and not (tmp_path / "run").exists()


def test_ranker_settings_do_not_change_training_from_log(world, served, tmp_path):
    run, log = served
    settings = run.settings.replace(
        ranker={"kind": "lr"}, evaluation={"baselines": ("lr",)}, towers={"epochs": 1}
    )
    settings = settings.replace(model_version=2)
    result = train_from_log(world.dataset, run, log, settings, tmp_path / "run")
    assert list(result.quality["models"]) == ["towers", "mmoe"]


def test_train_from_log_refuses_to_overwrite_the_serving_run(world, served):
    run, log = served
    with pytest.raises(
        ConfigError, match=r"is the serving run\. Write towers that learn from its log to another folder"
    ):
        train_from_log(world.dataset, run, log, run.settings, run.folder)


def test_train_from_log_refuses_data_of_other_tasks(world, served, tmp_path):
    run, log = served
    with pytest.raises(
        DataError,
        match=r"world has the tasks \['click'\], expected those of .*: \['click', 'long_view', 'like'\]",
    ):
        train_from_log(replace(world.dataset, tasks=("click",)), run, log, run.settings, tmp_path / "run")


def test_train_from_log_refuses_a_log_of_another_training(world, served, tmp_path):
    other = train(world.dataset, SETTINGS.replace(seed=1, ranker={"epochs": 1}), tmp_path / "other").folder
    with pytest.raises(LogSchemaError, match="which has another encoder"):
        train_from_log(world.dataset, ServedRun.from_folder(other), served[1], SETTINGS, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_train_from_log_refuses_a_run_without_tower_checkpoint(world, served, continued, tmp_path):
    import shutil

    shutil.copytree(served[0].folder, tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "checkpoints")
    with pytest.raises(
        CheckpointError, match=r"bare/checkpoints/towers\.pt: does not contain a trained model"
    ):
        train_from_log(
            world.dataset, ServedRun.from_folder(tmp_path / "bare"), served[1], SETTINGS, tmp_path / "run"
        )
    path = tmp_path / "unfinished.pt"
    state = torch.load(served[0].towers, weights_only=True)
    torch.save({**state, "progress": {**state["progress"], "done": False}}, path)
    with pytest.raises(CheckpointError, match=r"unfinished\.pt: the training is unfinished"):
        best_weights(path)


@pytest.fixture(scope="module")
def from_scratch(world, served, tmp_path_factory):
    """A training from scratch whose towers learn the served pools too."""
    run, log = served
    settings = run.settings.replace(model_version=2)
    return train(world.dataset, settings, tmp_path_factory.mktemp("anew") / "run", log=log)


def test_new_ranker_scores_served_pools_and_towers_learn_them(world, served, from_scratch):
    run, folder = served
    ranker = OnnxModel(from_scratch.folder / "ranker.onnx")
    own_log = read_rank_log(from_scratch.folder / "served_log", world.dataset.tasks)
    served_rows = read_rank_log(folder, world.dataset.tasks)
    assert {part.ranker for part in read_log_contents(from_scratch.folder / "served_log")} == {
        ranker.fingerprint
    }
    assert own_log.shadow.all() and (own_log.model_version == 2).all()

    def pools(log):
        starts, ends = list_bounds(log)
        each = (
            (log.user_id[a], log.time_ms[a], *sorted(log.item_id[a:b]))
            for a, b in zip(starts, ends, strict=True)
        )
        return sorted(pool for pool in each if len(pool) - 2 >= run.settings.distil.list_works)

    assert pools(own_log) == pools(served_rows) and len(pools(own_log)) > 40
    assert any("lists of at least 10 items are used" in note for note in from_scratch.notes)
    assert furthest(towers_of(from_scratch.folder), towers_of(run.folder)) > 1e-3


def test_served_log_does_not_change_a_ranker_from_scratch(first, from_scratch):
    one, other = (best_weights(each.folder / "checkpoints" / "ranker.pt") for each in (first, from_scratch))
    assert furthest(one, other) == 0.0


def test_warm_start_learns_its_last_days_and_all_served_pools(world, served, from_scratch, tmp_path):
    run, log = served
    until_ms = world.dataset.train_until_ms
    start = replace(WarmStart.from_folder(run.folder, 2), learned_until_ms=until_ms - 1)
    settings = run.settings.replace(model_version=2)
    out = tmp_path / "run"
    train(world.dataset, settings, out, log=log, evaluate=False, starts=(start, start))
    shown = read_rank_log(out / "rank_log", world.dataset.tasks)
    assert shown.time_ms.min() >= start.first_ms(until_ms) > world.dataset.snapshot.time_ms
    pools, all_pools = (
        read_rank_log(folder / "served_log", world.dataset.tasks) for folder in (out, from_scratch.folder)
    )
    np.testing.assert_array_equal(pools.item_id, all_pools.item_id)
    assert furthest(towers_of(out), towers_of(run.folder)) > 1e-4


def test_unreadable_served_log_is_refused_before_training(world, served, tmp_path):
    run, log = served
    for folder, version, why in (
        (tmp_path / "nowhere", None, "holds no rank log"),
        (log, 9, "no row of model version"),
    ):
        with pytest.raises(LogSchemaError, match=why):
            train(world.dataset, run.settings, tmp_path / "run", log=folder, log_version=version)
    assert not (tmp_path / "run").exists()
