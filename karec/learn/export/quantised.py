"""int8 models and their quality cost: 8-bit weights, activations quantized dynamically.

Matrix products and embedding tables are quantized. Sums, norms and attention stay float32, so a tower's
vectors keep length 1. Inputs and outputs equal those of the float32 model, which an int8 model can replace.
Activations are scaled by the largest value of a batch, so a row's result depends slightly on its batch.
"""

from __future__ import annotations

import logging
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
PRECISIONS = ("int8", "float32")  # the last is the reference
GOLDEN_ROWS = 8


def quantise(path: Path, out: Path) -> None:
    """Writes the float32 model ``path`` as int8 to ``out`` with the same inputs, outputs and metadata."""
    logging.getLogger().addFilter(_is_not_advice)
    try:
        quantize_dynamic(path, out, weight_type=QuantType.QInt8, per_channel=True)
    finally:
        logging.getLogger().removeFilter(_is_not_advice)


def export_run(dataset: Dataset, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Writes int8 models and golden files next to the models of a run folder, for hosts other than karec.

    Files: <model>.int8.onnx and <model>.golden of user tower, item tower and ranker. Returns {"quality":
    {"towers" and "ranker": ``evaluate.quality.quality_table`` of int8 and float32 on the test days;
    auc_behind of int8 is its loss, paired}, "bytes": {model: {precision: size}}}.
    """
    run, test = trained_run(dataset, folder)
    inputs = test.inputs(np.arange(min(GOLDEN_ROWS, len(test))))
    for name in MODELS:
        quantise(_file(folder, name, "float32"), _file(folder, name, "int8"))
        model = OnnxModel(_file(folder, name, "float32"))
        available = {**inputs, "dense": test.encoder.dense(inputs)}
        model_inputs = {key: available[key] for key in model.inputs}
        outputs = dict(zip(model.outputs, model.run(model_inputs, *model.outputs), strict=True))
        write_golden(folder / f"{name}.golden", model_inputs, outputs)
    logits: dict[str, dict[str, NDArray[Any]]] = {"towers": {}, "ranker": {}}
    for precision in PRECISIONS:
        user, item, ranker = (OnnxModel(_file(folder, name, precision), threads=0) for name in MODELS)
        logits["towers"][precision] = tower_logits(test, user, item, run["towers"])
        ranked = ranker_logits(test, ranker, progress)
        logits["ranker"][precision] = ranked[:, : len(test.encoder.tasks)]  # without auxiliary heads
    settings = run["settings"]
    return {
        "quality": {
            model: quality_table(
                {
                    precision: 1.0 / (1.0 + np.exp(-np.asarray(s, np.float64)))
                    for precision, s in by_precision.items()
                },
                test.exposures,
                test.encoder.tasks,
                dataset.valid_until_ms,
                settings["evaluation"]["resamples"],
                settings["seed"],
            )
            for model, by_precision in logits.items()
        },
        "bytes": {name: {p: _file(folder, name, p).stat().st_size for p in PRECISIONS} for name in MODELS},
    }


def _file(folder: Path, name: str, precision: str) -> Path:
    return folder / (f"{name}.onnx" if precision == "float32" else f"{name}.{precision}.onnx")


def _is_not_advice(record: logging.LogRecord) -> bool:
    """Returns False for the quantizer's advice to pre-process the model, which these graphs do not need."""
    return "pre-processing" not in record.getMessage()
