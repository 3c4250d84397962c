"""The dtype and shape that an ONNX model declares for one input or output."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Port:
    """A declared input or output.

    dtype   NumPy's name, or the type as ONNX Runtime names it
    shape   None for an axis of any size; None if it is a number or has no declared shape
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype} (of unknown shape)"
        return f"{self.dtype} ({', '.join('N' if size is None else str(size) for size in self.shape)})"
