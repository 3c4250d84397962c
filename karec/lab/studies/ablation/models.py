"""Models of an ablation: each row and seed is trained when its scores are first requested, and stored.

cells/<row>-<seed>.npz    a model's scores and cost; a kill loses only the model in training
models/<row>-<seed>.onnx  a ranker
logs/<row>-<seed>/        rank log of a teaching ranker on the training days; complete if it has the file
                          `whole`

Shared parts are made once: a seed's ranker, its log, its lists.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from karec.files import file_aside
from karec.lab.studies.ablation.inputs import AblationInputs
from karec.lab.studies.ablation.table import ModelScores
from karec.learn.distil.distillation import fit_towers
from karec.learn.distil.targets import Targets
from karec.learn.distil.tower_logits import library_vectors, list_logits, user_side
from karec.learn.fit.predictions import predict
from karec.learn.nets.calibration import fit_calibration
from karec.learn.nets.towers import Towers
from karec.learn.run.first_log import write_first_log
from karec.learn.run.mixed_ranker import PARTS, part_path
from karec.learn.run.rankers import train_ranker
from karec.learn.second_process import peak_gib, reset_peak
from karec.learn.settings.settings import TrainSettings
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.lists import LoggedLists, read_lists
from karec.samples.rate_baselines import popularity_logits, rate_logits
from karec.samples.replay import pool_logits, ranker_logits
from karec.samples.soft_labels import SoftLabels, read_soft_labels
from karec.samples.threads import map_in_order

BATCH = 2000  # works of the library that the ranker scores at once
TOP, TOP_OF = 10, 50_000  # size of a user's top, and of the part of the library it is taken from
RATES = {"popularity": popularity_logits, "rates": rate_logits}
KINDS = ("lr", "lightgbm", "mmoe", "both")
RANKERS = (*KINDS, "teacher", "peer-full", "peer-static")


class AblationModels:
    def __init__(self, inputs: AblationInputs, settings: TrainSettings, folder: Path) -> None:
        self._inputs, self._settings, self._folder = inputs, settings, folder
        self._fusion = ObjectiveWeights(settings.fusion)
        # Only the last log is kept: rows are in the order of seeds.
        self._log: tuple[str, SoftLabels, LoggedLists] | None = None

    def scores(self, row: str, seed: int) -> ModelScores:
        """Returns the row's scores; trains it if the folder does not have them."""
        with np.load(self._file(row, seed)) as kept:
            whole, tops = (kept.get(name) for name in ("whole", "tops"))
            cost = float(kept["seconds"]), float(kept["peak_gib"])
            return ModelScores(kept["logits"], kept["pools"], *cost, whole, tops)

    def _file(self, row: str, seed: int) -> Path:
        row = "teacher" if row == self._settings.ranker.kind else row  # the same model, trained once
        path = self._folder / "cells" / f"{row}-{seed}.npz"
        if not path.exists():
            reset_peak()
            start = time.perf_counter()
            arrays = self._train(row, self._settings.replace(seed=seed))
            arrays |= {"seconds": np.array(time.perf_counter() - start), "peak_gib": np.array(peak_gib())}
            with file_aside(path) as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
        return path

    def _train(self, row: str, settings: TrainSettings) -> dict[str, NDArray[Any]]:
        if row in RATES:
            return self._rates(row)
        return self._ranker(row, settings) if row in RANKERS else self._towers(row, settings)

    def _rates(self, row: str) -> dict[str, NDArray[Any]]:
        measured, works = self._inputs.measured, self._inputs.pool_works
        of = np.repeat(self._inputs.pool_rows, works.shape[1])
        pools = self._fusion(RATES[row](measured.take(of), works.ravel()), self._inputs.dataset.tasks)
        return {"logits": RATES[row](measured), "pools": pools.reshape(works.shape)}

    def _ranker(self, row: str, settings: TrainSettings) -> dict[str, NDArray[Any]]:
        if row.startswith("peer-"):
            settings = settings.replace(
                distil={"ranker_features": "towers"}, towers={"kind": _towers_of(row)}
            )
        inputs, path = self._inputs, self._onnx(row, settings.seed)
        path.parent.mkdir(exist_ok=True)
        kind = "mmoe" if row.startswith("peer-") else settings.ranker.kind if row == "teacher" else row
        if row in PARTS and settings.ranker.kind == "both":  # a part of the ranker that is trained already
            self._file("teacher", settings.seed)
            path = part_path(self._onnx("teacher", settings.seed), row)
        else:
            train_ranker(kind, inputs.prepared, settings, path, inputs.progress)
        ranker = OnnxModel(path, threads=settings.run.threads)
        pools = [
            self._fusion(pool_logits(inputs.measured, example, works, ranker), ranker.tasks)
            for example, works in zip(inputs.pool_rows.tolist(), inputs.pool_works, strict=True)
        ]
        logits = ranker_logits(inputs.measured, ranker, inputs.progress)[:, : len(inputs.dataset.tasks)]
        arrays = {"logits": logits, "pools": np.stack(pools)}
        if row == "teacher" and len(inputs.whole_rows):
            arrays["whole"] = np.stack(
                [self._whole(ranker, example) for example in inputs.whole_rows.tolist()]
            )
        return arrays

    def _whole(self, ranker: OnnxModel, example: int) -> NDArray[Any]:
        """Returns (L,) fused scores of the library by the ranker, for the user of an example."""
        inputs, encoder = self._inputs, self._inputs.prepared.encoder
        user, items = inputs.measured.users(np.array([example])), inputs.library_items

        def scored(begin: int) -> NDArray[Any]:
            batch = {name: values[begin : begin + BATCH] for name, values in items.items()}
            batch_inputs = {**user, **batch, **encoder.encode_crosses(user, batch)}
            if "dense" in ranker.inputs:
                batch_inputs["dense"] = encoder.dense(batch_inputs)
            return self._fusion(ranker.run(batch_inputs, "logits")[0], ranker.tasks)

        parts = map_in_order(scored, range(0, len(inputs.library), BATCH), self._settings.run.threads)
        return np.concatenate(list(parts)).astype(np.float32)

    def _towers(self, row: str, settings: TrainSettings) -> dict[str, NDArray[Any]]:
        recipe, towers, seed = row.rsplit("-", 1)[0], _towers_of(row), settings.seed
        settings = settings.replace(towers={"kind": towers}).with_recipe(recipe)
        teacher = f"peer-{towers}" if settings.distil.ranker_features == "towers" else "teacher"
        soft, lists = self._logged(teacher, seed)
        targets, inputs = Targets.from_logs(soft, lists), self._inputs
        model, _ = fit_towers(inputs.prepared, targets, lists, settings, inputs.progress)
        return self._scored_by(model)

    def _scored_by(self, model: Towers) -> dict[str, NDArray[Any]]:
        inputs, prepared = self._inputs, self._inputs.prepared
        scale, bias = fit_calibration(predict(model, prepared.valid_batches)[:, 1:], prepared.valid.labels)
        logits = predict(model, inputs.batches)[:, 1:] * scale + bias
        users = user_side(model, inputs.batches, inputs.pool_rows)
        pools = list_logits(model, users, prepared.train_batches, inputs.pool_works, inputs.pool_numbers)
        whole = self._whole_orders(users.user_vector.cpu().numpy(), model)
        return {"logits": logits, "pools": pools[..., 0], **whole}

    def _whole_orders(self, users: NDArray[Any], model: Towers) -> dict[str, NDArray[Any]]:
        """Returns ``whole`` (W, L): inner products with the library; ``tops`` (P, TOP): places of each user's
        best.

        ``users`` (P, D): vectors of the pools' users.
        """
        inputs = self._inputs
        works = library_vectors(model, inputs.prepared.train_batches, inputs.library_items)
        few = works[:TOP_OF]
        tops = np.stack([np.argsort(-(few @ user), kind="stable")[:TOP] for user in users])
        places = np.searchsorted(inputs.pool_rows, inputs.whole_rows)
        return {"tops": tops, "whole": users[places] @ works.T}

    def _logged(self, teacher: str, seed: int) -> tuple[SoftLabels, LoggedLists]:
        """Returns the log of the ranker ``teacher`` of ``seed`` on the training days."""
        key = f"{teacher}-{seed}"
        if self._log is None or self._log[0] != key:
            self._file(teacher, seed)
            settings, train, tasks = self._settings, self._inputs.prepared.train, self._inputs.dataset.tasks
            folder = self._folder / "logs" / key
            if not (folder / "whole").exists():
                ranker = self._onnx(teacher, seed)
                write_first_log(train, ranker, settings, folder, self._inputs.progress, pools=True)
                (folder / "whole").touch()
            soft = read_soft_labels(train.exposures, folder, tasks)
            self._log = key, soft, read_lists(train, folder, tasks, settings.distil.list_works, settings.seed)
        return self._log[1:]

    def _onnx(self, row: str, seed: int) -> Path:
        return self._folder / "models" / f"{row}-{seed}.onnx"


def _towers_of(row: str) -> Literal["full", "static"]:
    return "static" if row.endswith("-static") else "full"
