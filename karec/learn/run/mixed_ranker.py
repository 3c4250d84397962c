"""MMoE and LightGBM as one ranker: the calibrated weighted mean of their logits, in one ONNX graph.

For each task, on validation days:

    m̂ = a_m·m + b_m,  l̂ = a_l·l + b_l        each part calibrated (``nets.calibration``)
    s = a·(w·m̂ + (1 − w)·l̂) + b              w in {0, 0.05, … 1} with the smallest cross-entropy of s,
                                               lowest first

So s is again one scale per part and one bias. Auxiliary heads of the MMoE stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from karec.files import write_text_aside
from karec.learn.export.mixture import Mixture, mixed_onnx
from karec.learn.export.onnx_export import ExportError, write_onnx
from karec.learn.fit.prepare import FitChoice, TrainingData
from karec.learn.nets.calibration import fit_calibration
from karec.learn.run.lightgbm import dense_matrix
from karec.models.onnx_model import OnnxModel
from karec.samples.replay import ranker_logits
from karec.times import Progress

PARTS = ("mmoe", "lightgbm")
SHARES = np.linspace(0.0, 1.0, 21)
TOLERANCE = 1e-4  # between the graph's logits and the mean of its parts' logits
CHECKED_ROWS = 64


def part_path(path: Path, kind: str) -> Path:
    """Returns the path of the part ``kind`` of the ranker at ``path``: ranker_mmoe.onnx for ranker.onnx."""
    return path.with_name(f"{path.stem}_{kind}{path.suffix}")


def write_mixed_ranker(
    prepared: TrainingData, path: Path, model_version: int, progress: Progress | None = None
) -> Mixture:
    """Fits the mixture of the exported parts of ``path`` on validation days and writes it to ``path``.

    A final fit has the mixture of the tested model.
    Also writes the fitted weights to ``<stem>_mixture.json``. Raises ExportError if ONNX Runtime's logits of
    the graph differ from the mean of its parts by more than 1e-4.
    """
    first, second = (part_path(path, kind) for kind in PARTS)
    mmoe_logits = ranker_logits(prepared.valid, OnnxModel(first), progress)
    dense = dense_matrix(prepared.encoder, prepared.valid_batches)
    tree_logits = OnnxModel(second).run({"dense": dense}, "logits")[0]
    choice = prepared.final_choice("both")
    mixture = choice.mixture if choice else fit_mixture(mmoe_logits, tree_logits, prepared.valid.labels)
    assert mixture is not None
    prepared.choices["both"] = FitChoice(mixture=mixture)
    tasks = OnnxModel(first).tasks
    proto = mixed_onnx(onnx.load(first), onnx.load(second), mixture)
    write_onnx(proto, path, kind="ranker", tasks=tasks, model_version=model_version)
    write_text_aside(
        path.with_name(f"{path.stem}_mixture.json"), json.dumps(_facts(mixture, tasks), indent=1)
    )
    checked_rows = prepared.valid.take(np.arange(min(CHECKED_ROWS, len(prepared.valid))))
    logits = ranker_logits(checked_rows, OnnxModel(path))
    difference = float(
        np.abs(logits - mixture(mmoe_logits[: len(checked_rows)], tree_logits[: len(checked_rows)])).max(
            initial=0.0
        )
    )
    if not difference <= TOLERANCE:
        raise ExportError(f"{path}: logits differ from the parts' mean by {difference:.2e} > {TOLERANCE}")
    return mixture


def fit_mixture(first: NDArray[Any], second: NDArray[Any], labels: NDArray[Any]) -> Mixture:
    """Returns the mixture of logits ``first (N, H)`` and ``second (N, T)`` for ``labels (N, T)``."""
    n_tasks = labels.shape[1]
    mixture = Mixture(
        np.ones(first.shape[1], np.float32),
        np.zeros(n_tasks, np.float32),
        np.zeros(first.shape[1], np.float32),
        np.ones(n_tasks, np.float32),
    )
    for t in range(n_tasks):
        y = labels[:, t].astype(np.float64)
        first_part, other_part = _calibrated(first[:, t], y), _calibrated(second[:, t], y)
        best = min((_mixed(share, first_part, other_part, y) for share in SHARES), key=lambda mixed: mixed[0])
        _, mixture.share[t], mixture.first[t], mixture.second[t], mixture.bias[t] = best
    return mixture


Part = tuple[NDArray[Any], float, float]  # logits (N,), scale, bias


def _calibrated(logits: NDArray[Any], y: NDArray[Any]) -> Part:
    s = logits.astype(np.float64)
    scale, bias = fit_calibration(s[:, None], y[:, None])
    return s, float(scale[0]), float(bias[0])


def _mixed(
    share: float, first: Part, second: Part, y: NDArray[Any]
) -> tuple[float, float, float, float, float]:
    """Returns (cross-entropy, share, first scale, second scale, bias) with this share, calibrated again."""
    scales = share * first[1], (1 - share) * second[1]
    shift = share * first[2] + (1 - share) * second[2]
    mixed = scales[0] * first[0] + scales[1] * second[0] + shift
    mixed, scale, bias = _calibrated(mixed, y)
    s = scale * mixed + bias
    loss = float((np.logaddexp(0.0, s) - y * s).mean()) if len(y) else 0.0
    return loss, share, scale * scales[0], scale * scales[1], scale * shift + bias


def _facts(mixture: Mixture, tasks: Sequence[str]) -> dict[str, object]:
    rows = zip(tasks, mixture.first, mixture.second, mixture.bias, mixture.share, strict=False)
    by_task = {
        task: {
            **{kind: round(float(scale), 6) for kind, scale in zip(PARTS, scales, strict=True)},
            "bias": round(float(bias), 6),
            "share_of_mmoe": round(float(share), 6),
        }
        for task, *scales, bias, share in rows
    }
    return {"format": 1, "tasks": by_task}
