"""Models of an ablation: each row and seed is trained when its scores are first requested, and stored.

cells/<row>-<seed>.npz    a model's scores and cost; a kill loses only the model in training
models/<row>-<seed>.onnx  a ranker
logs/teacher-<seed>/      rank log of the teacher on the training days; it has the file COMPLETE at the end

Shared parts are made once: a seed's ranker, its log, its lists.
"""

from __future__ import annotations

import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.agreement import RankedPools
from karec.evaluate.metrics.platt import fit_calibration
from karec.files import file_aside
from karec.lab.studies.ablation.inputs import AblationInputs
from karec.lab.studies.ablation.table import ModelScores
from karec.learn.distil.distillation import fit_towers
from karec.learn.distil.targets import Targets
from karec.learn.distil.tower_logits import logits_of_request
from karec.learn.fit.predictions import predict
from karec.learn.nets.towers import Towers
from karec.learn.run.first_log import rank_validation_pools, write_first_log
from karec.learn.run.rankers import train_ranker
from karec.learn.settings.settings import TrainSettings
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.lists import LoggedLists, read_lists
from karec.samples.replay import pool_logits, ranker_logits
from karec.samples.soft_labels import SoftLabels, read_soft_labels
from karec.samples.threads import map_in_order

COMPLETE = "complete"
BATCH = 2000  # works of the library that the ranker scores at once
RANKERS = ("lr", "lightgbm", "mmoe", "teacher")


class AblationModels:
    """The models of one ablation, in ``folder``. One thread calls."""

    def __init__(self, inputs: AblationInputs, settings: TrainSettings, folder: Path) -> None:
        self._inputs = inputs
        self._settings = settings
        self._folder = folder
        self._fusion = ObjectiveWeights(settings.fusion)
        # Only the log of the last seed is kept: rows are in the order of seeds.
        self._log: tuple[int, SoftLabels, LoggedLists, RankedPools | None] | None = None

    def scores(self, row: str, seed: int) -> ModelScores:
        """Returns the row's scores; trains it if the folder does not have them."""
        with np.load(self._file(row, seed)) as cell:
            return ModelScores(
                logits=cell["logits"],
                pools=cell["pools"],
                seconds=float(cell["seconds"]),
                peak_gib=float(cell["peak_gib"]),
                library=cell.get("library"),
            )

    def _file(self, row: str, seed: int) -> Path:
        row = "teacher" if row == self._settings.ranker.kind else row  # the same model, trained once
        path = self._folder / "cells" / f"{row}-{seed}.npz"
        if not path.exists():
            _reset_peak()
            start = time.perf_counter()
            arrays = self._train(row, self._settings.replace(seed=seed))
            arrays |= {"seconds": np.array(time.perf_counter() - start), "peak_gib": np.array(_peak_gib())}
            with file_aside(path) as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
        return path

    def _train(self, row: str, settings: TrainSettings) -> dict[str, NDArray[Any]]:
        return self._ranker(row, settings) if row in RANKERS else self._towers(row, settings)

    def _ranker(self, row: str, settings: TrainSettings) -> dict[str, NDArray[Any]]:
        inputs, path = self._inputs, self._onnx(row, settings.seed)
        path.parent.mkdir(exist_ok=True)
        kind = settings.ranker.kind if row == "teacher" else row
        train_ranker(kind, inputs.prepared, settings, path, inputs.progress)
        ranker = OnnxModel(path, threads=settings.run.threads)
        pools = [
            self._fusion(pool_logits(inputs.measured, example, works, ranker), ranker.tasks)
            for example, works in zip(inputs.pool_rows.tolist(), inputs.pool_works, strict=True)
        ]
        logits = ranker_logits(inputs.measured, ranker, inputs.progress)[:, : len(inputs.dataset.tasks)]
        arrays = {"logits": logits, "pools": np.stack(pools)}
        if row == "teacher" and len(inputs.library_rows):
            arrays["library"] = np.stack(
                [self._score_library(ranker, example) for example in inputs.library_rows.tolist()]
            )
        return arrays

    def _score_library(self, ranker: OnnxModel, example: int) -> NDArray[Any]:
        """Returns (L,) fused scores of the library by the ranker, for the user of an example."""
        inputs, encoder = self._inputs, self._inputs.prepared.encoder

        def score(begin: int) -> NDArray[Any]:
            batch = inputs.library_pool(example, slice(begin, begin + BATCH))
            if "dense" in ranker.inputs:
                batch["dense"] = encoder.dense(batch)
            return self._fusion(ranker.run(batch, "logits")[0], ranker.tasks)

        parts = map_in_order(score, range(0, len(inputs.library), BATCH), self._settings.run.threads)
        return np.concatenate(list(parts)).astype(np.float32)

    def _towers(self, row: str, settings: TrainSettings) -> dict[str, NDArray[Any]]:
        soft, lists, pools = self._read_log(settings.seed)
        settings = settings.with_recipe(row)
        model, _ = fit_towers(
            self._inputs.prepared,
            Targets.from_logs(soft, lists),
            lists,
            settings,
            self._inputs.progress,
            pools=pools if settings.distil.has_teacher else None,
        )
        return self._score_with_towers(model)

    def _score_with_towers(self, model: Towers) -> dict[str, NDArray[Any]]:
        inputs, prepared = self._inputs, self._inputs.prepared
        scale, bias = fit_calibration(predict(model, prepared.valid_batches)[:, 1:], prepared.valid.labels)
        logits = predict(model, inputs.batches)[:, 1:] * scale + bias
        device = inputs.batches.device

        pools = [
            logits_of_request(model, inputs.measured.pool(row, works), device)[:, 0]
            for row, works in zip(inputs.pool_rows.tolist(), inputs.pool_works, strict=True)
        ]
        library = np.empty((len(inputs.library_rows), len(inputs.library)), np.float32)
        for scores, row in zip(library, inputs.library_rows.tolist(), strict=True):
            scores[:] = logits_of_request(model, inputs.library_pool(row), device)[:, 0]
        return {"logits": logits, "pools": np.stack(pools), "library": library}

    def _read_log(self, seed: int) -> tuple[SoftLabels, LoggedLists, RankedPools | None]:
        """Returns the log of the teacher of ``seed`` on the training days."""
        if self._log is None or self._log[0] != seed:
            self._file("teacher", seed)
            settings, prepared = self._settings.replace(seed=seed), self._inputs.prepared
            train, tasks, ranker = prepared.train, self._inputs.dataset.tasks, self._onnx("teacher", seed)
            folder = self._folder / "logs" / f"teacher-{seed}"
            if not (folder / COMPLETE).exists():
                write_first_log(train, ranker, settings, folder, self._inputs.progress, pools=True)
                (folder / COMPLETE).touch()
            soft = read_soft_labels(train.exposures, folder, tasks)
            lists = read_lists(train, folder, tasks, settings.distil.list_works, settings.seed)
            pools = rank_validation_pools(prepared, settings, ranker, self._inputs.progress)
            self._log = seed, soft, lists, pools
        return self._log[1:]

    def _onnx(self, row: str, seed: int) -> Path:
        return self._folder / "models" / f"{row}-{seed}.onnx"


def _reset_peak() -> None:
    """Sets the peak to the memory that the process has now. Only Linux can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_gib() -> float:
    """Returns the peak memory since ``_reset_peak``; on other systems than Linux since the start."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20
