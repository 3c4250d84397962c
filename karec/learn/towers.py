"""The student: a user tower and an item tower that meet in an inner product, and nowhere else.

The item tower gives one vector v, the user tower one for each task, u_t, and a fused one, u_F, all of length 1:

    s_t = a_t·⟨u_t, v⟩ + b_t        a, b learned: a cosine alone would keep the sigmoid in a narrow band

u_F learns the ranker's fused score and is what prerank searches with; no cross feature enters.
Source  P. Covington et al., RecSys 2016 and X. Yi et al., RecSys 2019 (two towers).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from karec.encoder import Encoder
from karec.learn.layers import CodeEmbedding, PiecewiseLinear, embed_works, masked_mean

STARTING_SCALE = 5.0


class UserTower(nn.Module):
    """user_ids, user_numbers, history, context (B rows) → (user_vector (B, D), task_vectors (B, T, D))."""

    inputs = ("user_ids", "user_numbers", "history", "context")

    def __init__(
        self, encoder: Encoder, edges: Tensor, item_codes: CodeEmbedding, dim: int, hidden: int, vector: int
    ) -> None:
        super().__init__()
        sizes = encoder.sizes
        self.numbers = PiecewiseLinear(edges)
        self.heads, self.vector = len(encoder.tasks) + 1, vector
        self.item_codes = item_codes
        self.user_codes = CodeEmbedding(sizes["user_ids"], dim // 2)
        self.context_codes = CodeEmbedding(sizes["context"], dim // 2)
        n_codes = len(sizes["user_ids"]) + len(sizes["context"])
        width = n_codes * (dim // 2) + self.numbers.width + dim
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.out = nn.Linear(hidden, self.heads * vector)

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        works, present = embed_works(self.item_codes, inputs, "history")
        features = [
            self.user_codes(inputs["user_ids"]).flatten(1),
            self.context_codes(inputs["context"]).flatten(1),
            self.numbers(inputs["user_numbers"]),
            masked_mean(works, present),
        ]
        vectors = self.out(self.layers(torch.cat(features, dim=1))).reshape(-1, self.heads, self.vector)
        vectors = functional.normalize(vectors, dim=2)
        return vectors[:, 0], vectors[:, 1:]


class ItemTower(nn.Module):
    """item_ids, item_numbers (B rows) → item_vector (B, D)."""

    inputs = ("item_ids", "item_numbers")

    def __init__(
        self, encoder: Encoder, edges: Tensor, item_codes: CodeEmbedding, dim: int, hidden: int, vector: int
    ) -> None:
        super().__init__()
        self.item_codes = item_codes
        self.numbers = PiecewiseLinear(edges)
        width = len(encoder.sizes["item_ids"]) * dim + self.numbers.width
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, vector))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        codes = self.item_codes(inputs["item_ids"]).flatten(1)
        vector: Tensor = functional.normalize(
            self.layers(torch.cat([codes, self.numbers(inputs["item_numbers"])], dim=1)), dim=1
        )
        return vector


class Towers(nn.Module):
    """Both towers with a scale and a bias for each head, as they train: ``inputs`` → logits (B, 1 + T), fused first."""

    inputs = (*UserTower.inputs, *ItemTower.inputs)

    def __init__(
        self,
        encoder: Encoder,
        edges: Mapping[str, Tensor],
        *,
        dim: int = 16,
        hidden: int = 128,
        vector: int = 64,
        id_dropout: float = 0.3,
    ) -> None:
        super().__init__()
        named = enumerate(encoder.names["item_ids"])
        ids = [at for at, name in named if name == "id" or name.endswith("_id")]
        item_codes = CodeEmbedding(encoder.sizes["item_ids"], dim, ids, id_dropout)
        self.user = UserTower(encoder, edges["user_numbers"], item_codes, dim, hidden, vector)
        self.item = ItemTower(encoder, edges["item_numbers"], item_codes, dim, hidden, vector)
        self.scale = nn.Parameter(torch.full((self.user.heads,), STARTING_SCALE))
        self.bias = nn.Parameter(torch.zeros(self.user.heads))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        fused, by_task = self.user(inputs)
        users = torch.cat([fused.unsqueeze(1), by_task], dim=1)
        cosines = torch.matmul(users, self.item(inputs).unsqueeze(2)).squeeze(2)
        logits: Tensor = self.scale * cosines + self.bias
        return logits
