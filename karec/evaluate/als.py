"""ALS (alternating least squares): factors x_u of users and y_i of items that minimise

    Σ_ui c_ui (p_ui − x_u·y_i)² + penalty·(Σ_u |x_u|² + Σ_i |y_i|²)

p_ui is 1 if user u enjoyed item i, else 0; c_ui = 1 + weight·p_ui. An iteration solves for the users, then
for the items, each with CG_STEPS steps of conjugate gradients.

Cost     O((P·F + (users + items)·F²)·ITERATIONS) for P enjoyed pairs and F factors.
Sources  Y. Hu, Y. Koren, C. Volinsky, Collaborative filtering for implicit feedback datasets, ICDM 2008;
         G. Takács et al., Applications of the conjugate gradient method for implicit feedback, RecSys 2011.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

ITERATIONS = 8
CG_STEPS = 3  # for the users, and for the items, of an iteration
ROWS = 1_024  # users or items in memory at once


def factorize(
    enjoyed: csr_array,
    factors: int,
    weight: float,
    penalty: float,
    *,
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns x (users, factors) and y (items, factors).

    Args
      enjoyed     (users, items) float32: 1 for each enjoyed item
      weight      additional weight of an enjoyed item
      penalty     factor of the squared lengths
    """
    by_item = csr_array(enjoyed.T)
    generator = np.random.default_rng(seed)
    users, items = (
        generator.normal(0.0, 0.1 / np.sqrt(factors), (n, factors)).astype(np.float32) for n in enjoyed.shape
    )
    for _ in range(ITERATIONS):
        users = _solve_side(enjoyed, users, items, weight, penalty)
        items = _solve_side(by_item, items, users, weight, penalty)
    return users, items


def _solve_side(
    matrix: csr_array, start: NDArray[Any], other: NDArray[Any], weight: float, penalty: float
) -> NDArray[np.float32]:
    """Returns (rows, factors) new vectors of the rows of ``matrix``; ``other``: those of its columns."""
    gram = other.T @ other + penalty * np.eye(other.shape[1], dtype=np.float32)
    solved = np.zeros_like(start)
    for begin in range(0, len(start), ROWS):
        block = matrix[begin : begin + ROWS]
        solved[begin : begin + ROWS] = _conjugate_gradients(
            block, start[begin : begin + ROWS], other, gram, weight
        )
    return solved


def _conjugate_gradients(
    block: csr_array, start: NDArray[Any], other: NDArray[Any], gram: NDArray[Any], weight: float
) -> NDArray[np.float32]:
    """Solves (gram + weight·Σ_i y_i y_iᵀ) x = (1 + weight)·Σ_i y_i for each row of ``block``.

    The sums are over the items i of the row.
    """
    row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    entries = other[block.indices]

    def product(x: NDArray[Any]) -> NDArray[np.float32]:
        values = weight * np.einsum("ef,ef->e", x[row], entries)
        return np.asarray(x @ gram + csr_array((values, block.indices, block.indptr), block.shape) @ other)

    solution = np.where(np.diff(block.indptr)[:, None] > 0, start, 0.0).astype(np.float32)
    residual = (1.0 + weight) * (block @ other) - product(solution)
    direction = residual
    norm = np.einsum("rf,rf->r", residual, residual)
    for _ in range(CG_STEPS):
        image = product(direction)
        curvature = np.einsum("rf,rf->r", direction, image)
        step = np.divide(norm, curvature, out=np.zeros_like(norm), where=curvature > 1e-20)[:, None]
        solution = solution + step * direction
        residual = residual - step * image
        new_norm = np.einsum("rf,rf->r", residual, residual)
        ratio = np.divide(new_norm, norm, out=np.zeros_like(norm), where=norm > 1e-20)[:, None]
        direction = residual + ratio * direction
        norm = new_norm
    return solution
