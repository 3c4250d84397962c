"""LightGCN as a baseline of retrieval: vectors of users and items, averaged along the graph of choices.

    E⁰ (users + items, D) is learned, E^{l+1} = Â·E^l, score(u, i) = ⟨ē_u, ē_i⟩, ē = mean of E⁰ … E^LAYERS

Â is the adjacency matrix, each entry divided by √(degree of the user · degree of the item). The loss is BPR:
−log σ(score of a chosen item − score of a random item), plus an L2 penalty of the rows of E⁰ that a step
reads.

Source  X. He et al., LightGCN: simplifying and powering graph convolution network for recommendation,
        SIGIR 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.learn._torch import Tensor, functional, nn, torch
from karec.learn.fit.loop import fit, shuffle
from karec.learn.settings.settings import OptimizerSettings

LAYERS = 3
BATCH = 32_768  # pairs in a step; each step passes over the whole graph
STARTING_STD = 0.1


class LightGcn(nn.Module):
    """LightGCN of ``matrix``, scipy CSR (users, items); called with (pairs, step) for the loss."""

    def __init__(self, matrix: Any, dim: int, penalty: float, seed: int) -> None:
        super().__init__()
        pairs = matrix.tocoo()
        self.n_users, self.penalty, self.seed = matrix.shape[0], penalty, seed
        self.user, self.item = (torch.from_numpy(part.astype(np.int64)) for part in (pairs.row, pairs.col))
        edges = torch.cat([self.user, self.item + self.n_users])
        neighbours = torch.cat([self.item + self.n_users, self.user])
        order = torch.argsort(edges, stable=True)
        self.neighbours = neighbours[order]
        degree = torch.bincount(edges, minlength=sum(matrix.shape))
        self.begin = degree.cumsum(0) - degree
        self.weight = (degree[edges] * degree[neighbours]).float().rsqrt()[order]
        torch.manual_seed(seed)
        self.table = nn.Embedding(sum(matrix.shape), dim)
        nn.init.normal_(self.table.weight, std=STARTING_STD)

    def vectors(self) -> Tensor:
        """Returns ē (users + items, D)."""
        layers = [self.table.weight]
        for _ in range(LAYERS):
            layers.append(
                functional.embedding_bag(
                    self.neighbours, layers[-1], self.begin, per_sample_weights=self.weight, mode="sum"
                )
            )
        return torch.stack(layers).mean(dim=0)

    def forward(self, pairs: Tensor, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + step)
        other = torch.randint(0, len(self.begin) - self.n_users, pairs.shape, generator=generator)
        rows = torch.stack([self.user[pairs], self.item[pairs] + self.n_users, other + self.n_users])
        user, chosen, random = self.vectors()[rows]
        squares = self.table(rows).square().sum() / (2 * len(pairs))
        loss: Tensor = functional.softplus((user * (random - chosen)).sum(dim=1)).mean()
        loss += self.penalty * squares
        return loss


def fit_light_gcn(
    matrix: Any, settings: Mapping[str, Any], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the vectors of users (U, D) and items (N, D) of a LightGCN trained on ``matrix``."""
    model = LightGcn(matrix, settings["factors"], settings["penalty"], seed)
    optimizer = OptimizerSettings(batch_size=BATCH, learning_rate=settings["learning_rate"], weight_decay=0.0)

    def order(generator: torch.Generator) -> tuple[Tensor, ...]:
        return shuffle(matrix.nnz, BATCH, generator)

    fit(
        model,
        matrix.nnz,
        model,
        None,
        order=order,
        optimizer=optimizer,
        epochs=settings["epochs"],
        seed=seed,
        title="LightGCN",
    )
    with torch.no_grad():
        users, items = np.split(model.vectors().numpy(), [model.n_users])
    return users, items
