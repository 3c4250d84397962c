"""The model whose logits the steps ``ranker`` and ``fusion`` use."""

from __future__ import annotations

from pathlib import Path

from karec.models.onnx_model import OnnxModel


def ranker_model(bundle_ranker: OnnxModel, model: str | None, config_folder: Path | None) -> OnnxModel:
    """Returns ``bundle_ranker``, or opens the ONNX file ``model``, relative to ``config_folder``."""
    if model is None:
        return bundle_ranker
    return OnnxModel((config_folder or Path()) / model)
