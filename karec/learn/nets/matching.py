"""The towers' second path: what a user's lists and profile have in common with a work, in one inner product.

Each code of a work has a vector E in the space where the towers meet. A work adds the vectors of its codes to
the item vector. A user adds, for each of the vectors u_h of the user tower,

    a_h·Σ_c w_c·mean_history(E_c) + a_h·Σ_c z_c·mean_skipped(E_c)    works enjoyed and works passed over
    + f_h·mean_follows(E_creator) + g_h·mean_friends(E_creator)      creators followed, and friends who are
      creators
    + Σ_p q_hp·E_p                                                   the user's own city, family, …, in the
      works' codes

so that ⟨u, v⟩ includes how alike these are, which no network has to learn: ⟨E_x, E_x⟩ is large and ⟨E_x, E_y⟩
small. A mean over n entries is Σ / (n + κ) with κ ≥ 0 learned: a short list says less than a long one.

Sources  S. Kabbur et al., FISM, KDD 2013 (items of the history as factors); P. Covington et al., RecSys 2016
         (lists of a user as averaged embeddings in a tower).
"""

from __future__ import annotations

from collections.abc import Mapping

from karec.catalog.schema import CREATOR
from karec.features.crosses import SOCIAL_EDGES
from karec.features.encoder import Encoder
from karec.learn._torch import Tensor, functional, nn, torch
from karec.learn.nets.layers import CodeEmbedding

SCALE, SPREAD = 5.0, 0.02  # vectors by code start small and learn fast
STARTING_SKIPPED, STARTING_EDGES, STARTING_ALIKE = -0.3, 0.3, 0.3
STARTING_PRIOR = 3.0  # of κ, before softplus
LISTS = ("history", "skipped")
MATCHED = (*LISTS, *SOCIAL_EDGES, "alike")  # inputs of the user that it may read


class Matching(nn.Module):
    """``of_works``: item_ids (N, I) → (N, D). ``forward``: the user's ``inputs`` (U rows) → (U, heads, D)."""

    def __init__(self, encoder: Encoder, heads: int, vector: int) -> None:
        super().__init__()
        names = encoder.names["item_ids"]
        self.codes = CodeEmbedding(encoder.sizes["item_ids"], vector)
        nn.init.normal_(self.codes.table.weight, std=SPREAD)
        self.creator = names.index(CREATOR) if CREATOR in names else None
        self.edges = () if self.creator is None else tuple(SOCIAL_EDGES)
        self.alike = [names.index(name) for name in encoder.shared]
        self.inputs = (*LISTS, *self.edges, *(("alike",) if self.alike else ()))
        self.likeness = nn.Parameter(torch.ones(heads, 1))
        self.by_column = nn.Parameter(
            torch.stack([torch.ones(len(names)), torch.full((len(names),), STARTING_SKIPPED)])
        )
        self.by_edge = nn.Parameter(torch.full((len(self.edges), heads, 1), STARTING_EDGES))
        self.by_alike = nn.Parameter(torch.full((len(self.alike), heads, 1), STARTING_ALIKE))
        self.prior = nn.Parameter(torch.full((len(LISTS) + len(self.edges),), STARTING_PRIOR))

    def of_works(self, codes: Tensor) -> Tensor:
        vectors: Tensor = SCALE * self.codes(codes).sum(dim=1)
        return vectors

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        prior = functional.softplus(self.prior)
        found = self.codes.table.weight.new_zeros(())
        for at, name in enumerate(LISTS):
            total, n = self.codes.sum_of_list(inputs, name, self.by_column[at])
            found = found + self.likeness * (total / (n + prior[at])).unsqueeze(1)
        for at, name in enumerate(self.edges):
            assert self.creator is not None  # or there were no edges
            total, n = self.codes.sum_of_column(inputs[name], self.creator)
            found = found + self.by_edge[at] * (total / (n + prior[len(LISTS) + at])).unsqueeze(1)
        for at, column in enumerate(self.alike):
            own, _ = self.codes.sum_of_column(inputs["alike"][:, at : at + 1], column)
            found = found + self.by_alike[at] * own.unsqueeze(1)
        return SCALE * found
