"""Embedding tables whose rows are divided among the ranks. The rank that owns a row also updates it.

Rank r of W owns the rows i with i mod W = r, and their optimizer state: it is their parameter server. A
look-up sends row numbers to their owners and receives the rows (two all-to-all exchanges). Its gradient takes
the opposite way, and the owner adds up the gradients of all ranks. So a step costs O(rows of the batch), and
memory per rank is 1/W of the table.

Models only call ``table(ids) → rows``, as of an nn.Embedding. Another sharded table with this call, such as
torchrec's EmbeddingCollection, can take its place.

Sources  M. Li et al., Scaling distributed machine learning with the parameter server, OSDI 2014; D. Mudigere
         et al., Software-hardware co-design for training of deep learning recommendation models, ISCA 2022
         (row-wise sharding and row-wise Adagrad).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from karec.learn._torch import Tensor, functional, nn, torch
from karec.learn.distributed.ranks import dist, exchange, rank, world

TABLE_RATE = 0.02  # learning rate of Adagrad at the highest of the cycle, see notebook/2026-12-01-ranks.md
EPSILON = 1e-8


class ShardedTable(nn.Module):
    """The rows of an (N, D) table that this rank owns. ``table(ids (K,) int64)`` → (K, D), any rows.

    All ranks call forward and backward together and in the same order; K may differ. ``weight`` (n, D): own
    rows, row i of the table at i // W; n = ⌈(N − r) / W⌉. It is not copied, and its gradient is sparse.
    """

    def __init__(self, n_rows: int, weight: Tensor) -> None:
        super().__init__()
        n_own = len(range(rank(), n_rows, world()))
        if len(weight) != n_own:
            raise ValueError(f"weight has {len(weight)} rows, expected {n_own} of {n_rows}")
        self.num_embeddings = n_rows
        self.embedding_dim = weight.shape[1]
        self.weight = nn.Parameter(weight)

    def forward(self, ids: Tensor) -> Tensor:
        owner = ids % world()
        order = torch.argsort(owner, stable=True)
        counts = torch.bincount(owner, minlength=world())
        other_counts = torch.empty_like(counts)
        with exchange():
            dist.all_to_all_single(other_counts, counts)
        n_requested, n_served = counts.tolist(), other_counts.tolist()
        own = _all_to_all(ids[order], n_served, n_requested)
        rows = functional.embedding(own // world(), self.weight, sparse=True)
        found: Tensor = _RowExchange.apply(rows, n_requested, n_served, order)  # type: ignore[no-untyped-call]
        return found


class _RowExchange(torch.autograd.Function):
    """Sends rows to the ranks that requested them, and puts the received ones at their places ``order``."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, n_received: list[int], n_sent: list[int], order: Tensor) -> Tensor:
        ctx.counts, ctx.order = (n_sent, n_received), order
        received = _all_to_all(rows, n_received, n_sent)
        return torch.empty_like(received).index_copy_(0, order, received)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _all_to_all(gradient.index_select(0, ctx.order), *ctx.counts), None, None, None


def _all_to_all(values: Tensor, n_received: list[int], n_sent: list[int]) -> Tensor:
    received = values.new_empty((sum(n_received), *values.shape[1:]))
    with exchange():
        dist.all_to_all_single(received, values, n_received, n_sent)
    return received


class RowwiseAdagrad:
    """Adagrad with one number per row: h += mean(g²), w −= rate·g / √h. Only rows with a gradient change.

    ``sums``: h (n,) float32 of each table. Cost of a step: O(rows with a gradient).
    Source  J. Duchi et al., Adaptive subgradient methods, JMLR 2011; D. Mudigere et al. (above).
    """

    def __init__(self, tables: Iterable[nn.Parameter]) -> None:
        self.sums = {table: torch.zeros(len(table)) for table in tables}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for table, total in self.sums.items():
            if table.grad is not None:
                gradient = table.grad.coalesce()
                rows, values = gradient.indices()[0], gradient.values()
                total.index_add_(0, rows, values.square().mean(dim=1))
                rates = rate / (total[rows].sqrt() + EPSILON)
                table.index_add_(0, rows, values * -rates.unsqueeze(1))


def shard_tables(model: nn.Module, min_rows: int) -> None:
    """Replaces each nn.Embedding of at least ``min_rows`` rows by the rows that this rank owns."""
    for module, name, table in _tables(model, nn.Embedding):
        if table.num_embeddings >= min_rows:
            own = table.weight.detach()[rank() :: world()].clone()
            setattr(module, name, ShardedTable(table.num_embeddings, own))


def gather_tables(model: nn.Module) -> None:
    """Replaces each sharded table by an nn.Embedding of all rows, on all ranks. O(N·D) memory and network."""
    for module, name, sharded in _tables(model, ShardedTable):
        whole = nn.Embedding(sharded.num_embeddings, sharded.embedding_dim)
        for owner in range(world()):
            rows = whole.weight.detach()[owner :: world()]
            part = sharded.weight.detach() if owner == rank() else torch.empty_like(rows).contiguous()
            with exchange():
                dist.broadcast(part, owner)
            rows.copy_(part)
        setattr(module, name, whole)


def sharded_weights(model: nn.Module) -> dict[nn.Parameter, list[str]]:
    """Returns {own rows of a sharded table: their keys in ``model.state_dict()``}."""
    keys: dict[nn.Parameter, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, ShardedTable):
            keys.setdefault(module.weight, []).append(f"{name}.weight")
    return keys


def _tables(model: nn.Module, kind: type[Any]) -> list[tuple[nn.Module, str, Any]]:
    return [
        (module, name, child)
        for module in model.modules()
        for name, child in module.named_children()
        if isinstance(child, kind)
    ]
