"""Layers that ranker and towers share. Everything here exports to plain ONNX: gathers, sums, products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from karec.learn._torch import Tensor, functional, nn, torch
from karec.learn.nets.row_sums import sum_of_rows

COUNTED = 4096  # rows of a table; beyond, counts of codes are larger than the works' vectors


class CodeEmbedding(nn.Module):
    """A vector for each code of C columns, in one table: ``codes (…, C) int64`` → (…, C, dim).

    Codes 0 and unseen ones (≥ size) share a column's vector 0. In training, a share ``id_dropout`` of the
    codes in the columns ``dropped`` is read as 0, so that this vector is trained and a new work, whose id is
    unseen, has a good one.
    """

    def __init__(
        self, sizes: Sequence[int], dim: int, dropped: Sequence[int] = (), id_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.sizes: Tensor
        self.offsets: Tensor
        self.chance: Tensor
        self.table = nn.Embedding(sum(sizes), dim)
        nn.init.normal_(self.table.weight, std=0.05)
        self.id_dropout = id_dropout
        offsets = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self.register_buffer("sizes", torch.tensor(sizes), persistent=False)
        self.register_buffer("offsets", offsets, persistent=False)
        chance = torch.zeros(len(sizes))
        chance[list(dropped)] = id_dropout
        self.register_buffer("chance", chance, persistent=False)
        self.column: Tensor  # of each row of the table
        self.register_buffer(
            "column", torch.repeat_interleave(torch.tensor(sizes, dtype=torch.int64)), persistent=False
        )

    def forward(self, codes: Tensor) -> Tensor:
        vectors: Tensor = self.table(self.rows(codes))
        return vectors

    def rows(self, codes: Tensor) -> Tensor:
        """The rows of ``table`` that ``codes (…, C)`` are read from."""
        codes = torch.where(codes < self.sizes, codes, 0)
        if self.training and self.id_dropout:
            codes = torch.where(torch.rand(codes.shape, device=codes.device) < self.chance, 0, codes)
        return codes + self.offsets

    def sum_of_list(
        self, inputs: Mapping[str, Tensor], name: str, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The works of a list, in the forms that ``embed_works`` reads, added up: (U, dim), and their number
        (U, 1).

        A work is the sum over its columns, times ``weights (C,)``. Where the table has at most COUNTED rows,
        counts of codes multiply it, and no vector by slot or by work is held; else works are gathered. Counts
        that the batch has already, ``<name>_counts (U, rows of the table)``, are taken where no code is
        dropped.
        """
        counted = inputs.get(f"{name}_counts")
        if counted is not None and not (self.training and self.id_dropout):
            table = (
                self.table.weight
                if weights is None
                else self.table.weight * weights[self.column].unsqueeze(1)
            )
            return counted @ table, counted[:, : int(self.sizes[0])].sum(dim=1, keepdim=True)
        by_slot = name in inputs
        works = inputs[name] if by_slot else inputs["works"]
        rows, there = self.rows(works), (works.amax(dim=-1) > 0).to(torch.float32)
        table = self.table.weight
        table = table if weights is None else table * weights[self.column].unsqueeze(1)
        at = None if by_slot else inputs[f"{name}_at"]
        present = there if at is None else there[at]
        if len(table) <= COUNTED:
            in_slots = rows if at is None else rows[at]
            weight = present.unsqueeze(2).expand(in_slots.shape)
            counts = present.new_zeros((present.shape[0], len(table)))
            total = counts.scatter_add_(1, in_slots.flatten(1), weight.flatten(1)) @ table
        elif at is None:
            total = (table[rows].sum(dim=2) * present.unsqueeze(2)).sum(dim=1)
        else:
            vectors = functional.embedding_bag(rows, table, mode="sum")
            total = functional.embedding_bag(at, vectors, per_sample_weights=present, mode="sum")
        return total, present.sum(dim=1, keepdim=True)

    def sum_of_column(self, codes: Tensor, column: int) -> tuple[Tensor, Tensor]:
        """``codes (U, L)`` of one column → their vectors, added up (U, dim), and how many count (U, 1).

        Codes 0 and unseen ones do not count; nothing is dropped in training.
        """
        known = (codes > 0) & (codes < self.sizes[column])
        at = torch.where(known, codes, 0) + self.offsets[column]
        counted = known.to(torch.float32)
        if self.training:  # the vectors by slot are never held; it does not export
            total = functional.embedding_bag(at, self.table.weight, per_sample_weights=counted, mode="sum")
        else:
            total = (self.table(at) * counted.unsqueeze(2)).sum(dim=1)
        return total, counted.sum(dim=1, keepdim=True)


class PiecewiseLinear(nn.Module):
    """Numbers (N, F) → (N, F·(1 + bins)): each number, and of each of its bins the share below it, 0 to 1.

    A linear layer over these is a piecewise linear function with kinks at the ``edges (F, bins + 1)``,
    ascending. Beyond the outermost edges, where there was no training row, it goes on with the slope of the
    plain number.
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
        """F·(1 + bins)."""
        return self.low.numel() + len(self.low)

    def forward(self, numbers: Tensor) -> Tensor:
        reach = ((numbers.unsqueeze(2) - self.low) * self.per_width).clamp(0.0, 1.0)
        return torch.cat([reach.flatten(1), numbers], dim=1)


class Columns(nn.Module):
    """Numbers (N, F) → (N, K): the columns that a model may see."""

    def __init__(self, kept: Sequence[int]) -> None:
        super().__init__()
        self.kept: Tensor
        self.register_buffer("kept", torch.tensor(list(kept), dtype=torch.int64))

    def forward(self, numbers: Tensor) -> Tensor:
        return numbers.index_select(1, self.kept)


def embed_works(
    codes: CodeEmbedding, inputs: Mapping[str, Tensor], names: Sequence[str]
) -> list[tuple[Tensor, Tensor]]:
    """The works of the lists ``names``, for each: vectors (U, H, dim), sums over columns, and present (U, H)
    bool.

    Serving gives their codes, ``inputs[name] (U, H, I)``. Training gives each work of the batch once, ``works
    (K, I)``, and its row there, ``<name>_at (U, H)``, which takes a fraction of the gathers and of the
    gradients to scatter: a work that stands in several lists is embedded once, and is hidden in all of them
    or in none.
    """
    if names[0] in inputs:
        return [(codes(inputs[name]).sum(dim=2), inputs[name].amax(dim=2) > 0) for name in names]
    works = inputs["works"]
    vectors, there = sum_of_rows(codes.table.weight, codes.rows(works)), works.amax(dim=1) > 0
    slots = [inputs[f"{name}_at"] for name in names]
    return [(vectors.index_select(0, at.flatten()).reshape(*at.shape, -1), there[at]) for at in slots]


def attend(query: Tensor, keys: Tensor, present: Tensor) -> Tensor:
    """Softmax attention of N candidates over H works: ``query (N, d)``, ``keys (U, H, d)``, ``present (U, H)
    bool``.

    U is N, or 1 for one user's candidates. Returns (N, d): the mean of the keys, weighted by softmax(⟨query,
    key⟩/√d); zero for an empty history.
    """
    scores = torch.matmul(keys, query.unsqueeze(-1)).squeeze(-1) / keys.shape[-1] ** 0.5
    weights = torch.softmax(scores.masked_fill(~present, -1e4), dim=-1) * present
    return torch.matmul(weights.unsqueeze(1), keys).squeeze(1)


def masked_mean(keys: Tensor, present: Tensor) -> Tensor:
    """(U, d): the mean of the keys (U, H, d) that are present; zero for none."""
    there = present.unsqueeze(-1).to(keys.dtype)
    return (keys * there).sum(dim=1) / there.sum(dim=1).clamp(min=1.0)
