"""Tests of training jobs: an interrupted one is resumed if it would learn the same."""

import json
from dataclasses import replace

import pytest
from replayed_log import events_of, head_of, write_store

from karec.learn.fit.checkpoint import CheckpointError
from karec.learn.run.run_folder import remove_runs
from karec.learn.run.training_job import TrainingJob, resume_or_start
from karec.learn.run.unfinished import UnfinishedRun
from karec.online.read_log import EventSource

KNOWN = 500  # exposures that the data hold; the log has the rest


class Killed(BaseException):
    """What ends a process ends no block."""


class Training:
    """Trainings of ``known`` and an event log into one run folder, and what each was given."""

    def __init__(self, dataset, folder):
        self.out, self.run, self.path = folder, folder / "run", folder / "online.db"
        self.known = replace(dataset, exposures=dataset.exposures.take(slice(0, KNOWN)))
        self.rest, self.head = dataset.exposures.take(slice(KNOWN, None)), head_of(dataset)
        self.given, self.notes = [], []
        self.append(slice(0, 60))

    def append(self, some):
        events = events_of(self.rest.take(some), self.head)
        events.number[:] += some.start
        self.log = EventSource(write_store(self.path, self.known.snapshot, self.head, events))

    def __call__(self, how=None, **options):
        """(exposures that it learned from, whether it went on)."""

        def train(dataset, is_resumed):
            self.given.append((len(dataset.exposures), is_resumed))
            if how is not None:
                raise how
            return self.given[-1]

        job = TrainingJob(self.out, events=self.log, **{"margin": 0.0, **options})
        return resume_or_start(job, self.known, train, self.notes.append)

    def killed(self):
        with pytest.raises(Killed):
            self(Killed())
        assert (self.run / "begun.json").exists()
        return self


@pytest.fixture
def training(dataset, tmp_path):
    return Training(dataset, tmp_path)


def test_it_goes_on_with_the_log_as_it_was_and_the_next_reads_all(training):
    training.killed().append(slice(60, 100))
    assert training() == (KNOWN + 60, True) and not training.notes
    assert not (training.run / "begun.json").exists()
    assert training() == (KNOWN + 100, False)


def test_one_that_is_killed_again_goes_on_again(training):
    training.killed()
    begun = (training.run / "begun.json").read_text()
    training.killed().append(slice(60, 100))
    assert (training.run / "begun.json").read_text() == begun
    assert training() == (KNOWN + 60, True)


@pytest.mark.parametrize("error", [CheckpointError("damaged"), ValueError("diverged"), OSError("disk full")])
def test_what_fails_by_itself_begins_anew_and_what_the_disk_ended_goes_on(training, error):
    with pytest.raises(type(error)):
        training(error)
    assert training() == (KNOWN + 60, isinstance(error, OSError))


def test_a_checkpoint_that_is_refused_is_told_and_the_training_begins_anew(training):
    training.killed()
    with pytest.raises(CheckpointError):
        training(CheckpointError("checkpoints/towers.pt is damaged"))
    assert training.given[-2:] == [(KNOWN + 60, True), (KNOWN + 60, False)]
    assert training.notes == ["the interrupted training starts again: checkpoints/towers.pt is damaged"]


@pytest.mark.parametrize("resume", [False, True])
def test_other_settings_or_other_data_begin_anew_and_with_resume_are_refused(training, resume):
    training.killed()
    if resume:
        with pytest.raises(CheckpointError, match=r"run is of .*; this training is of "):
            training(seed=7, is_resumed=True)
    else:
        assert training(seed=7) == (KNOWN + 60, False) and "starts again" in training.notes[0]
    training.killed().known = replace(training.known, exposures=training.known.exposures.take(slice(1, None)))
    assert resume or training() == (KNOWN + 59, False)


@pytest.mark.parametrize(
    "said", ["{", "[]", "null", '{"format": 1}', "a day ago", "format 2", "nothing is appended since"]
)
def test_what_it_said_of_itself_may_be_damaged_or_old(training, said):
    path = training.killed().run / "begun.json"
    told = json.loads(path.read_text())
    of = {"a day ago": {"begun_ms": told["begun_ms"] - 86_400_001}, "format 2": {"format": 2}}
    path.write_text(json.dumps(told | of.get(said, {})) if " " in said and "{" not in said else said)
    assert training() == (KNOWN + 60, said == "nothing is appended since")


def test_a_training_that_nobody_asked_to_compare_goes_on_by_resume_alone(training):
    with pytest.raises(Killed):
        training(Killed(), margin=None)
    training.append(slice(60, 100))
    assert training(margin=None, is_resumed=True) == (KNOWN + 60, True)
    assert UnfinishedRun.from_folder(training.run, 0) is None
    assert training(margin=None) == (KNOWN + 100, False)


def test_run_folders_of_versions_that_are_not_published_any_more_go(tmp_path):
    for name in ("run", "run-2", "run-3", "run-4", "run-5", "run-6", "run-notes", "bundles/v0000000003"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bundles" / "v0000000005").mkdir()
    (tmp_path / "bundles" / "current").symlink_to("v0000000005")
    assert remove_runs(tmp_path) == []
    assert {path.name for path in tmp_path.glob("run*")} == {"run", "run-3", "run-5", "run-6", "run-notes"}
