"""Crossed logistic regression: one-hot features, and pairs of a category of the user and one of the item.

It is the ranker of small logs (``settings.from_data``) and a baseline for the others.

Sources  M. Richardson et al., Predicting clicks, WWW 2007; O. Chapelle et al., Simple and scalable response
         prediction for display advertising, TIST 2014 (pairs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from karec.features.encoder import CONTENT, Encoder
from karec.learn._torch import Tensor, nn, torch
from karec.learn.nets.layers import CodeEmbedding, PiecewiseLinear, Projection

INPUTS = ("user_ids", "user_numbers", "context", "item_ids", "item_numbers", "crosses")
MAX_PAIR_ROWS = 4_096  # codes of a pair of categories; with more, a small log has too few rows per weight
SCALED_PAIRS = 4  # pairs of the shops on which the learning rate was chosen


class LogisticRegression(nn.Module):
    """One weight per code, pair of codes and piece of a number: ``inputs`` (see INPUTS) → logits (N, T).

    The user's inputs may have one row for all N items. ``edges``: see ``Batches.edges``.
    """

    inputs: tuple[str, ...] = INPUTS

    def __init__(self, encoder: Encoder, edges: Mapping[str, Tensor]) -> None:
        super().__init__()
        sizes, n_tasks = encoder.sizes, len(encoder.tasks)
        self.codes = nn.ModuleDict()
        for name in ("user_ids", "context", "item_ids"):
            codes = CodeEmbedding(sizes[name], n_tasks)
            nn.init.zeros_(codes.table.weight)
            self.codes[name] = codes
        columns = paired_columns(sizes["user_ids"], sizes["item_ids"])
        self.pairs = PairWeights(columns, sizes["user_ids"], sizes["item_ids"], n_tasks) if columns else None
        self.pieces, self.numbers = nn.ModuleDict(), nn.ModuleDict()
        for name in ("user_numbers", "item_numbers", "crosses"):
            pieces = PiecewiseLinear(edges[name])
            linear = nn.Linear(pieces.width, n_tasks)
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
            self.pieces[name], self.numbers[name] = pieces, linear
        self.content = Projection(edges[CONTENT], n_tasks) if CONTENT in edges else None
        if self.content is not None:
            self.inputs = (*INPUTS, CONTENT)
            nn.init.zeros_(self.content.linear.weight)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        from_codes = [codes(inputs[name]).sum(dim=1) for name, codes in self.codes.items()]
        from_numbers = [linear(self.pieces[name](inputs[name])) for name, linear in self.numbers.items()]
        logits: Tensor = sum(from_numbers[1:], from_numbers[0]) + sum(from_codes[1:], from_codes[0])
        if self.pairs is not None:
            logits = logits + self.pairs(inputs["user_ids"], inputs["item_ids"])
        if self.content is not None:
            logits = logits + self.content(inputs[CONTENT])
        return logits

    def penalty(self) -> Tensor:
        """Returns half of the sum of the squared weights of codes and of pairs."""
        parameters = self.named_parameters()
        tables: list[Tensor] = [weights for name, weights in parameters if name.endswith("table.weight")]
        return torch.cat(tables).square().sum() / 2

    def by_member(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns the logits as (N, 1, T), the shape that MmoeRanker.by_member has."""
        logits: Tensor = self(inputs)
        return logits.unsqueeze(1)


class PairWeights(nn.Module):
    """Scaled sum of one weight per pair of codes.

    Called with codes of users (1 or N, C) and of items (N, I), it returns (N, T) logits of T tasks.
    ``columns``: P pairs of a column of users and a column of items, see ``paired_columns``. AdamW moves each
    weight by about the learning rate, so without a scale the step of the sum grows with P.
    """

    def __init__(
        self,
        columns: Sequence[tuple[int, int]],
        user_sizes: Sequence[int],
        item_sizes: Sequence[int],
        n_tasks: int,
    ) -> None:
        super().__init__()
        self.user_columns: Tensor
        self.item_columns: Tensor
        self.user_sizes: Tensor
        self.item_sizes: Tensor
        self.offsets: Tensor
        user_columns, item_columns = torch.tensor(columns).T
        users, items = torch.tensor(user_sizes)[user_columns], torch.tensor(item_sizes)[item_columns]
        rows = users * items
        self.table = nn.Embedding(int(rows.sum()), n_tasks)
        nn.init.zeros_(self.table.weight)
        self.scale: float = (SCALED_PAIRS / len(columns)) ** 0.5
        constants = {"user_columns": user_columns, "item_columns": item_columns, "user_sizes": users}
        for name, value in {**constants, "item_sizes": items, "offsets": rows.cumsum(0) - rows}.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        users, items = users[:, self.user_columns], items[:, self.item_columns]
        known_users = torch.where(users < self.user_sizes, users, 0)
        known_items = torch.where(items < self.item_sizes, items, 0)
        weights: Tensor = self.table(known_users * self.item_sizes + known_items + self.offsets).sum(dim=1)
        return weights * self.scale


def paired_columns(user_sizes: Sequence[int], item_sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Returns (user column, item column) with at most MAX_PAIR_ROWS codes; never item column 0, the id."""
    return [
        (user, item)
        for user, user_size in enumerate(user_sizes)
        for item, item_size in enumerate(item_sizes)
        if item > 0 and user_size * item_size <= MAX_PAIR_ROWS
    ]
