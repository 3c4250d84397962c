"""Models in int8, and what that costs: weights as 8-bit integers, activations quantised dynamically.

Matrix products and embedding tables are quantised; sums, norms and attention stay in float32, so that a
tower's vectors keep length 1. Inputs and outputs are those of the float32 model, which an int8 model can
replace wherever it serves. Activations are scaled by the largest of a batch, so a row's result depends
slightly on its batch.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from karec.catalog.dataset import Dataset
from karec.evaluate.quality import quality_table, tower_logits, trained_run
from karec.learn.export.golden import write_golden
from karec.models.onnx_model import OnnxModel
from karec.samples.replay import ranker_logits
from karec.times import Progress

MODELS = ("user_tower", "item_tower", "ranker")
PRECISIONS = ("int8", "float32")  # the last is what the others are compared with
GOLDEN_ROWS = 8


def quantise(path: Path, out: Path) -> None:
    """Write the float32 model ``path`` as int8 to ``out``; inputs, outputs and metadata stay."""
    logging.getLogger().addFilter(_not_of_the_quantiser)
    try:
        quantize_dynamic(path, out, weight_type=QuantType.QInt8, per_channel=True)
    finally:
        logging.getLogger().removeFilter(_not_of_the_quantiser)


def export_run(dataset: Dataset, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """For hosts other than karec: int8 variants and golden files beside the models of a run folder, and their
    cost.

    Writes <model>.int8.onnx and <model>.golden for the user tower, the item tower and the ranker. Returns
    {"quality": {"towers" and "ranker": ``evaluate.quality.quality_table`` of int8 and float32 on the test
    days, the former's auc_behind being the loss, paired}, "bytes": {model: {precision: size}}}.
    """
    run, test = trained_run(dataset, folder)
    inputs = test.inputs(np.arange(min(GOLDEN_ROWS, len(test))))
    for name in MODELS:
        quantise(_file(folder, name, "float32"), _file(folder, name, "int8"))
        model = OnnxModel(_file(folder, name, "float32"))
        fed = _fed(model, {**inputs, "dense": test.encoder.dense(inputs)})
        write_golden(
            folder / f"{name}.golden",
            fed,
            dict(zip(model.outputs, model.run(fed, *model.outputs), strict=True)),
        )
    logits: dict[str, dict[str, NDArray[Any]]] = {"towers": {}, "ranker": {}}
    for precision in PRECISIONS:
        user, item, ranker = (OnnxModel(_file(folder, name, precision), threads=0) for name in MODELS)
        logits["towers"][precision] = tower_logits(test, user, item, run["towers"])
        ranked = ranker_logits(test, ranker, progress)
        # what it learned besides comes after
        logits["ranker"][precision] = ranked[:, : len(test.encoder.tasks)]
    settings = run["settings"]
    return {
        "quality": {
            what: quality_table(
                {
                    precision: 1.0 / (1.0 + np.exp(-np.asarray(s, np.float64)))
                    for precision, s in each.items()
                },
                test.exposures,
                test.encoder.tasks,
                dataset.valid_until_ms,
                settings["evaluation"]["resamples"],
                settings["seed"],
            )
            for what, each in logits.items()
        },
        "bytes": {name: {p: _file(folder, name, p).stat().st_size for p in PRECISIONS} for name in MODELS},
    }


def _file(folder: Path, name: str, precision: str) -> Path:
    return folder / (f"{name}.onnx" if precision == "float32" else f"{name}.{precision}.onnx")


def _fed(model: OnnxModel, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: inputs[name] for name in model.inputs}


def _not_of_the_quantiser(record: logging.LogRecord) -> bool:
    """False for the quantiser's advice on the root logger to pre-process the model, which these graphs do not
    need."""
    return "pre-processing" not in record.getMessage()
