"""Tests of trainings that start from the models of an earlier one."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_settings import LISTS, SMALL

from karec.errors import ConfigError, DataError
from karec.evaluate.quality import TESTED
from karec.features.encoder import Encoder
from karec.learn.fit.checkpoint import CheckpointError, best_weights
from karec.learn.fit.warm_start import WarmStart
from karec.learn.run.train import train
from karec.logs.read import read_rank_log
from karec.times import DAY_MS

SETTINGS = SMALL.replace(
    distil=LISTS,
    shadow={"share": 1.0},
    evaluation={"baselines": ()},
    run={"final_fit": True, "checkpoint_steps": 2},
)
EARLY = 500  # impressions of the first training


@pytest.fixture(scope="module")
def first(dataset, tmp_path_factory):
    """Run folder of a training on the first impressions."""
    rows = dataset.exposures.take(slice(0, EARLY))
    cuts = int(rows.time_ms[EARLY * 8 // 10]), int(rows.time_ms[EARLY * 9 // 10])
    early = replace(dataset, exposures=rows, train_until_ms=cuts[0], valid_until_ms=cuts[1])
    return train(early, SETTINGS, tmp_path_factory.mktemp("first") / "run", evaluate=False).folder


def starts(run, days=1):
    return WarmStart.from_folder(run / TESTED, days), WarmStart.from_folder(run, days)


@pytest.fixture(scope="module")
def warm(dataset, first, tmp_path_factory):
    return train(dataset, SETTINGS, tmp_path_factory.mktemp("warm") / "run", starts=starts(first))


def facts_of(folder):
    return json.loads((folder / "run.json").read_text())


def distance(one, other, model):
    """Largest difference of a dense weight of two runs."""
    a, b = (best_weights(run / "checkpoints" / f"{model}.pt") for run in (one, other))
    return max(float((a[key] - b[key]).abs().max()) for key in a if not key.endswith("table.weight"))


def test_tested_models_start_from_tested_ones_and_published_from_published(dataset, first, warm):
    """A started model is nearer to where it started than to the other model of the earlier run."""
    for model in ("ranker", "towers"):
        for folder, start, other in (
            (warm.folder / TESTED, first / TESTED, first),
            (warm.folder, first, first / TESTED),
        ):
            assert 0 < distance(folder, start, model) < distance(folder, other, model)


@pytest.mark.parametrize("part", ["", TESTED])
def test_models_learn_from_the_last_day_only(dataset, first, warm, part):
    until_ms = facts_of(warm.folder / part)["learned_until_ms"]
    start_ms = facts_of(first / part)["learned_until_ms"]
    assert until_ms == (dataset.train_until_ms if part else dataset.end_ms)
    log = read_rank_log(warm.folder / part / "rank_log", dataset.tasks)
    time_ms = dataset.exposures.time_ms
    read = time_ms[(time_ms >= min(until_ms - DAY_MS, start_ms)) & (time_ms < until_ms)]
    assert set(log.time_ms) == set(read) and len(read) < np.sum(time_ms < until_ms)


def test_run_json_counts_warm_starts_and_keeps_the_settings(first, warm):
    facts, before = facts_of(warm.folder), facts_of(first)
    assert facts["warm_start"] == {"from_version": 1, "days": 1, "in_a_row": 1}
    assert facts["settings"] == before["settings"]
    assert [len(epochs) for epochs in facts["epochs"].values()] == [1, 1]
    again = starts(warm.folder)
    assert again[0].facts == again[1].facts == {"from_version": 1, "days": 1, "in_a_row": 2}


def test_warm_start_measures_quality_and_has_a_note(warm):
    assert [*warm.quality["models"]] == ["towers", "mmoe"]
    assert any("warm start from version 1, 1 in a row" in note for note in warm.notes)


def test_a_new_category_that_moves_the_codes_of_others_changes_no_weight(dataset, first, warm, tmp_path):
    works, labels = dataset.snapshot.works, dataset.snapshot.labels
    works = replace(works, columns={**works.columns, "type": works["type"] + 1})
    labels = {**labels, "type": ["album", *labels["type"]]}
    moved = replace(dataset, snapshot=replace(dataset.snapshot, works=works, labels=labels))
    run = train(moved, SETTINGS, tmp_path / "run", evaluate=False, starts=starts(first)).folder
    assert facts_of(run)["data"]["categories"] == labels
    for model in ("ranker", "towers"):
        weights, expected = (best_weights(r / "checkpoints" / f"{model}.pt") for r in (run, warm.folder))
        assert all(torch.equal(weights[key], expected[key]) for key in expected)


class Stopped(Exception):
    pass


def test_stopped_warm_start_resumes_with_the_same_weights(dataset, first, warm, tmp_path):
    def stop(done, total, step):
        if (done, step) == (3, "training the towers"):
            raise Stopped

    out = tmp_path / "run"
    with pytest.raises(Stopped):
        train(dataset, SETTINGS, out, stop, starts=starts(first))
    with pytest.raises(CheckpointError, match="another training"):
        train(dataset, SETTINGS, out, resume=True, starts=starts(first, days=2))
    other = shutil.copytree(first, tmp_path / "other")
    (other / TESTED / "run.json").write_text(json.dumps({**facts_of(first / TESTED), "seconds": {}}))
    with pytest.raises(CheckpointError, match="another training"):
        train(dataset, SETTINGS, out, resume=True, starts=starts(other))
    train(dataset, SETTINGS, out, resume=True, evaluate=False, starts=starts(first))
    for part in ("", TESTED):
        for model in ("ranker", "towers"):
            assert distance(out / part, warm.folder / part, model) == 0
    encoders = [Encoder.load(run / "encoder.npz") for run in (out, warm.folder)]
    assert encoders[0].works.numbers == encoders[1].works.numbers


def test_rows_on_disk_give_a_warm_start_too(dataset, first, warm, tmp_path):
    settings = SETTINGS.replace(run={"rows": "disk", "final_fit": False})
    start = starts(first)[0]
    run = train(dataset, settings, tmp_path / "run", evaluate=False, starts=(start, start)).folder
    assert distance(run, first / TESTED, "ranker") < distance(run, first, "ranker")


def test_runs_without_a_warm_start_are_refused(dataset, first, tmp_path):
    facts = facts_of(first)
    for change, error in (
        ({"ranker": {"kind": "lr"}}, ConfigError),
        ({"distil": {"retrieval_weight": 1.0, "list_weight": 0.0, "pool_weight": 0.0}}, ConfigError),
        ({}, DataError),  # no checkpoint of a ranker
    ):
        settings = {
            name: {**part, **change.get(name, {})} if isinstance(part, dict) else part
            for name, part in facts["settings"].items()
        }
        (tmp_path / "run.json").write_text(json.dumps({**facts, "settings": settings}))
        with pytest.raises(error, match="leave out --warm-start"):
            WarmStart.from_folder(tmp_path, 1)
    with pytest.raises(DataError, match="not a run folder"):
        WarmStart.from_folder(tmp_path / "missing", 1)


def test_older_data_than_those_of_the_start_are_refused(dataset, first, tmp_path):
    rows = dataset.exposures.take(slice(0, EARLY - 100))
    cuts = int(rows.time_ms[300]), int(rows.time_ms[350])
    older = replace(dataset, exposures=rows, train_until_ms=cuts[0], valid_until_ms=cuts[1])
    with pytest.raises(DataError, match="Add newer rows"):
        train(older, SETTINGS, tmp_path / "run", starts=starts(first))
    assert not (tmp_path / "run").exists()
