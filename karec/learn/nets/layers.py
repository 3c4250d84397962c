"""Layers of ranker and towers. They use only gathers, sums and products, which export to plain ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from karec.learn._torch import Tensor, functional, nn, torch
from karec.learn.nets.row_sums import sum_of_rows

MIN_RATIO = 0.05  # of the deviation of a number to its mean: float32 then has 1e-5 of a deviation
MAX_COUNTED_CODES = 4096  # rows of a table; with more, counts of codes take more memory than item vectors


class CodeEmbedding(nn.Module):
    """One table with a vector for each code of C columns: ``codes (…, C) int64`` → (…, C, dim).

    Code 0 and unseen codes (≥ size) share vector 0 of their column. In training a code of a column in
    ``dropped`` is read as 0 with probability ``id_dropout``, except its last ``n_kept`` codes. So vector 0 is
    trained, and a new item, whose id is unseen, gets a good one.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        dropped: Sequence[int] = (),
        id_dropout: float = 0.0,
        n_kept: int = 0,
    ) -> None:
        super().__init__()
        self.sizes: Tensor
        self.offsets: Tensor
        self.chance: Tensor
        self.table = nn.Embedding(sum(sizes), dim)
        nn.init.normal_(self.table.weight, std=0.05)
        self.id_dropout = id_dropout
        self.n_kept = n_kept
        offsets = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self.register_buffer("sizes", torch.tensor(sizes), persistent=False)
        self.register_buffer("offsets", offsets, persistent=False)
        chance = torch.zeros(len(sizes))
        chance[list(dropped)] = id_dropout
        self.register_buffer("chance", chance, persistent=False)
        self.column: Tensor  # column of each row of the table
        self.register_buffer(
            "column", torch.repeat_interleave(torch.tensor(sizes, dtype=torch.int64)), persistent=False
        )

    def forward(self, codes: Tensor) -> Tensor:
        table, rows = self.read(self.rows(codes))
        return functional.embedding(rows, table)

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns a table that has the vectors of ``rows``, and the places of ``rows`` in it.

        It is the whole table, unless ranks share ``table`` (``karec.learn.distributed``): then it has only
        the distinct rows, and all ranks must call.
        """
        table: nn.Module = self.table
        if isinstance(table, nn.Embedding):
            return table.weight, rows
        distinct, places = torch.unique(rows, return_inverse=True)
        return table(distinct), places

    def rows(self, codes: Tensor) -> Tensor:
        """Returns the rows of ``table`` for ``codes (…, C)``."""
        codes = torch.where(codes < self.sizes, codes, 0)
        if self.training and self.id_dropout:
            is_dropped = torch.rand(codes.shape, device=codes.device) < self.chance
            if self.n_kept:
                is_dropped &= codes < self.sizes - self.n_kept
            codes = torch.where(is_dropped, 0, codes)
        return codes + self.offsets

    def sum_of_list(
        self, inputs: Mapping[str, Tensor], name: str, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the sum of a list's item vectors (U, dim) and the number of its items (U, 1).

        An item vector is the sum over its columns, times ``weights (C,)``. ``inputs`` has the forms that
        ``embed_items`` reads. If the table has at most MAX_COUNTED_CODES rows, counts of codes are multiplied
        with it, without a vector per slot or item. Otherwise items are gathered.
        """
        by_slot = name in inputs
        items = inputs[name] if by_slot else inputs["works"]
        rows, is_item = self.rows(items), (items.amax(dim=-1) > 0).to(torch.float32)
        is_counted = self.table.num_embeddings <= MAX_COUNTED_CODES and isinstance(self.table, nn.Embedding)
        table, rows = self.read(rows)
        slots = None if by_slot else inputs[f"{name}_at"]
        present = is_item if slots is None else is_item[slots]
        if is_counted:
            slot_rows = rows if slots is None else rows[slots]
            weight = present.unsqueeze(2).expand(slot_rows.shape)
            counts = present.new_zeros((present.shape[0], len(table)))
            counts.scatter_add_(1, slot_rows.flatten(1), weight.flatten(1))
            total = counts @ (table if weights is None else table * weights[self.column].unsqueeze(1))
        elif slots is None:
            by_column = table[rows]
            vectors = (by_column if weights is None else by_column * weights.unsqueeze(1)).sum(dim=2)
            total = (vectors * present.unsqueeze(2)).sum(dim=1)
        else:
            vectors = (
                sum_of_rows(table, rows)
                if weights is None
                else functional.embedding_bag(
                    rows, table, mode="sum", per_sample_weights=weights.expand(rows.shape)
                )
            )
            total = sum_of_rows(vectors * is_item.unsqueeze(1), slots)
        return total, present.sum(dim=1, keepdim=True)

    def sum_of_column(self, codes: Tensor, column: int) -> tuple[Tensor, Tensor]:
        """Returns the sum (U, dim) and number (U, 1) of the vectors of ``codes (U, L)``, all of one column.

        Code 0 and unseen codes do not count. No code is dropped in training.
        """
        known = (codes > 0) & (codes < self.sizes[column])
        rows = torch.where(known, codes, 0) + self.offsets[column]
        weights = known.to(torch.float32)
        table, rows = self.read(rows)
        if self.training:  # holds no vector per slot, but cannot be exported
            total = functional.embedding_bag(rows, table, per_sample_weights=weights, mode="sum")
        else:
            total = (functional.embedding(rows, table) * weights.unsqueeze(2)).sum(dim=1)
        return total, weights.sum(dim=1, keepdim=True)


class PiecewiseLinear(nn.Module):
    """Numbers (N, F) → (N, F·(1 + bins)): each number, and per bin the fraction of the bin below the number.

    A linear layer on top is a piecewise linear function with kinks at ``edges (F, bins + 1)``, ascending.
    Outside the outermost edges it continues with the slope of the plain number.
    Source  Y. Gorishniy et al., On embeddings for numerical features in tabular deep learning, NeurIPS 2022.
    """

    def __init__(self, edges: Tensor) -> None:
        super().__init__()
        self.low: Tensor
        self.per_width: Tensor
        self.register_buffer("low", edges[:, :-1].clone())
        self.register_buffer("per_width", 1.0 / edges.diff(dim=1).clamp(min=1e-3))

    @property
    def width(self) -> int:
        return self.low.numel() + len(self.low)

    def forward(self, numbers: Tensor) -> Tensor:
        fractions = ((numbers.unsqueeze(2) - self.low) * self.per_width).clamp(0.0, 1.0)
        return torch.cat([fractions.flatten(1), numbers], dim=1)


class Projection(nn.Module):
    """Linear map of standardised vectors: (N, V) → (N, width). A missing vector, all zeros, gives zeros.

    P·diag(1/σ)·(x − μ) is computed as P′·x − P′·μ, which reads each vector once. ``moments (V, 2)``: μ and σ
    of each number, see ``Batches.edges``; σ is at least MIN_RATIO·|μ|, so that the difference stays exact.
    """

    def __init__(self, moments: Tensor, width: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        mean, deviation = moments.unbind(dim=1)
        self.register_buffer("mean", mean.clone())
        self.register_buffer("scale", 1.0 / (MIN_RATIO * mean.abs()).clamp(min=1e-6).maximum(deviation))
        self.width = width
        self.linear = nn.Linear(len(moments), width, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        weight = self.linear.weight * self.scale
        products = functional.linear(vectors, weight)
        is_known = (products.abs().amax(dim=1, keepdim=True) > 0).to(torch.float32)
        projected: Tensor = (products - weight @ self.mean) * is_known
        return projected


def embed_items(
    codes: CodeEmbedding, inputs: Mapping[str, Tensor], names: Sequence[str]
) -> list[tuple[Tensor, Tensor]]:
    """Returns (vectors (U, H, dim), present (U, H) bool) of each list in ``names``.

    When serving, ``inputs[name] (U, H, I)`` has the codes. In training, each item of the batch is embedded
    once: ``works (K, I)`` has its codes, ``<name>_at (U, H)`` its row there. This needs fewer gathers and
    gradients, and an item in several lists is dropped in all of them or in none.
    """
    if names[0] in inputs:
        return [(codes(inputs[name]).sum(dim=2), inputs[name].amax(dim=2) > 0) for name in names]
    items = inputs["works"]
    vectors, is_item = sum_of_rows(*codes.read(codes.rows(items))), items.amax(dim=1) > 0
    slots = [inputs[f"{name}_at"] for name in names]
    return [
        (vectors.index_select(0, rows.flatten()).reshape(*rows.shape, -1), is_item[rows]) for rows in slots
    ]


def by_user(items: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    """Returns ``items (N, …)`` as (U, G, …): G items of each user.

    ``slots (U, G)`` of ``inputs`` has their indices, see ``Batches.inputs_by_user``. Without it, G = 1: each
    item has its own user, or all items have the same one.
    """
    if "slots" not in inputs:
        return items.unsqueeze(1)
    slots = inputs["slots"]
    return items.index_select(0, slots.flatten()).reshape(*slots.shape, *items.shape[1:])


def by_item(users: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    """Returns ``users (U, G, …)`` as (N, …): a row for each item. (U, 1, …): all items of a user share a row.

    Without ``slot_of`` in ``inputs``, U is N, or 1 for one user of all items, and the result has U rows.
    """
    if "slot_of" not in inputs:
        return users.squeeze(1)
    at = inputs["slot_of"]
    if users.shape[1] == 1:
        at = at // inputs["slots"].shape[1]
    return users.flatten(0, 1).index_select(0, at)


def attend(query: Tensor, keys: Tensor, present: Tensor) -> Tensor:
    """Returns the means (U, G, d) of H keys, weighted by softmax attention; 0 for an empty list.

    The weights are softmax(⟨query, key⟩/√d).

    Args
      query     (U, G, d) G items of each user
      keys      (U, H, d); U is that of query, or 1 for candidates of one user
      present   (U, H) bool
    """
    scores = torch.matmul(query, keys.transpose(1, 2)) / keys.shape[-1] ** 0.5
    present = present.unsqueeze(1)
    weights = torch.softmax(scores.masked_fill(~present, -1e4), dim=-1) * present
    return torch.matmul(weights, keys)


def masked_mean(keys: Tensor, present: Tensor) -> Tensor:
    """Returns the mean (U, d) of the keys (U, H, d) that are present, 0 if none is."""
    weights = present.unsqueeze(-1).to(keys.dtype)
    return (keys * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
