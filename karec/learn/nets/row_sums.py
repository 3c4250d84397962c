"""Sums of C rows of a small table, K times, as a product with a sparse matrix that has C ones per row.

    S = M·T           T (V, D), M (K, V)
    ∂T = Mᵀ·∂S        the ones of Mᵀ sorted by row of T

Cost     O(K·C·D), and for the gradient a sort of K·C row numbers. torch's gradient of a gather adds D numbers
         per call, which takes twice as long for D = 16.
Memory   8 bytes per one of M; the K·C·D gathered numbers are never stored.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from karec.learn._torch import Tensor, torch


def sum_of_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Returns (K, D): the sums of the rows ``rows (K, C) int64`` of ``table (V, D)``."""
    if table.device.type != "cpu":
        return torch.nn.functional.embedding(rows, table).sum(dim=1)
    result: Tensor = _SumOfRows.apply(table, rows)  # type: ignore[no-untyped-call]
    return result


class _SumOfRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.n_rows = len(table)
        ends = torch.arange(0, rows.numel() + 1, rows.shape[1], dtype=torch.int32)
        return _ones(ends, rows.flatten().to(torch.int32), len(table)) @ table

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        flat, n = rows.flatten(), ctx.n_rows
        short = np.uint16 if n <= 2**16 else np.int64  # NumPy sorts 16 bits by counting
        order = np.argsort(flat.numpy().astype(short), kind="stable").astype(np.int32)
        ends = torch.zeros(n + 1, dtype=torch.int32)
        ends[1:] = torch.bincount(flat, minlength=n).cumsum(0)
        return _ones(ends, torch.from_numpy(order // rows.shape[1]), len(gradient)) @ gradient, None


def _ones(ends: Tensor, columns: Tensor, width: int) -> Tensor:
    """Returns the sparse matrix with ones in ``columns``; row r has those from ends[r] to ends[r + 1]."""
    ones, shape = torch.ones(len(columns)), (len(ends) - 1, width)
    return torch.sparse_csr_tensor(ends, columns, ones, shape, check_invariants=False)


with warnings.catch_warnings():  # torch warns once per process that this layout is in beta
    warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
    _ones(torch.tensor([0, 1], dtype=torch.int32), torch.tensor([0], dtype=torch.int32), 1)
