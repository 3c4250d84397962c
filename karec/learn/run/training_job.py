"""One training into a folder of runs and bundles, its comparison with the version in service, its publishing.

A killed training resumes with the events that it had read (``unfinished``) and ends with the same weights.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from karec.bundle import Bundle, next_version
from karec.bundle.in_use import lock_exclusively
from karec.catalog.dataset import Dataset
from karec.errors import DataError
from karec.evaluate.non_inferiority import compare_versions
from karec.evaluate.quality import read_run, tested_folder
from karec.learn.distributed.ranks import broadcast, world
from karec.learn.fit.checkpoint import CheckpointError
from karec.learn.fit.warm_start import WarmStart
from karec.learn.run.from_log import ServedRun, train_from_log
from karec.learn.run.job_options import TrainingJob
from karec.learn.run.run_folder import remove_runs, write_json
from karec.learn.run.search import search_settings
from karec.learn.run.train import TrainResult, train
from karec.learn.run.unfinished import UnfinishedRun
from karec.learn.settings.check import check_run, fingerprint
from karec.refresh.item_types import role_tables
from karec.samples.arms import ArmRows
from karec.samples.from_events import newest_append_ms, with_events
from karec.times import Progress

T = TypeVar("T")
Publish = Callable[[Dataset, Path], Path]
"""Publishes a run folder of a training on the dataset. Returns the path of the karec.toml that serves it."""


@dataclass(frozen=True, eq=False)
class JobResult:
    """Result of a training job.

    dataset       the data with the events that were added
    comparison    result of ``compare_versions``; None if there was nothing to compare with
    config        the karec.toml that serves the published run; None if it was not published
    """

    dataset: Dataset
    training: TrainResult
    comparison: dict[str, Any] | None
    config: Path | None


def run_job(
    job: TrainingJob, dataset: Dataset, publish: Publish, progress: Progress, note: Callable[[str], object]
) -> JobResult:
    """Trains, compares with the version in service if there is a margin, and publishes if it is no worse.

    ``note`` is called with lines for the user.
    """

    def train_and_publish(dataset: Dataset, is_resumed: bool) -> JobResult:
        if job.margin is not None and job.served_bundle is not None:
            _find_first_comparable_ms(job, dataset)
        training = _train(job, dataset, job.run_folder, progress, resume=is_resumed)
        comparison = _compare(job, dataset, training, progress)
        if comparison is not None and not comparison["no_worse"]:
            return JobResult(dataset, training, comparison, None)
        config = publish(dataset, training.folder)
        for failure in remove_runs(job.out) if job.margin is not None or job.warm_days is not None else ():
            note(failure)
        return JobResult(dataset, training, comparison, config)

    with _exclusive_access(job.out):
        return resume_or_start(job, dataset, train_and_publish, note)


def join_job(job: TrainingJob, dataset: Dataset, progress: Progress) -> None:
    """Takes part in the trainings of ``run_job`` in rank 0, as another rank. Keeps no file."""
    until_ms, is_resumed = broadcast((None, False))
    dataset = _with_events(job, dataset, until_ms)
    with tempfile.TemporaryDirectory(prefix="karec-rank-") as run:
        _train(job, dataset, Path(run), progress, resume=is_resumed)


def resume_or_start(
    job: TrainingJob, dataset: Dataset, train: Callable[[Dataset, bool], T], note: Callable[[str], object]
) -> T:
    """Returns ``train(dataset with events, is_resumed)``.

    An interrupted training in the run folder is resumed if the job says so; or, with a margin, if it would
    learn from the same data with the same settings. Otherwise it starts again.
    """
    is_automatic = job.margin is not None and job.choose_minutes is None
    interrupted = (
        UnfinishedRun.from_folder(job.run_folder, _now_ms()) if is_automatic or job.is_resumed else None
    )
    try:
        return _run_marked(job, dataset, train, interrupted)
    except CheckpointError as error:
        if interrupted is None or job.is_resumed or world() > 1:
            raise
        note(f"the interrupted training starts again: {error}")
    return _run_marked(job, dataset, train, None)


def _run_marked(
    job: TrainingJob, dataset: Dataset, train: Callable[[Dataset, bool], T], interrupted: UnfinishedRun | None
) -> T:
    """Runs ``train`` with the run folder marked as unfinished, so that the next job can resume it."""
    until_ms = None if interrupted is None else interrupted.logged_until_ms
    is_resumed = job.is_resumed or interrupted is not None
    if job.events is not None and until_ms is None:
        until_ms = newest_append_ms(job.events)
    broadcast((until_ms, is_resumed))
    dataset = _with_events(job, dataset, until_ms)
    if job.margin is None and job.events is None:
        return train(dataset, is_resumed)
    run = UnfinishedRun(_now_ms(), until_ms, fingerprint(dataset, job.with_options(job.settings)))
    if interrupted is not None:
        run = dataclasses.replace(run, begun_ms=interrupted.begun_ms)
        if interrupted != run:
            raise CheckpointError(
                f"{job.run_folder} is of {interrupted.fingerprint}; this training is of {run.fingerprint}"
            )
    with run.mark(job.run_folder):
        return train(dataset, is_resumed)


def _with_events(job: TrainingJob, dataset: Dataset, until_ms: int | None) -> Dataset:
    """Returns the data with the events of the job that were appended until ``until_ms``."""
    rows = _arm_rows(job)
    if job.events is None or until_ms is None:
        return dataset
    return with_events(
        dataset, job.events, until_ms, job.ids, tables_of=role_tables, arm_rows=rows, log=job.log
    )


def _train(job: TrainingJob, dataset: Dataset, run: Path, progress: Progress, *, resume: bool) -> TrainResult:
    version = next_version(job.bundles)
    if job.log is not None and job.continues_towers:
        served = ServedRun.from_folder(job.served_run or job.run_in_service())
        settings = job.with_options(job.settings or served.settings).replace(model_version=version)
        return train_from_log(
            dataset, served, job.log, settings, run, progress, version=job.log_version, resume=resume
        )
    if job.warm_days is not None:
        folder = job.served_run or job.run_in_service()
        tested = WarmStart.from_folder(tested_folder(folder), job.warm_days)
        starts = tested, WarmStart.from_folder(folder, job.warm_days)
        settings = job.with_options(starts[1].settings)
        settings = settings.replace(model_version=version, evaluation={"baselines": ()})
        return train(
            dataset, settings, run, progress, resume, log=job.log, log_version=job.log_version, starts=starts
        )
    settings = job.with_options(job.settings).replace(model_version=version)
    if job.is_quick:
        settings = settings.quick(len(dataset.split()[0]))
    choice = None
    if job.choose_minutes is not None:
        check_run(dataset, settings.resolve(dataset))
        folder = job.out / "choice"
        choice = search_settings(dataset, settings, folder, job.choose_minutes, progress, resume=resume)
        settings = choice.settings
        resume = resume and run.is_dir()
    return train(dataset, settings, run, progress, resume, choice, log=job.log, log_version=job.log_version)


def _arm_rows(job: TrainingJob) -> ArmRows | None:
    """Returns the selection of rows in the job's settings, or in those of the run that it continues.

    Raises ValueError if there is a selection but no rank log, which has the arms of requests.
    """
    settings = job.settings
    if settings is None and job.has_start:
        settings = ServedRun.from_folder(job.served_run or job.run_in_service()).settings
    rows = None if settings is None else settings.experiment.rows
    if rows is not None and job.log is None:
        raise ValueError("experiment.name in the settings needs --log: the rank log has the arms of requests")
    return rows


def _find_first_comparable_ms(job: TrainingJob, dataset: Dataset) -> int:
    """Returns the Unix ms from which neither the version in service nor the tested models learned a row.

    Without a run folder of the version in service, the time of its snapshot is used. Raises DataError if
    there is no later impression: the versions cannot be compared.
    """
    bundle = job.served_bundle
    assert bundle is not None
    run = job.run_of_version(bundle)
    facts = {} if run is None else read_run(run)
    known_ms = facts.get("trained_until_ms", Bundle.open(bundle, verify=False).snapshot.time_ms)
    since_ms = max(dataset.valid_until_ms, int(known_ms))
    if since_ms >= dataset.end_ms:
        raise DataError(
            f"{dataset.name}: the version in service has learned from all impressions, so no day is left to "
            "compare a new version on. Add newer events, or train without --publish-if-no-worse."
        )
    return since_ms


def _compare(
    job: TrainingJob, dataset: Dataset, training: TrainResult, progress: Progress
) -> dict[str, Any] | None:
    """Compares the tested models with the version in service and adds the result to run.json."""
    bundle = job.served_bundle
    if job.margin is None or bundle is None:
        return None
    facts = read_run(training.folder)
    settings = facts["settings"]
    comparison = compare_versions(
        dataset,
        tested_folder(training.folder),
        bundle,
        job.margin,
        since_ms=_find_first_comparable_ms(job, dataset),
        refresh_hours=settings["features"]["refresh_hours"],
        resamples=settings["evaluation"]["resamples"],
        seed=settings["seed"],
        threads=settings["run"]["threads"],
        progress=progress,
    )
    write_json(training.folder / "run.json", {**facts, "compared": comparison})
    return comparison


@contextmanager
def _exclusive_access(out: Path) -> Iterator[None]:
    """Creates ``out``, and removes it after an error if it is empty.

    Raises DataError if another training writes to ``out``.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        with lock_exclusively(out, wait=False) as is_locked:
            if not is_locked:
                raise DataError(
                    f"{out}: another karec train or karec erase runs there. Wait for its end, or name "
                    "another folder."
                )
            yield
    except BaseException:
        with suppress(OSError):  # a training that is refused before its start leaves no folder
            out.rmdir()
        raise


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
