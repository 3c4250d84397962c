"""The MMoE and LightGBM as one ranker: the calibrated mean of their logits, in one ONNX graph.

For each task, on validation days,

    m̂ = a_m·m + b_m,  l̂ = a_l·l + b_l        each part calibrated (``nets.calibration``)
    s = a·(w·m̂ + (1 − w)·l̂) + b              w of 0, 0.05, … 1 with the least cross-entropy of s, the lowest
                                               of equals

so that s is again a scale for each part and one bias. What the MMoE alone predicts besides the tasks stays as
it is.
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
from karec.learn.fit.prepare import TrainingData
from karec.learn.nets.calibration import fit_calibration
from karec.learn.run.lightgbm import dense_matrix
from karec.models.onnx_model import OnnxModel
from karec.samples.replay import ranker_logits
from karec.times import Progress

PARTS = ("mmoe", "lightgbm")
SHARES = np.linspace(0.0, 1.0, 21)
TOLERANCE = 1e-4  # of the one graph against the mean of its parts' logits
CHECKED_ROWS = 64


def part_path(path: Path, kind: str) -> Path:
    """Where the part ``kind`` of the ranker at ``path`` lies: ranker.onnx has ranker_mmoe.onnx beside it."""
    return path.with_name(f"{path.stem}_{kind}{path.suffix}")


def write_both(
    prepared: TrainingData, path: Path, model_version: int, progress: Progress | None = None
) -> Mixture:
    """Mix the exported parts that lie beside ``path`` as they do best on validation days, and write the
    mixture there.

    Beside it goes ``<stem>_mixture.json``, which says what was fitted. Raises ExportError when ONNX Runtime's
    logits of the one graph differ from the mean of its parts' by more than 1e-4.
    """
    first, second = (part_path(path, kind) for kind in PARTS)
    ours = ranker_logits(prepared.valid, OnnxModel(first), progress)
    # the trees' input; no row is encoded again
    dense = dense_matrix(prepared.encoder, prepared.valid_batches)
    theirs = OnnxModel(second).run({"dense": dense}, "logits")[0]
    mixture = fit_mixture(ours, theirs, prepared.valid.labels)
    tasks = OnnxModel(first).tasks
    proto = mixed_onnx(onnx.load(first), onnx.load(second), mixture)
    write_onnx(proto, path, kind="ranker", tasks=tasks, model_version=model_version)
    write_text_aside(
        path.with_name(f"{path.stem}_mixture.json"), json.dumps(_facts(mixture, tasks), indent=1)
    )
    few = prepared.valid.take(np.arange(min(CHECKED_ROWS, len(prepared.valid))))
    found = ranker_logits(few, OnnxModel(path))
    gap = float(np.abs(found - mixture(ours[: len(few)], theirs[: len(few)])).max(initial=0.0))
    if not gap <= TOLERANCE:
        raise ExportError(f"{path}: its logits differ from the mean of its parts' by {gap:.2e} > {TOLERANCE}")
    return mixture


def fit_mixture(first: NDArray[Any], second: NDArray[Any], labels: NDArray[Any]) -> Mixture:
    """The mixture of the logits ``first (N, H)`` and ``second (N, T)`` of ``labels (N, T)``, T ≤ H."""
    n_tasks = labels.shape[1]
    mixture = Mixture(
        np.ones(first.shape[1], np.float32),
        np.zeros(n_tasks, np.float32),
        np.zeros(first.shape[1], np.float32),
        np.ones(n_tasks, np.float32),
    )
    for t in range(n_tasks):
        y = labels[:, t].astype(np.float64)
        ours, theirs = _calibrated(first[:, t], y), _calibrated(second[:, t], y)
        best = min((_mixed(share, ours, theirs, y) for share in SHARES), key=lambda tried: tried[0])
        _, mixture.share[t], mixture.first[t], mixture.second[t], mixture.bias[t] = best
    return mixture


Part = tuple[NDArray[Any], float, float]  # logits (N,), scale, bias


def _calibrated(logits: NDArray[Any], y: NDArray[Any]) -> Part:
    s = logits.astype(np.float64)
    scale, bias = fit_calibration(s[:, None], y[:, None])
    return s, float(scale[0]), float(bias[0])


def _mixed(
    share: float, ours: Part, theirs: Part, y: NDArray[Any]
) -> tuple[float, float, float, float, float]:
    """(cross-entropy, share, scale of the first, scale of the second, bias) with this share, calibrated
    again."""
    scales = share * ours[1], (1 - share) * theirs[1]
    shift = share * ours[2] + (1 - share) * theirs[2]
    mixed = scales[0] * ours[0] + scales[1] * theirs[0] + shift
    mixed, scale, bias = _calibrated(mixed, y)
    s = scale * mixed + bias
    loss = float((np.logaddexp(0.0, s) - y * s).mean()) if len(y) else 0.0
    return loss, share, scale * scales[0], scale * scales[1], scale * shift + bias


def _facts(mixture: Mixture, tasks: Sequence[str]) -> dict[str, object]:
    rows = zip(tasks, mixture.first, mixture.second, mixture.bias, mixture.share, strict=False)
    of_task = {
        task: {
            **{kind: round(float(scale), 6) for kind, scale in zip(PARTS, scales, strict=True)},
            "bias": round(float(bias), 6),
            "share_of_mmoe": round(float(share), 6),
        }
        for task, *scales, bias, share in rows
    }
    return {"format": 1, "tasks": of_task}
