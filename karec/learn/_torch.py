"""torch, loaded after OpenMP has been told how threads wait. Every module of karec.learn takes torch from
here.

OpenMP reads OMP_WAIT_POLICY once, when torch loads it. With PASSIVE a thread that waits gives its core away;
one that spins makes a step of training three times as long where other work shares the cores, and gains
little where none does. A value that the environment has already is kept.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Tensor", "functional", "nn", "torch", "torch_threads"]


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Sets the threads of torch's operations while the block runs; None or 0 changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
