"""A training: examples, ranker, rank log, towers that learn from the log, export, quality.

The run folder then has encoder.npz, ranker.onnx, user_tower.onnx, item_tower.onnx, baseline_<name>.onnx,
rank_log/, checkpoints/, run.json (settings, model version, notes of the data, scales and biases of the
towers, epochs and curves, seconds) and quality.json. A killed run resumes from its checkpoints and ends with
the same models.

With ``[run] final_fit`` all of this is in the folder ``tested`` of the run folder. Then encoder, ranker and
towers are fitted again on the whole log, into the run folder itself: the epochs and the calibration are those
of the tested models. No row is left to measure the second models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from karec.catalog.dataset import Dataset
from karec.evaluate.model_pages import FACTORS, RANKER, TOWERS, model_pages
from karec.evaluate.pages import DECIDING, validation_requests
from karec.evaluate.quality import TESTED, evaluate_run
from karec.learn._torch import Tensor, torch_threads
from karec.learn.distil.distillation import train_towers
from karec.learn.distributed.ranks import rank, require_equal
from karec.learn.fit.item_types import note_on_types
from karec.learn.fit.loop import Epoch, FitState
from karec.learn.fit.prepare import TrainingData, prepare, prepare_whole_log
from karec.learn.fit.warm_start import WarmStart
from karec.learn.run.first_log import rank_validation_pools, write_and_read_first_log
from karec.learn.run.rankers import train_ranker
from karec.learn.run.run_folder import Checkpoints, Clock, make_folder, remove_rows, run_facts, write_json
from karec.learn.run.search import Choice
from karec.learn.run.served_pools import describe_pools, read_served_pools, with_served_pools
from karec.learn.settings.check import check_run, fingerprint
from karec.learn.settings.settings import TrainSettings
from karec.logs.parts import LogFolder
from karec.samples.lists import LoggedLists
from karec.samples.served_log import ServedLog
from karec.samples.soft_labels import SoftLabels
from karec.times import Progress


@dataclass(frozen=True, eq=False)
class TrainResult:
    """Result of a training.

    folder         the run folder
    quality        of the tested models on the test days
    epochs         by step
    seconds        by step
    notes          on the training, in addition to those of the data
    """

    folder: Path
    quality: dict[str, Any]
    epochs: dict[str, list[Epoch]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def train(
    dataset: Dataset,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None = None,
    resume: bool = False,
    choice: Choice | None = None,
    *,
    evaluate: bool = True,
    fit_until_ms: int | None = None,
    log: LogFolder | None = None,
    log_version: int | None = None,
    starts: tuple[WarmStart, WarmStart] | None = None,
) -> TrainResult:
    """Trains everything into the run folder ``out`` and measures quality on the test days.

    With ``final_fit``, the models in ``out`` are then fitted on the whole log, and ``out``/tested has the
    measured ones. Files of an earlier run are replaced. With ``resume``, training continues from its
    checkpoints.

    Args
      choice        how the settings were chosen, for run.json
      evaluate      False: skip the quality measurement
      fit_until_ms  the final fit learns from earlier events only; None: from the whole log
      log           rank log of a service; the new ranker scores its pools for the towers (``served_pools``)
      log_version   use only log rows of this model version
      starts        where the tested models and those of the final fit start; None: from scratch

    Raises before training
      ConfigError, DataError, MissingExtra   the errors of ``check_run``
      ValueError                             a label that is neither 0 nor 1
      DataError                              ``starts`` of other columns, or without newer rows
      LogSchemaError, DataError              a ``log`` without usable rows
      CheckpointError                        with ``resume``: other settings or data, or no run
    """
    start, final_start = (
        (start.with_codes(dataset.snapshot.labels) for start in starts) if starts else (None, None)
    )
    settings, recipe = settings.resolve_with_rules(dataset)
    check_run(dataset, settings)
    if start is not None:
        start.check(dataset)
    served = None if log is None else read_served_pools(log, dataset, settings, log_version)
    make_folder(out, resume)
    tested = out / TESTED if settings.run.final_fit else out
    tested.mkdir(exist_ok=True)
    identity = fingerprint(dataset, settings) + ("" if served is None else f", {describe_pools(served)}")
    identity += "" if start is None else f", warm start {start.identity}"
    require_equal("settings or data", identity)
    checkpoints = Checkpoints(tested, settings.run.checkpoint_steps, identity)
    if resume:
        for name in ("ranker", "towers"):
            checkpoints.make(name).load()  # raises for other settings before a file of the run changes
    clock = Clock()
    with torch_threads(settings.run.threads):
        prepared = prepare(dataset, settings, tested, progress, start)
        notes = (*prepared.notes(settings.features.min_count), *note_on_types(dataset, prepared.encoder))
        notes += (() if served is None else served.notes) + (
            () if start is None else (start.describe(prepared.encoder),)
        )
        clock.lap("examples")
        training = _Training(dataset, prepared, served, settings, tested, checkpoints, progress, start)
        runs, heads = training.fit_models(clock)
        ranked_by = _page_order(dataset, settings, tested) if rank() == 0 else "ranker"
        facts = run_facts(
            dataset, settings, prepared.encoder, heads, runs, notes, recipe=recipe, ranked_by=ranked_by
        )
        facts |= {} if start is None else {"warm_start": start.facts}
        if choice is not None:
            facts |= {"choice": choice.to_dict(), "recipe": [rule._asdict() for rule in choice.rules]}
        remove_rows(tested)
        write_json(tested / "run.json", {**facts, "seconds": clock.seconds})
        quality = evaluate_run(dataset, tested, progress) if evaluate and rank() == 0 else {}
        clock.lap("evaluation")
        write_json(tested / "run.json", {**facts, "seconds": clock.seconds})
        if settings.run.final_fit:
            end_ms = dataset.end_ms if fit_until_ms is None else fit_until_ms
            rows = dataset.exposures.take(dataset.exposures.time_ms < end_ms)
            whole = replace(dataset, exposures=rows, train_until_ms=end_ms, valid_until_ms=end_ms)
            if log is not None:
                served = read_served_pools(log, whole, settings, log_version)
            prepared = prepare_whole_log(whole, settings, out, prepared.choices, progress, final_start)
            checkpoints = Checkpoints(out, settings.run.checkpoint_steps, f"final fit, {identity}")
            training = _Training(whole, prepared, served, settings, out, checkpoints, progress, final_start)
            facts["towers"] = training.fit_models(Clock())[1]
            facts |= {"inputs": prepared.encoder.descriptions, "tested": TESTED}
            facts |= {"learned_until_ms": end_ms, "trained_until_ms": end_ms}
            clock.lap("final fit")
            remove_rows(out)
            write_json(out / "run.json", {**facts, "seconds": clock.seconds})
    epochs = {name: state.history for name, state in runs.items()}
    return TrainResult(out, quality, epochs, clock.seconds, notes)


@dataclass(frozen=True, eq=False)
class _Training:
    """Trains the models of one folder: tested ones, or those of the final fit."""

    dataset: Dataset
    prepared: TrainingData
    served: ServedLog | None
    settings: TrainSettings
    out: Path
    checkpoints: Checkpoints
    progress: Progress | None
    start: WarmStart | None

    def fit_models(self, clock: Clock) -> tuple[dict[str, FitState], dict[str, dict[str, float]]]:
        """Writes ranker, baselines, rank log and towers. Returns the trainings and the towers' heads."""
        prepared, settings, out, progress = self.prepared, self.settings, self.out, self.progress
        settings = settings if self.start is None else self.start.with_epochs(settings)
        kind: str = settings.ranker.kind
        checkpoint, weights = self.checkpoints.make("ranker"), self._start_weights("ranker")
        state = train_ranker(kind, prepared, settings, out / "ranker.onnx", progress, checkpoint, weights)
        runs = {kind: state}
        clock.lap("ranker")
        baselines = [name for name in settings.evaluation.baselines if name != kind]
        for name in () if prepared.is_final else baselines:
            path, checkpoint = out / f"baseline_{name}.onnx", self.checkpoints.make(f"baseline_{name}")
            runs[name] = train_ranker(name, prepared, settings, path, progress, checkpoint)
        clock.lap("baselines")
        tower_data, soft, lists = self._write_and_read_log()
        clock.lap("rank log")
        pools = None  # they choose among epochs
        if settings.towers.epochs > 1:
            pools = rank_validation_pools(prepared, settings, out / "ranker.onnx", progress)
        checkpoint, weights = self.checkpoints.make("towers"), self._start_weights("towers")
        runs["towers"], heads = train_towers(
            tower_data, soft, lists, settings, out, progress, checkpoint, weights, pools=pools
        )
        clock.lap("towers")
        return runs, heads

    def _start_weights(self, model: str) -> Mapping[str, Tensor] | None:
        return None if self.start is None else self.start.weights(model, self.prepared.encoder)

    def _write_and_read_log(self) -> tuple[TrainingData, SoftLabels, LoggedLists | None]:
        """Writes the ranker's log of the training days to out/rank_log. Returns inputs of the towers.

        That includes the pools of ``served``, if there are any.
        """
        prepared, settings, out, served = self.prepared, self.settings, self.out, self.served
        soft, lists = write_and_read_first_log(prepared, settings, out, self.progress)
        if served is None or lists is None:
            return prepared, soft, lists
        return with_served_pools(self.dataset, prepared, soft, lists, served, settings, out, self.progress)


def _page_order(dataset: Dataset, settings: TrainSettings, folder: Path) -> str:
    """Returns which of ranker, towers and ALS factors orders pages best on the validation days, by NDCG.

    With impressions it is the ranker. Held-out items are then those that were shown, and NDCG favours a model
    that predicts which items are shown. In docs/notebook/2026-11-30-own-data.md, ALS has the higher NDCG and
    a fifth fewer true clicks.
    """
    requests = validation_requests(dataset, settings.seed)
    if dataset.has_impressions or not len(requests):
        return "ranker"
    pages = model_pages(dataset, requests, folder, settings.to_dict())
    rows = {"ranker": RANKER, "towers": TOWERS, "als": FACTORS}
    ndcg = {
        order: requests.measure(pages[row])[DECIDING].mean() for order, row in rows.items() if row in pages
    }
    return max(ndcg, key=lambda order: float(ndcg[order]))
