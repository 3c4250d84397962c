"""Tests of training jobs: an interrupted one is resumed if it would learn the same."""

import json
from dataclasses import replace

import numpy as np
import pytest
from replayed_log import events_of, head_of, write_store
from small_settings import SMALL

from karec.errors import ConfigError, DataError
from karec.learn.fit.checkpoint import CheckpointError
from karec.learn.run.job_options import TrainingJob
from karec.learn.run.run_folder import remove_runs
from karec.learn.run.training_job import resume_or_start, run_job
from karec.learn.run.unfinished import UnfinishedRun
from karec.logs.write import RankLogWriter
from karec.online.read_log import EventSource

N_KNOWN = 500  # impressions of the dataset; the store gets later ones


class Killed(BaseException):
    """Ends a training like a signal: no handler of exceptions runs."""


class Trainer:
    """Starts trainings of a dataset and the events of a store in one folder, and records their inputs.

    calls   (impressions, is_resumed) of each training
    notes   lines for the user
    """

    def __init__(self, dataset, folder):
        self.out = folder
        self.run = folder / "run"
        self.dataset = replace(dataset, exposures=dataset.exposures.take(slice(0, N_KNOWN)))
        self.later = dataset.exposures.take(slice(N_KNOWN, None))
        self.head = head_of(dataset)
        self.calls = []
        self.notes = []
        self.store_events(0, 60)

    def store_events(self, start, end):
        events = events_of(self.later.take(slice(start, end)), self.head)
        events.number[:] += start
        store = write_store(self.out / "online.db", self.dataset.snapshot, self.head, events)
        self.events = EventSource(store)

    def train(self, error=None, **options):
        """Returns (impressions, is_resumed) of a training that raises ``error``."""

        def train(dataset, is_resumed):
            self.calls.append((len(dataset.exposures), is_resumed))
            if error is not None:
                raise error
            return self.calls[-1]

        job = TrainingJob(self.out, **{"events": self.events, "margin": 0.0, **options})
        return resume_or_start(job, self.dataset, train, self.notes.append)

    def kill(self, **options):
        with pytest.raises(Killed):
            self.train(Killed(), **options)
        assert self.mark.exists()

    @property
    def mark(self):
        return self.run / "begun.json"


@pytest.fixture
def trainer(dataset, tmp_path):
    return Trainer(dataset, tmp_path)


def test_killed_training_resumes_with_its_events_and_the_next_reads_all(trainer):
    trainer.kill()
    trainer.store_events(60, 100)
    assert trainer.train() == (N_KNOWN + 60, True) and not trainer.notes
    assert not trainer.mark.exists()
    assert trainer.train() == (N_KNOWN + 100, False)


def test_training_that_is_killed_twice_resumes(trainer):
    trainer.kill()
    mark = trainer.mark.read_text()
    trainer.kill()
    trainer.store_events(60, 100)
    assert trainer.mark.read_text() == mark
    assert trainer.train() == (N_KNOWN + 60, True)


@pytest.mark.parametrize("error", [CheckpointError("damaged"), ValueError("diverged"), OSError("disk full")])
def test_only_a_training_that_the_disk_ended_resumes(trainer, error):
    with pytest.raises(type(error)):
        trainer.train(error)
    assert trainer.train() == (N_KNOWN + 60, isinstance(error, OSError))


def test_training_with_a_refused_checkpoint_starts_again(trainer):
    trainer.kill()
    with pytest.raises(CheckpointError):
        trainer.train(CheckpointError("checkpoints/towers.pt is damaged"))
    assert trainer.calls[-2:] == [(N_KNOWN + 60, True), (N_KNOWN + 60, False)]
    assert trainer.notes == ["the interrupted training starts again: checkpoints/towers.pt is damaged"]


@pytest.mark.parametrize("is_resumed", [False, True])
def test_other_settings_start_again_or_are_refused_with_resume(trainer, is_resumed):
    trainer.kill()
    if is_resumed:
        with pytest.raises(CheckpointError, match=r"run is of .*; this training is of "):
            trainer.train(seed=7, is_resumed=True)
    else:
        assert trainer.train(seed=7) == (N_KNOWN + 60, False) and "starts again" in trainer.notes[0]


def test_other_data_start_again(trainer):
    trainer.kill()
    impressions = trainer.dataset.exposures.take(slice(1, None))
    trainer.dataset = replace(trainer.dataset, exposures=impressions)
    assert trainer.train() == (N_KNOWN + 59, False)


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"format": 1}'])
def test_damaged_mark_is_ignored(trainer, text):
    trainer.kill()
    trainer.mark.write_text(text)
    assert trainer.train() == (N_KNOWN + 60, False)


@pytest.mark.parametrize(("age_ms", "version"), [(86_400_001, 1), (0, 2)])
def test_mark_of_another_day_or_format_is_ignored(trainer, age_ms, version):
    trainer.kill()
    mark = json.loads(trainer.mark.read_text())
    mark |= {"begun_ms": mark["begun_ms"] - age_ms, "format": version}
    trainer.mark.write_text(json.dumps(mark))
    assert trainer.train() == (N_KNOWN + 60, False)


def test_training_without_a_margin_resumes_only_with_resume(trainer):
    trainer.kill(margin=None)
    trainer.store_events(60, 100)
    assert trainer.train(margin=None, is_resumed=True) == (N_KNOWN + 60, True)
    assert UnfinishedRun.from_folder(trainer.run, 0) is None
    assert trainer.train(margin=None) == (N_KNOWN + 100, False)


def test_selection_of_an_arm_without_a_rank_log_is_refused(trainer):
    settings = SMALL.replace(experiment={"name": "dpp", "arm": "wide"})
    with pytest.raises(ValueError, match=r"experiment.name in the settings needs --log"):
        trainer.train(settings=settings)
    assert not trainer.calls


def test_training_uses_the_events_of_its_arm(trainer, tmp_path):
    settings = SMALL.replace(experiment={"name": "dpp", "arm": "wide"})
    head, later = trainer.head, trainer.later.take(slice(0, 60))
    events = events_of(later, head)
    events.request_id[:] = [f"r{user}" for user in events.user_id.tolist()]
    source = EventSource(write_store(tmp_path / "arms.db", trainer.dataset.snapshot, head, events))
    users = sorted({*later.user_id.tolist()})
    with RankLogWriter(tmp_path / "log", ()) as log:
        for user in users:
            log.append(
                request_id=f"r{user}",
                user_id=user,
                item_ids=later.work_id[:1],
                scene="home",
                time_ms=int(later.time_ms[0]),
                model_version=1,
                logits=np.empty((1, 0), np.float32),
                fused=np.zeros(1, np.float32),
                arms={"dpp": "wide" if user == users[0] else "narrow"},
            )
    options = {"settings": settings, "log": tmp_path / "log", "is_from_scratch": True, "events": source}
    assert trainer.train(**options) == (N_KNOWN + np.count_nonzero(later.user_id == users[0]), False)


def test_second_training_into_a_new_folder_is_refused_at_its_start(dataset, tmp_path):
    """Both once trained to the end, and one could not publish."""
    settings = SMALL.with_recipe("hard").replace(ranker={"kind": "lr"}, towers={"epochs": 1})
    job = TrainingJob(tmp_path / "out", settings=settings)
    reports = []

    def publish_during_a_second_training(dataset, run):
        with pytest.raises(DataError, match=r"out: another karec train or karec erase runs there"):
            run_job(job, dataset, publish_during_a_second_training, lambda *step: reports.append(step), print)
        return run

    run_job(job, dataset, publish_during_a_second_training, lambda *_: None, print)
    assert not reports


def test_refused_training_leaves_no_folder(dataset, tmp_path):
    job = TrainingJob(tmp_path / "out", settings=SMALL.replace(fusion={"unknown": 1.0}))
    with pytest.raises(ConfigError, match="unknown"):
        run_job(job, dataset, lambda *_: tmp_path, lambda *_: None, print)
    assert not (tmp_path / "out").exists()


def test_run_of_a_version_has_the_towers_of_its_bundle(tmp_path):
    bundle = tmp_path / "bundles" / "v0000000002"
    for folder, tower in ((tmp_path / "run-2", b"not published"), (tmp_path / "run", b"2"), (bundle, b"2")):
        folder.mkdir(parents=True)
        (folder / "item_tower.onnx").write_bytes(tower)
    job = TrainingJob(tmp_path)
    assert job.run_of_version(bundle) == tmp_path / "run"
    (tmp_path / "run-2" / "item_tower.onnx").write_bytes(b"2")
    assert job.run_of_version(bundle) == tmp_path / "run-2"
    (bundle / "item_tower.onnx").write_bytes(b"of another folder")
    assert job.run_of_version(bundle) is None


def test_remove_runs_keeps_published_versions_and_the_first_run(tmp_path):
    for name in ("run", "run-2", "run-3", "run-4", "run-5", "run-6", "run-notes", "bundles/v0000000003"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bundles" / "v0000000005").mkdir()
    (tmp_path / "bundles" / "current").symlink_to("v0000000005")
    assert remove_runs(tmp_path) == []
    assert {path.name for path in tmp_path.glob("run*")} == {"run", "run-3", "run-5", "run-6", "run-notes"}
