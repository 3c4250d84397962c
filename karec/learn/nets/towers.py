"""Two towers: the user tower and the item tower, combined by an inner product.

The item tower gives one vector v. The user tower gives one vector u_t per task and a fused one, u_F. All have
length 1. For each of these it also gives a level c and a slope m > 0:

    s_t = a_t·(m_t·⟨u_t, v⟩ + c_t) + b_t    a, b learned: a cosine limits the sigmoid to a narrow range

c_t is how often the user gives this feedback, m_t how much it depends on the item: little for an unknown
user. Without them the level would be the cosine with the common part of all items, and all item vectors would
be similar. Both keep the order of one user's items, and pre-ranking reads neither.

u_F learns the fused score, and pre-ranking searches with it. Towers read no cross features. *Wide* towers
add a linear function of cross features to each inner product (``karec.learn.nets.wide``).

*Matching* towers, those of recipe retrieval, have a second path (``karec.learn.nets.matching``). It also
reads skipped items, followed creators, friends, and attributes that user and item share.

Sources  P. Covington et al., RecSys 2016 and X. Yi et al., RecSys 2019 (two towers).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from karec.features.encoder import CONTENT, Encoder
from karec.learn._torch import Tensor, functional, nn, torch
from karec.learn.nets.layers import CodeEmbedding, PiecewiseLinear, Projection, by_item, by_user
from karec.learn.nets.matching import Matching
from karec.learn.nets.wide import WidePart

STARTING_SCALE = 5.0
SOFTPLUS_ONE = math.log(math.e - 1.0)  # softplus(SOFTPLUS_ONE) = 1


def item_embedding(encoder: Encoder, dim: int, id_dropout: float) -> CodeEmbedding:
    """Returns the embedding of ``item_ids``; ids of items, creators and songs are dropped, item types not."""
    ids = [i for i, name in enumerate(encoder.names["item_ids"]) if name == "id" or name.endswith("_id")]
    return CodeEmbedding(encoder.sizes["item_ids"], dim, ids, id_dropout, len(encoder.item_types))


class UserOutputs(NamedTuple):
    """Outputs of the user tower for B users, with the names of the ONNX outputs. The fused head is first."""

    user_vector: Tensor  # (B, D)
    task_vectors: Tensor  # (B, T, D)
    slopes: Tensor  # (B, 1 + T)
    levels: Tensor  # (B, 1 + T)


class UserTower(nn.Module):
    """``inputs`` (B rows; also those of ``matching``) → UserOutputs.

    In training profile and numbers of a fraction ``hidden_profiles`` of the rows are set to 0, as for an
    unseen user. So the tower learns to work with history and context only.
    """

    inputs: tuple[str, ...] = ("user_id", "user_ids", "user_numbers", "history", "context")

    def __init__(
        self,
        encoder: Encoder,
        edges: Tensor,
        item_codes: CodeEmbedding,
        matching: Matching | None,
        *,
        dim: int,
        hidden: int,
        vector: int,
        id_dropout: float,
        hidden_profiles: float,
    ) -> None:
        super().__init__()
        sizes = encoder.sizes
        self.numbers = PiecewiseLinear(edges)
        self.heads = 1 + len(encoder.tasks)
        self.vector = vector
        self.hidden_profiles = hidden_profiles
        self.item_codes = item_codes
        self.person = CodeEmbedding(sizes["user_id"], dim, [0], id_dropout)
        self.user_codes = CodeEmbedding(sizes["user_ids"], dim // 2)
        self.context_codes = CodeEmbedding(sizes["context"], dim // 2)
        n_codes = len(sizes["user_ids"]) + len(sizes["context"])
        width = n_codes * (dim // 2) + self.numbers.width + 2 * dim
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.out = nn.Linear(hidden, self.heads * vector)
        self.line = nn.Linear(hidden, 2 * self.heads)  # slopes and levels
        nn.init.zeros_(self.line.weight)
        nn.init.zeros_(self.line.bias)
        self.matching = matching
        if matching is not None:
            self.inputs = tuple(dict.fromkeys((*UserTower.inputs, *matching.inputs)))

    def forward(self, inputs: Mapping[str, Tensor]) -> UserOutputs:
        items, n_items = self.item_codes.sum_of_list(inputs, "history")
        user_id, ids, numbers = inputs["user_id"], inputs["user_ids"], inputs["user_numbers"]
        if self.training and self.hidden_profiles:
            is_kept = torch.rand((len(ids), 1), device=ids.device) >= self.hidden_profiles
            user_id, ids, numbers = user_id * is_kept, ids * is_kept, numbers * is_kept
        features = [
            self.person(user_id).flatten(1),
            self.user_codes(ids).flatten(1),
            self.context_codes(inputs["context"]).flatten(1),
            self.numbers(numbers),
            items / n_items.clamp(min=1.0),
        ]
        hidden = self.layers(torch.cat(features, dim=1))
        vectors = self.out(hidden).reshape(-1, self.heads, self.vector)
        if self.matching is not None:
            vectors = vectors + self.matching(inputs)
        vectors = functional.normalize(vectors, dim=2)
        slopes, levels = self.line(hidden).chunk(2, dim=1)
        return UserOutputs(vectors[:, 0], vectors[:, 1:], functional.softplus(slopes + SOFTPLUS_ONE), levels)


class ItemTower(nn.Module):
    """item_ids, item_numbers and, if items have vectors, item_content (B rows) → item_vector (B, D)."""

    inputs: tuple[str, ...] = ("item_ids", "item_numbers")

    def __init__(
        self,
        encoder: Encoder,
        edges: Mapping[str, Tensor],
        item_codes: CodeEmbedding,
        matching: Matching | None,
        *,
        dim: int,
        hidden: int,
        vector: int,
    ) -> None:
        super().__init__()
        self.item_codes, self.matching = item_codes, matching
        self.numbers = PiecewiseLinear(edges["item_numbers"])
        width = len(encoder.sizes["item_ids"]) * dim + self.numbers.width
        self.content = Projection(edges[CONTENT], 2 * dim) if CONTENT in edges else None
        if self.content is not None:
            self.inputs = (*ItemTower.inputs, CONTENT)
            width += self.content.width
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, vector))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        codes = self.item_codes(inputs["item_ids"]).flatten(1)
        parts = [codes, self.numbers(inputs["item_numbers"])]
        if self.content is not None:
            parts.append(self.content(inputs[CONTENT]))
        vector: Tensor = self.layers(torch.cat(parts, dim=1))
        if self.matching is not None:
            vector = vector + self.matching.embed_items(inputs["item_ids"])
        return functional.normalize(vector, dim=1)


class Towers(nn.Module):
    """Both towers with a scale and bias per head: ``inputs`` → logits (B, 1 + T), fused head first.

    Inputs of users have B rows, or those of ``Batches.inputs_by_user``.
    """

    inputs: tuple[str, ...] = (*UserTower.inputs, *ItemTower.inputs)

    def __init__(
        self,
        encoder: Encoder,
        edges: Mapping[str, Tensor],
        *,
        dim: int = 16,
        hidden: int = 128,
        vector: int = 64,
        id_dropout: float = 0.3,
        profile_dropout: float = 0.0,
        matching: bool = False,
        wide: bool = False,
    ) -> None:
        super().__init__()
        item_codes = item_embedding(encoder, dim, id_dropout)
        match = Matching(encoder, len(encoder.tasks) + 1, vector) if matching else None
        self.user = UserTower(
            encoder,
            edges["user_numbers"],
            item_codes,
            match,
            dim=dim,
            hidden=hidden,
            vector=vector,
            id_dropout=id_dropout,
            hidden_profiles=profile_dropout,
        )
        self.item = ItemTower(encoder, edges, item_codes, match, dim=dim, hidden=hidden, vector=vector)
        has_terms = wide and any(encoder.cross_categories)  # items may have no category but their id
        self.wide = WidePart(encoder, edges["crosses"], self.user.heads) if has_terms else None
        self.inputs = (*self.user.inputs, *self.item.inputs, *(("crosses",) if has_terms else ()))
        self.scale = nn.Parameter(torch.full((self.user.heads,), STARTING_SCALE))
        self.bias = nn.Parameter(torch.zeros(self.user.heads))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        crosses = by_user(inputs["crosses"], inputs) if self.wide is not None else None
        return by_item(self.logits(self.user(inputs), by_user(self.item(inputs), inputs), crosses), inputs)

    def logits(self, users: UserOutputs, items: Tensor, crosses: Tensor | None = None) -> Tensor:
        """Returns (B, N, 1 + T) for B users with N items each.

        ``items (B, N, D)``: vectors; ``crosses (B, N, X)``: only wide towers read them.
        """
        vectors = torch.cat([users.user_vector.unsqueeze(1), users.task_vectors], dim=1)
        scores = torch.matmul(items, vectors.transpose(1, 2))
        if self.wide is not None:
            assert crosses is not None
            scores = scores + self.wide(crosses)
        lines = users.slopes.unsqueeze(1) * scores + users.levels.unsqueeze(1)
        logits: Tensor = self.scale * lines + self.bias
        return logits
