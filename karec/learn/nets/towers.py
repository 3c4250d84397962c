"""Two towers: a user tower and an item tower that meet in an inner product, and nowhere else.

The item tower gives one vector v, the user tower one for each task, u_t, and a fused one, u_F, all of length
1, and for each of these a level c and a slope m > 0, one number each:

    s_t = a_t·(m_t·⟨u_t, v⟩ + c_t) + b_t    a, b learned: a cosine alone would keep the sigmoid in a narrow
                                            band

c_t says how often the user gives this feedback at all, m_t how much that depends on the work: little for a
user of whom little is known. Without them a user's level would have to be the cosine with what all works have
in common, so that all item vectors would point one way. Neither changes the order of one user's works, and
prerank reads neither.

u_F learns the fused score, and prerank searches with it; no cross feature enters. *Full* towers see counters
and rates on both sides, *static* ones do not: their vectors stay valid until a work's profile changes.

*Matching* towers have a second path beside the networks (``karec.learn.nets.matching``) and read more of the
user: works passed over, creators followed, friends, and what user and works share.
Sources  P. Covington et al., RecSys 2016 and X. Yi et al., RecSys 2019 (two towers).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from karec.features.encoder import Encoder
from karec.learn._torch import Tensor, functional, nn, torch
from karec.learn.nets.features import id_columns, seen_numbers
from karec.learn.nets.layers import CodeEmbedding, Columns, PiecewiseLinear
from karec.learn.nets.matching import Matching

STARTING_SCALE = 5.0
ONE = math.log(math.e - 1.0)  # softplus of it is 1


class OfUsers(NamedTuple):
    """What the user tower gives of B users: vectors of length 1, and a slope and a level for each head, the
    fused one first. The names are those of the outputs in ONNX.
    """

    user_vector: Tensor  # (B, D)
    task_vectors: Tensor  # (B, T, D)
    slopes: Tensor  # (B, 1 + T)
    levels: Tensor  # (B, 1 + T)


class UserTower(nn.Module):
    """``inputs`` (B rows; those of ``matching`` too) → OfUsers.

    In training the profile and numbers of a share ``hidden_profiles`` of the rows are set to 0, as those of a
    user never seen are, so that history and context learn to do without them.
    """

    inputs: tuple[str, ...] = ("user_id", "user_ids", "user_numbers", "history", "context")

    def __init__(
        self,
        encoder: Encoder,
        edges: Tensor,
        columns: list[int],
        item_codes: CodeEmbedding,
        matching: Matching | None,
        *,
        dim: int,
        hidden: int,
        vector: int,
        id_dropout: float,
        hidden_profiles: float,
        by_task: bool,
    ) -> None:
        super().__init__()
        sizes = encoder.sizes
        self.columns = Columns(columns)
        self.numbers = PiecewiseLinear(edges[columns])
        self.heads, self.vector, self.hidden_profiles = (
            1 + by_task * len(encoder.tasks),
            vector,
            hidden_profiles,
        )
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

    def forward(self, inputs: Mapping[str, Tensor]) -> OfUsers:
        works, n_works = self.item_codes.sum_of_list(inputs, "history")
        person, ids, numbers = inputs["user_id"], inputs["user_ids"], inputs["user_numbers"]
        if self.training and self.hidden_profiles:
            seen = torch.rand((len(ids), 1), device=ids.device) >= self.hidden_profiles
            person, ids, numbers = person * seen, ids * seen, numbers * seen
        features = [
            self.person(person).flatten(1),
            self.user_codes(ids).flatten(1),
            self.context_codes(inputs["context"]).flatten(1),
            self.numbers(self.columns(numbers)),
            works / n_works.clamp(min=1.0),
        ]
        hidden = self.layers(torch.cat(features, dim=1))
        vectors = self.out(hidden).reshape(-1, self.heads, self.vector)
        if self.matching is not None:
            vectors = vectors + self.matching(inputs)
        vectors = functional.normalize(vectors, dim=2)
        slopes, levels = self.line(hidden).chunk(2, dim=1)
        return OfUsers(vectors[:, 0], vectors[:, 1:], functional.softplus(slopes + ONE), levels)


class ItemTower(nn.Module):
    """item_ids, item_numbers (B rows) → item_vector (B, D)."""

    inputs = ("item_ids", "item_numbers")

    def __init__(
        self,
        encoder: Encoder,
        edges: Tensor,
        columns: list[int],
        item_codes: CodeEmbedding,
        matching: Matching | None,
        *,
        dim: int,
        hidden: int,
        vector: int,
    ) -> None:
        super().__init__()
        self.item_codes, self.matching = item_codes, matching
        self.columns = Columns(columns)
        self.numbers = PiecewiseLinear(edges[columns])
        width = len(encoder.sizes["item_ids"]) * dim + self.numbers.width
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, vector))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        codes = self.item_codes(inputs["item_ids"]).flatten(1)
        numbers = self.numbers(self.columns(inputs["item_numbers"]))
        vector: Tensor = self.layers(torch.cat([codes, numbers], dim=1))
        if self.matching is not None:
            vector = vector + self.matching.of_works(inputs["item_ids"])
        return functional.normalize(vector, dim=1)


class Towers(nn.Module):
    """Both towers with a scale and a bias for each head, as trained: ``inputs`` → logits (B, 1 + T), fused
    first.

    Without ``by_task`` T is 0: users have one vector.
    """

    inputs: tuple[str, ...] = (*UserTower.inputs, *ItemTower.inputs)

    def __init__(
        self,
        encoder: Encoder,
        edges: Mapping[str, Tensor],
        *,
        towers: Literal["full", "static"] = "full",
        dim: int = 16,
        hidden: int = 128,
        vector: int = 64,
        id_dropout: float = 0.3,
        profile_dropout: float = 0.0,
        matching: bool = False,
        by_task: bool = True,
    ) -> None:
        super().__init__()
        item_codes = CodeEmbedding(encoder.sizes["item_ids"], dim, id_columns(encoder), id_dropout)
        alike = Matching(encoder, len(encoder.tasks) + 1, vector) if matching else None
        sides = {
            name: (edges[name], seen_numbers(encoder, name, towers))
            for name in ("user_numbers", "item_numbers")
        }
        self.user = UserTower(
            encoder,
            *sides["user_numbers"],
            item_codes,
            alike,
            dim=dim,
            hidden=hidden,
            vector=vector,
            id_dropout=id_dropout,
            hidden_profiles=profile_dropout,
            by_task=by_task,
        )
        self.item = ItemTower(
            encoder, *sides["item_numbers"], item_codes, alike, dim=dim, hidden=hidden, vector=vector
        )
        self.inputs = (*self.user.inputs, *self.item.inputs)
        self.scale = nn.Parameter(torch.full((self.user.heads,), STARTING_SCALE))
        self.bias = nn.Parameter(torch.zeros(self.user.heads))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.logits(self.user(inputs), self.item(inputs).unsqueeze(1)).squeeze(1)

    def logits(self, users: OfUsers, works: Tensor) -> Tensor:
        """(B, N, 1 + T): of B users with N works each, ``works (B, N, D)``."""
        vectors = torch.cat([users.user_vector.unsqueeze(1), users.task_vectors], dim=1)
        cosines = torch.matmul(works, vectors.transpose(1, 2))
        lines = users.slopes.unsqueeze(1) * cosines + users.levels.unsqueeze(1)
        logits: Tensor = self.scale * lines + self.bias
        return logits
