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
