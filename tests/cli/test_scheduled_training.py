"""`karec train --events --publish-if-no-worse`: learns from what happened, publishes what is no worse."""

import json
import shutil
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from own_files import START_S, shop_rows, write_shop
from replayed_log import write_store

from karec import cli
from karec.aggregates.events import Events
from karec.bundle import Bundle
from karec.bundle.in_use import lock_exclusively
from karec.cli.train import NOT_PUBLISHED
from karec.evaluate.non_inferiority import compare_versions
from karec.online.ingestion import head_of

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
    """Folder with a shop's files, a training on them, and a store of the events of two days since."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder / "shop", shop_rows(600))
    (folder / "train.toml").write_text(SETTINGS)
    assert train(folder, folder / "out", "--publish-if-no-worse", "0") == 0
    snapshot = Bundle.open(folder / "out" / "bundles").snapshot
    rng, n = np.random.default_rng(0), 200
    time_ms = (START_S + 600 * 600) * 1000 + np.sort(rng.integers(0, 2 * 86_400_000, n))
    users, works = rng.choice(snapshot.users.ids, n), rng.choice(snapshot.works.ids, n)
    head = head_of(snapshot)
    liked = rng.integers(0, 2, n).astype(np.uint64) << np.uint64(head.labels.index("liked"))
    happened = Events.from_columns(
        "impression",
        source=1,
        number=np.arange(n),
        time_ms=time_ms,
        user_id=users,
        item_id=works,
        labels=liked,
    )
    write_store(folder / "out" / "online.db", snapshot, head, happened)
    return folder


@pytest.fixture
def copy(shop, tmp_path):
    shutil.copytree(shop, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def train(folder, out, *more, settings="train.toml"):
    words = [str(folder / "shop"), "--out", str(out), "--settings", str(folder / settings), *more]
    return cli.main(["train", *words])


def test_a_version_that_may_be_worse_stays_unpublished_and_the_next_takes_its_place(copy, capsys):
    out = copy / "out"
    (copy / "still.toml").write_text(SETTINGS + "optimizer.learning_rate = 1e-9\n")
    before = (out / "bundles" / "current").readlink()
    arguments = ["--events", str(out / "online.db"), "--publish-if-no-worse"]
    assert train(copy, out, *arguments, "0", settings="still.toml") == NOT_PUBLISHED == 3
    assert capsys.readouterr().out.splitlines()[-1] == (
        "not published: version 2 may be worse than version 1, which stays in service"
    )
    assert (out / "bundles" / "current").readlink() == before and not (
        out / "bundles" / "v0000000002"
    ).exists()
    assert not json.loads((out / "run-2" / "run.json").read_text())["compared"]["no_worse"]

    assert train(copy, out, *arguments, "0.9") == 0
    assert Bundle.open(out / "bundles").model_version == 2
    told = " ".join(capsys.readouterr().out.split())
    assert "200 exposures added to" in told and "1, in service" in told and "published" in told
    facts = json.loads((out / "run-2" / "run.json").read_text())
    compared = facts["compared"]
    assert compared["versions"] == [2, 1] and compared["margin"] == 0.9 and compared["no_worse"]
    assert any("online store" in note for note in facts["data"]["notes"])
    assert json.loads((out / "run" / "run.json").read_text())["settings"]["model_version"] == 1, (
        "the old run stays"
    )


def killed_in_the_middle(folder, *more):
    """A training that is killed when it has a checkpoint, and before it has all."""
    words = ["train", str(folder / "shop"), "--out", str(folder / "out"), "--settings"]
    words += [
        str(folder / "steps.toml"),
        "--events",
        str(folder / "out" / "online.db"),
        "--publish-if-no-worse",
        "0.9",
    ]
    process = subprocess.Popen([sys.executable, "-m", "karec.cli", *words, *more], stderr=subprocess.DEVNULL)
    checkpoints = folder / "out" / "run-2" / "checkpoints"
    while not any(checkpoints.glob("*.pt")):
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"it ended with {process.wait(0.005)} before it was killed")
    process.kill()
    process.wait()
    assert (folder / "out" / "run-2" / "begun.json").exists()
    return sorted(checkpoints.glob("*.pt"))


@pytest.mark.long
def test_a_training_that_was_killed_goes_on_though_the_log_has_grown_and_ends_as_if_it_had_not_been(
    copy, capsys
):
    (copy / "steps.toml").write_text(SETTINGS + "run.checkpoint_steps = 1\n")
    out, whole = copy / "out", copy / "whole"
    shutil.copytree(out, whole, symlinks=True)
    killed_in_the_middle(copy)
    snapshot = Bundle.open(out / "bundles").snapshot
    later = (START_S + 900 * 600) * 1000
    more = Events.from_columns(
        "impression", source=2, number=1, time_ms=later, user_id=snapshot.users.ids[0], item_id=1
    )
    write_store(out / "online.db", snapshot, head_of(snapshot), more)
    arguments = ["--publish-if-no-worse", "0.9", "--events"]
    assert train(copy, out, *arguments, str(out / "online.db"), settings="steps.toml") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "200 exposures added to" in told and "starts again" not in told
    assert train(copy, whole, *arguments, str(whole / "online.db"), settings="steps.toml") == 0
    for name in ("ranker", "user_tower", "item_tower"):
        both = [(folder / "run-2" / f"{name}.onnx").read_bytes() for folder in (out, whole)]
        assert both[0] == both[1], name
    assert not (out / "run-2" / "begun.json").exists()


def test_two_trainings_into_one_folder_are_not_at_once(copy, capsys):
    with lock_exclusively(copy / "out", wait=False):
        assert train(copy, copy / "out") == 2
    assert "another karec train writes there" in capsys.readouterr().err


def test_the_first_version_has_nothing_to_be_compared_with(shop):
    assert Bundle.open(shop / "out" / "bundles").model_version == 1
    assert "compared" not in json.loads((shop / "out" / "run" / "run.json").read_text())


def test_the_gain_is_that_of_the_mean_auc_of_the_tasks_paired_by_user(shop, tmp_path):
    from karec.data.load import load

    dataset = load(shop / "shop", tmp_path).dataset
    run, bundle = shop / "out" / "run", Bundle.open(shop / "out" / "bundles").path
    same = compare_versions(dataset, run, bundle, 0.0, refresh_hours=24.0, resamples=30)
    assert same["no_worse"] and same["tasks"] == ["liked"]
    for name, model in (("ranker", "lr"), ("towers", "towers")):
        assert (same["models"][name]["gain"], same["models"][name]["gain_ci"]) == (0.0, (0.0, 0.0))
        measured = json.loads((run / "quality.json").read_text())["models"][model]["liked"]["auc"]
        assert same["models"][name]["new"] == pytest.approx(measured, abs=1e-6)
    assert same["exposures"] == len(dataset.split()[2])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--events", "nowhere"], "nowhere: no online store"),
        (["--events", "KAREC"], "has no table [online]"),
        (
            ["--publish-if-no-worse", "-1"],
            "--publish-if-no-worse is -1, expected an AUC difference",
        ),
        (["--publish-if-no-worse", "nan"], "expected an AUC difference, 0 or more"),
    ],
)
def test_what_cannot_be_is_told_in_a_line_before_data_are_read(shop, capsys, more, told):
    more = [str(shop / "out" / "karec.toml") if each == "KAREC" else each for each in more]
    assert train(shop, shop / "out", *more) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_run_in_service_whose_folder_is_gone_is_named(copy, capsys):
    shutil.rmtree(copy / "out" / "run")
    assert train(copy, copy / "out", "--log", str(copy), "--publish-if-no-worse", "0") == 2
    assert "no run folder of version 1, which is in service" in capsys.readouterr().err
