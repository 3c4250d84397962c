"""Tests that an export is refused if ONNX Runtime and torch differ."""

import numpy as np
import pytest
import torch

from karec.learn.export.onnx_export import ExportError, export_onnx


def test_export_is_refused_if_onnx_differs_from_torch(tmp_path):
    class Fickle(torch.nn.Module):
        """Returns a constant in ONNX, another value at each call in torch."""

        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, inputs):
            self.calls += 1
            return inputs["item_numbers"] + float(self.calls)

    with pytest.raises(ExportError, match="'logits' of ONNX Runtime differs from torch's"):
        export_onnx(
            Fickle(),
            {"item_numbers": np.zeros((4, 2), np.float32)},
            ["logits"],
            tmp_path / "x.onnx",
            kind="ranker",
            tasks=["click"],
            model_version=1,
        )


def test_export_is_refused_if_form_differs_from_module(tmp_path):
    class Times(torch.nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, inputs):
            return inputs["item_numbers"] * self.factor

    numbers = np.arange(8, dtype=np.float32).reshape(4, 2)
    metadata = {"kind": "ranker", "tasks": ["click"], "model_version": 1}
    export_onnx(
        Times(2.0), {"item_numbers": numbers}, ["logits"], tmp_path / "x.onnx", form=Times(2.0), **metadata
    )
    with pytest.raises(ExportError, match="differs from torch's"):
        export_onnx(
            Times(2.0),
            {"item_numbers": numbers},
            ["logits"],
            tmp_path / "x.onnx",
            form=Times(3.0),
            **metadata,
        )
