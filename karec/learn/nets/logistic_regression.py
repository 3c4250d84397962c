"""Crossed logistic regression: one-hot features, and pairs of a category of the user and one of the item.

It is the ranker of small logs (``settings.from_data``) and a baseline for the others.

Sources  M. Richardson et al., Predicting clicks, WWW 2007; O. Chapelle et al., Simple and scalable response
         prediction for display advertising, TIST 2014 (hashed pairs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from karec.features.encoder import Encoder
from karec.learn._torch import Tensor, nn, torch
from karec.learn.nets.layers import CodeEmbedding, PiecewiseLinear

INPUTS = ("user_ids", "user_numbers", "context", "item_ids", "item_numbers", "crosses")
MAX_PAIR_ROWS = 65_521  # weights of one pair of categories; prime, so that the modulo mixes both codes


class LogisticRegression(nn.Module):
    """One weight per code, pair of codes and piece of a number: ``inputs`` (see INPUTS) → logits (N, T).

    The user's inputs may have one row for all N items. ``edges``: see ``Batches.edges``.
    """

    inputs = INPUTS

    def __init__(self, encoder: Encoder, edges: Mapping[str, Tensor]) -> None:
        super().__init__()
        sizes, n_tasks = encoder.sizes, len(encoder.tasks)
        self.codes = nn.ModuleDict()
        for name in ("user_ids", "context", "item_ids"):
            codes = CodeEmbedding(sizes[name], n_tasks)
            nn.init.zeros_(codes.table.weight)
            self.codes[name] = codes
        has_pairs = len(sizes["user_ids"]) > 0 and len(sizes["item_ids"]) > 1
        self.pairs = PairWeights(sizes["user_ids"], sizes["item_ids"], n_tasks) if has_pairs else None
        self.pieces, self.numbers = nn.ModuleDict(), nn.ModuleDict()
        for name in ("user_numbers", "item_numbers", "crosses"):
            pieces = PiecewiseLinear(edges[name])
            linear = nn.Linear(pieces.width, n_tasks)
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
            self.pieces[name], self.numbers[name] = pieces, linear

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        from_codes = [codes(inputs[name]).sum(dim=1) for name, codes in self.codes.items()]
        from_numbers = [linear(self.pieces[name](inputs[name])) for name, linear in self.numbers.items()]
        logits: Tensor = sum(from_numbers[1:], from_numbers[0]) + sum(from_codes[1:], from_codes[0])
        if self.pairs is not None:
            logits = logits + self.pairs(inputs["user_ids"], inputs["item_ids"])
        return logits

    def by_member(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns the logits as (N, 1, T), the shape that MmoeRanker.by_member has."""
        logits: Tensor = self(inputs)
        return logits.unsqueeze(1)


class PairWeights(nn.Module):
    """Sum of one weight per pair of categories: codes of users (1 or N, C) and items (N, I) → (N, T).

    Each category of the user is paired with each of the item except its id. Pairs of codes share a weight by
    modulo if there are more than MAX_PAIR_ROWS.
    """

    def __init__(self, user_sizes: Sequence[int], item_sizes: Sequence[int], n_tasks: int) -> None:
        super().__init__()
        self.user_sizes: Tensor
        self.item_sizes: Tensor
        self.rows: Tensor
        self.offsets: Tensor
        users, items = torch.tensor(user_sizes).long(), torch.tensor(item_sizes[1:]).long()
        rows = (users[:, None] * items).clamp(max=MAX_PAIR_ROWS).flatten()
        self.table = nn.Embedding(int(rows.sum()), n_tasks)
        nn.init.zeros_(self.table.weight)
        constants = {"user_sizes": users, "item_sizes": items, "rows": rows, "offsets": rows.cumsum(0) - rows}
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        known_users = torch.where(users < self.user_sizes, users, 0).unsqueeze(2)
        items = items[:, 1:]
        known_items = torch.where(items < self.item_sizes, items, 0).unsqueeze(1)
        pairs = (known_users * self.item_sizes + known_items).flatten(1)
        weights: Tensor = self.table(pairs % self.rows + self.offsets).sum(dim=1)
        return weights
