"""torch, loaded after OpenMP has been told how threads wait. Every module of karec.learn takes torch from
here.

OpenMP reads OMP_WAIT_POLICY once, when torch loads it. With PASSIVE a thread that waits gives its core away;
one that spins makes a step of training three times as long where other work shares the cores, and gains
little where none does. A value that the environment has already is kept.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Tensor", "functional", "nn", "torch"]
