"""`karec train --events --publish-if-no-worse`: learns from stored events, publishes what is no worse."""

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
from own_files import START_S, shop_rows, write_shop
from replayed_log import write_store
from shop_events import N_EVENTS, write_later_events

import karec
from karec import cli
from karec.aggregates.events import Events
from karec.bundle import Bundle
from karec.bundle.in_use import lock_exclusively
from karec.cli.train import NOT_PUBLISHED
from karec.evaluate.non_inferiority import compare_versions
from karec.features.encoder import Encoder
from karec.features.vocabulary import Vocabulary
from karec.online.ingestion import head_of
from karec.pipeline.types import Request

SETTINGS = """
features = { dim = 4, min_count = 3, history_length = 5 }
ranker = { kind = "lr", epochs = 1 }
towers = { epochs = 1, hidden = 16, vector = 8 }
distil.recipe = "hard"
evaluation = { baselines = [], resamples = 40 }
run.threads = 1
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Folder with the files of a shop, a training on them, and a store with later events of two days."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder / "shop", shop_rows(600))
    (folder / "train.toml").write_text(SETTINGS)
    assert train(folder, folder / "out", "--publish-if-no-worse", "0") == 0
    write_later_events(folder / "out")
    return folder


@pytest.fixture
def copy(shop, tmp_path):
    shutil.copytree(shop, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def train(folder, out, *options, settings="train.toml"):
    paths = [str(folder / "shop"), "--out", str(out), "--settings", str(folder / settings)]
    return cli.main(["train", *paths, *options])


def test_version_that_may_be_worse_is_not_published(copy, capsys):
    out = copy / "out"
    (copy / "still.toml").write_text(SETTINGS + "optimizer.learning_rate = 1e-9\n")
    served = (out / "bundles" / "current").readlink()
    options = ["--events", str(out / "online.db"), "--publish-if-no-worse"]
    assert train(copy, out, *options, "0", "--json", settings="still.toml") == NOT_PUBLISHED == 3
    result = json.loads(capsys.readouterr().out)
    assert not result["is_published"] and not result["comparison"]["no_worse"]
    assert (out / "bundles" / "current").readlink() == served
    assert not (out / "bundles" / "v0000000002").exists()

    assert train(copy, out, *options, "0.9") == 0
    assert Bundle.open(out / "bundles").model_version == 2
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{N_EVENTS} exposures added to" in printed and "1, in service" in printed
    facts = json.loads((out / "run-2" / "run.json").read_text())
    compared = facts["compared"]
    assert compared["versions"] == [2, 1] and compared["margin"] == 0.9 and compared["no_worse"]
    assert any("online store" in note for note in facts["data"]["notes"])
    first = json.loads((out / "run" / "run.json").read_text())
    assert first["settings"]["model_version"] == 1, "the run of the version in service stays"


def test_users_and_uploads_of_the_store_are_in_the_next_version(copy):
    out = copy / "out"
    bundle = Bundle.open(out / "bundles")
    user, item = bundle.naming.users.numbers(["c-new"])[0], bundle.naming.items.numbers(["sku new"])[0]
    later_ms = (START_S + 601 * 600) * 1000
    events = [
        Events.from_columns(kind, source=3, number=number, time_ms=later_ms + number, item_id=item, **columns)
        for number, (kind, columns) in enumerate(
            [
                ("upload", {"creator_id": 7, "text": '{"id": "sku new"}'}),
                ("impression", {"user_id": user, "text": "c-new"}),
            ]
        )
    ]
    write_store(out / "online.db", bundle.snapshot, head_of(bundle.snapshot), *events)
    assert train(copy, out, "--events", str(out / "online.db"), "--publish-if-no-worse", "0.9") == 0
    bundle = Bundle.open(out / "bundles")
    assert bundle.model_version == 2 and bundle.snapshot.users.row(user) >= 0
    with karec.open(out / "karec.toml", scene="search") as cascade:
        items = [entry.item_id for entry in cascade.run(Request("c-01", k=100, scene="search"))]
    assert "sku new" in items


def test_training_in_another_folder_leaves_out_ids_erased_next_to_the_store(copy, tmp_path):
    assert cli.main(["erase", str(copy / "out" / "karec.toml"), "--user", "c-01"]) == 0
    assert train(copy, tmp_path / "other", "--events", str(copy / "out" / "online.db")) == 0
    users = Bundle.open(tmp_path / "other" / "bundles").naming.users
    assert users.contains(["c-01", "c-02"]).tolist() == [False, True]


@pytest.mark.long
def test_killed_training_resumes_with_its_events_and_ends_with_equal_models(copy, capsys):
    (copy / "steps.toml").write_text(SETTINGS + "run.checkpoint_steps = 1\n")
    interrupted, whole = copy / "out", copy / "whole"
    shutil.copytree(interrupted, whole, symlinks=True)
    kill_training_after_a_checkpoint(copy)
    snapshot = Bundle.open(interrupted / "bundles").snapshot
    later_ms = (START_S + 900 * 600) * 1000
    event = Events.from_columns(
        "impression", source=2, number=1, time_ms=later_ms, user_id=snapshot.users.ids[0], item_id=1
    )
    write_store(interrupted / "online.db", snapshot, head_of(snapshot), event)
    for out in (interrupted, whole):
        options = ["--publish-if-no-worse", "0.9", "--events", str(out / "online.db")]
        assert train(copy, out, *options, settings="steps.toml") == 0
        captured = capsys.readouterr()
        assert f"{N_EVENTS} exposures added to" in " ".join(captured.out.split())
        assert "starts again" not in captured.err
    for name in ("ranker", "user_tower", "item_tower"):
        models = [(out / "run-2" / f"{name}.onnx").read_bytes() for out in (interrupted, whole)]
        assert models[0] == models[1], name
    assert not (interrupted / "run-2" / "begun.json").exists()


def kill_training_after_a_checkpoint(folder):
    store = folder / "out" / "online.db"
    command = [sys.executable, "-m", "karec.cli", "train", str(folder / "shop"), "--out", str(folder / "out")]
    command += ["--settings", str(folder / "steps.toml"), "--events", str(store)]
    command += ["--publish-if-no-worse", "0.9"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    run = folder / "out" / "run-2"
    while not any((run / "checkpoints").glob("*.pt")):
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"the training ended with {process.wait(0.005)} before it was killed")
    process.kill()
    process.wait()
    assert (run / "begun.json").exists()


def test_train_refuses_a_folder_that_another_training_writes(copy, capsys):
    with lock_exclusively(copy / "out", wait=False):
        assert train(copy, copy / "out", "--resume") == 2
    assert "another karec train or karec erase runs there" in capsys.readouterr().err


def test_train_with_choose_prints_the_trials_of_run_json(shop, tmp_path, capsys):
    assert train(shop, tmp_path / "out", "--choose", "0.0001") == 0
    printed = " ".join(capsys.readouterr().out.split())
    facts = json.loads((tmp_path / "out" / "run" / "run.json").read_text())
    trials = facts["choice"]["tried"]
    assert {trial["part"] for trial in trials if trial["kept"]} == {"ranker", "towers"}
    assert any(trial["why_not"] == "no time" for trial in trials)
    for trial in trials:
        assert trial["name"] in printed and (trial["score"] is None or f"{trial['score']:.4f}" in printed)
    assert (tmp_path / "out" / "choice" / "chosen.toml").exists()


def test_train_refuses_to_replace_a_finished_run(copy, capsys):
    files = {path: path.read_bytes() for path in (copy / "out").rglob("*") if path.is_file()}
    assert train(copy, copy / "out") == 2
    error = capsys.readouterr().err
    assert "run: a training finished here. Name another --out" in error and error.count("\n") == 1
    assert all(path.read_bytes() == content for path, content in files.items())


def test_train_refuses_a_comparison_without_newer_impressions(copy, capsys):
    assert train(copy, copy / "out", "--publish-if-no-worse", "0") == 2
    assert "has learned from all impressions" in capsys.readouterr().err
    assert not list((copy / "out").glob("run-2/*"))


def test_versions_are_compared_on_impressions_after_the_last_training(copy):
    options = ["--events", str(copy / "out" / "online.db"), "--publish-if-no-worse", "0.9"]
    assert train(copy, copy / "out", *options) == 0
    facts = json.loads((copy / "out" / "run-2" / "run.json").read_text())
    first = json.loads((copy / "out" / "run" / "run.json").read_text())
    assert first["trained_until_ms"] <= facts["compared"]["since_ms"] < facts["trained_until_ms"]


def test_first_version_is_published_without_a_comparison(shop):
    assert Bundle.open(shop / "out" / "bundles").model_version == 1
    assert "compared" not in json.loads((shop / "out" / "run" / "run.json").read_text())


def test_publish_publishes_a_run_folder_once(shop, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["publish", str(shop / "shop"), "--run", str(shop / "out" / "run"), "--out", str(out)]
    assert cli.main(command) == 0
    assert (out / "bundles" / "current").readlink().name == "v0000000001" and (out / "karec.toml").exists()
    assert cli.main(command) == 2
    assert "is published already" in capsys.readouterr().err


ONLINE = '\n[online]\nurl = "sqlite:online.db"\n'


def add_online_store(config):
    config.write_text(config.read_text() + ONLINE)


def test_training_for_an_online_store_encodes_the_moment_of_each_row(copy):
    add_online_store(copy / "out" / "karec.toml")
    options = ["--events", str(copy / "out" / "karec.toml"), "--publish-if-no-worse", "0.9"]
    assert train(copy, copy / "out", *options) == 0
    facts = json.loads((copy / "out" / "run-2" / "run.json").read_text())
    assert facts["settings"]["features"]["refresh_hours"] == 0
    assert Bundle.open(copy / "out" / "bundles").facts["refresh_hours"] == 0


def test_publish_and_train_refuse_input_times_that_the_service_lacks(copy, capsys):
    config, run = copy / "out" / "karec.toml", copy / "out" / "run"
    publish = ["publish", str(copy / "shop"), "--run", str(run), "--out", str(copy / "out")]
    add_online_store(config)
    assert cli.main(publish) == 2
    assert "the state of every 24 hours (features.refresh_hours)" in capsys.readouterr().err
    config.write_text(config.read_text().replace(ONLINE, ""))
    (copy / "moment.toml").write_text(SETTINGS.replace("history_length", "refresh_hours = 0, history_length"))
    options = ["--publish-if-no-worse", "0.9"]
    assert train(copy, copy / "out", *options, settings="moment.toml") == 2
    assert "the state of each moment (features.refresh_hours = 0)" in capsys.readouterr().err
    assert not (copy / "out" / "run-2" / "run.json").exists()


def test_new_karec_toml_of_inputs_of_the_moment_has_an_online_store(copy, tmp_path, capsys):
    run = copy / "out" / "run"
    facts = json.loads((run / "run.json").read_text())
    facts["settings"]["features"]["refresh_hours"] = 0
    (run / "run.json").write_text(json.dumps(facts))
    out = tmp_path / "out"
    assert cli.main(["publish", str(copy / "shop"), "--run", str(run), "--out", str(out)]) == 0
    config = out / "karec.toml"
    assert config.read_text().endswith(ONLINE)
    assert cli.main(["check", str(config)]) == 0
    assert "note" not in capsys.readouterr().err
    config.write_text(config.read_text().replace(ONLINE, ""))
    assert cli.main(["check", str(config)]) == 0
    assert "note: the models learned from the state of each moment" in capsys.readouterr().err


def test_bundle_without_input_times_opens_without_a_warning(copy, caplog):
    config, manifest = copy / "out" / "karec.toml", copy / "out" / "bundles" / "current" / "manifest.json"
    add_online_store(config)
    with karec.open(config, scene="search", reload=True):
        assert "the state of every 24 hours" in caplog.text
    content = json.loads(manifest.read_text())
    del content["facts"]["refresh_hours"]
    manifest.write_text(json.dumps(content))
    caplog.clear()
    with karec.open(config, scene="search", reload=True):
        assert "refresh_hours" not in caplog.text


def test_comparison_with_the_same_models_has_no_gain(shop, tmp_path):
    from karec.data.load import load

    dataset = load(shop / "shop", tmp_path).dataset
    tested, since_ms = shop / "out" / "run" / "tested", dataset.valid_until_ms
    options = {"since_ms": since_ms, "refresh_hours": 24.0, "resamples": 30}
    compared = compare_versions(dataset, tested, tested, 0.0, **options)
    assert compared["no_worse"] and compared["tasks"] == ["liked"]
    quality = json.loads((tested / "quality.json").read_text())["models"]
    for name, model in (("ranker", "lr"), ("towers", "towers")):
        measures = compared["models"][name]
        assert (measures["gain"], measures["gain_ci"]) == (0.0, (0.0, 0.0))
        assert measures["new"] == pytest.approx(quality[model]["liked"]["auc"], abs=1e-6)
    assert compared["exposures"] == len(dataset.split()[2])


def test_comparison_reads_the_category_codes_of_the_version_in_service(shop, tmp_path):
    from karec.data.load import load

    dataset = load(shop / "shop", tmp_path).dataset
    tested, version = shop / "out" / "run" / "tested", tmp_path / "version"
    shutil.copytree(tested, version)
    encoder, scenes = Encoder.load(tested / "encoder.npz"), dataset.snapshot.labels["scene"]
    replace(encoder, scenes=Vocabulary(1 - encoder.scenes.keys)).save(version / "encoder.npz")
    replace(dataset.snapshot, labels={"scene": scenes[::-1]}).save(version / "snapshot")
    options = {"since_ms": dataset.valid_until_ms, "refresh_hours": 24.0, "resamples": 30}
    models = compare_versions(dataset, tested, version, 0.0, **options)["models"]
    assert [model["gain_ci"] for model in models.values()] == [(0.0, 0.0)] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--events", "nowhere"], "nowhere: no online store"),
        (["--events", "CONFIG"], "has no table [online]"),
        (["--publish-if-no-worse", "-1"], "--publish-if-no-worse is -1, expected an AUC difference"),
        (["--publish-if-no-worse", "nan"], "expected an AUC difference, 0 or more"),
    ],
)
def test_train_refuses_wrong_options_before_it_reads_data(shop, capsys, options, message):
    options = [str(shop / "out" / "karec.toml") if option == "CONFIG" else option for option in options]
    assert train(shop, shop / "out", *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_train_names_the_missing_run_of_the_version_in_service(copy, capsys):
    shutil.rmtree(copy / "out" / "run")
    options = ["--events", str(copy / "out" / "online.db"), "--publish-if-no-worse", "0"]
    assert train(copy, copy / "out", "--log", str(copy), *options) == 2
    assert "no run folder of version 1, which is in service" in capsys.readouterr().err
