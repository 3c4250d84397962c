"""An export is refused where ONNX Runtime does not compute what torch does."""

import numpy as np
import pytest
import torch

from karec.learn.export.onnx_export import ExportError, export_onnx


def test_an_export_that_computes_something_else_is_refused(tmp_path):
    class Fickle(torch.nn.Module):
        """In ONNX its answer is frozen; in torch it changes from call to call."""

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


def test_a_form_that_is_another_function_than_its_module_is_refused(tmp_path):
    class Times(torch.nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, inputs):
            return inputs["item_numbers"] * self.factor

    numbers = np.arange(8, dtype=np.float32).reshape(4, 2)
    told = {"kind": "ranker", "tasks": ["click"], "model_version": 1}
    export_onnx(
        Times(2.0), {"item_numbers": numbers}, ["logits"], tmp_path / "x.onnx", form=Times(2.0), **told
    )
    with pytest.raises(ExportError, match="differs from torch's"):
        export_onnx(
            Times(2.0), {"item_numbers": numbers}, ["logits"], tmp_path / "x.onnx", form=Times(3.0), **told
        )
