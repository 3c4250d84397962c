"""Loads torch after setting how OpenMP threads wait. Every module of karec.learn imports torch from here.

OpenMP reads OMP_WAIT_POLICY once, when torch loads it. With PASSIVE a waiting thread gives its core to
others. With spinning threads a training step takes three times as long if other work shares the cores, and is
hardly faster if none does. A value that the environment already has is kept.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from karec.errors import MissingExtra

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional
except ImportError as error:
    raise MissingExtra("torch", "train", "training") from error

__all__ = ["Tensor", "functional", "nn", "torch", "torch_threads"]


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Sets the number of torch's threads for the block. None or 0: unchanged."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
