"""Adds the similarity of an item and the user's lists and profile to the inner product of the towers.

Each code of an item has a vector E in the space of the towers. An item adds the vectors of its codes to the
item vector. A user adds to each of the vectors u_h of the user tower

    a_h·Σ_c w_c·mean_history(E_c) + a_h·Σ_c z_c·mean_skipped(E_c)   enjoyed and skipped items
    + f_h·mean_follows(E_creator) + g_h·mean_friends(E_creator)     followed creators, friends who are
                                                                    creators
    + Σ_p q_hp·E_p                                                  the user's own city, family, … as item
                                                                    codes

⟨E_x, E_x⟩ is large and ⟨E_x, E_y⟩ small, so ⟨u, v⟩ contains this similarity and no network must learn it. A
mean over n entries is Σ / (n + κ) with learned κ ≥ 0, so a short list has less influence than a long one.

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

SCALE, INITIAL_STD = 5.0, 0.02  # code vectors start small and learn fast
STARTING_SKIPPED, STARTING_EDGES, STARTING_ALIKE = -0.3, 0.3, 0.3
STARTING_PRIOR = 3.0  # κ before softplus
LISTS = ("history", "skipped")
MATCHED = (*LISTS, *SOCIAL_EDGES, "alike")  # user inputs that Matching may read


class Matching(nn.Module):
    """Adds user vectors (U, heads, D) from the user's ``inputs`` and item vectors (N, D) from item_ids."""

    def __init__(self, encoder: Encoder, heads: int, vector: int) -> None:
        super().__init__()
        names = encoder.names["item_ids"]
        self.codes = CodeEmbedding(encoder.sizes["item_ids"], vector)
        nn.init.normal_(self.codes.table.weight, std=INITIAL_STD)
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

    def embed_items(self, codes: Tensor) -> Tensor:
        vectors: Tensor = SCALE * self.codes(codes).sum(dim=1)
        return vectors

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        prior = functional.softplus(self.prior)
        result = self.codes.table.weight.new_zeros(())
        for index, name in enumerate(LISTS):
            total, n = self.codes.sum_of_list(inputs, name, self.by_column[index])
            result = result + self.likeness * (total / (n + prior[index])).unsqueeze(1)
        for index, name in enumerate(self.edges):
            assert self.creator is not None  # or there were no edges
            total, n = self.codes.sum_of_column(inputs[name], self.creator)
            result = result + self.by_edge[index] * (total / (n + prior[len(LISTS) + index])).unsqueeze(1)
        for index, column in enumerate(self.alike):
            vector, _ = self.codes.sum_of_column(inputs["alike"][:, index : index + 1], column)
            result = result + self.by_alike[index] * vector.unsqueeze(1)
        return SCALE * result
