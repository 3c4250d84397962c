"""Ranker whose logits are calibrated (``karec.evaluate.metrics.platt``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from karec.learn._torch import Tensor, nn, torch


class Calibrated(nn.Module):
    def __init__(self, ranker: nn.Module, scale: NDArray[Any], bias: NDArray[Any]) -> None:
        super().__init__()
        self.ranker = ranker
        self.scale: Tensor
        self.bias: Tensor
        self.register_buffer("scale", torch.from_numpy(scale))
        self.register_buffer("bias", torch.from_numpy(bias))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = self.ranker(inputs) * self.scale + self.bias
        return logits
