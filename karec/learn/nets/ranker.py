"""MMoE ranker: user, item, context and cross features, with attention of the item over the user's history.

The ranker is an ensemble of a few small MMoEs (*members*) with shared embeddings. Each member has its own
loss; the logit is the mean of the members, which overfits rare labels less than a single member.

Each layer that reads both sides is the sum of a user part and an item part. So a request computes the user
part once: the user's inputs may have one row while the items have N.

A linear part reads the pieces of all numbers. Without pieces of the cross features, the ranker learns a third
less of what is personal (docs/notebook/2026-11-30-ranker-balance.md).

Sources  J. Ma et al., Modeling task relationships in multi-task learning with multi-gate mixture-of-experts,
         KDD 2018; G. Zhou et al., Deep interest network, KDD 2018 (attention of the candidate over the
         history); Y. Gorishniy et al., TabM, ICLR 2025 (members that share most of a network, each with its
         own loss).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from karec.features.encoder import CONTENT, Encoder
from karec.learn._torch import Tensor, nn, torch
from karec.learn.nets.layers import (
    CodeEmbedding,
    PiecewiseLinear,
    Projection,
    attend,
    by_item,
    by_user,
    embed_items,
    masked_mean,
)
from karec.learn.nets.towers import Towers, item_embedding

INPUTS = (
    *("user_ids", "user_numbers", "history", "skipped", "context"),
    *("item_ids", "item_numbers", "crosses"),
)


class MmoeRanker(nn.Module):
    """``inputs`` (see INPUTS) → logits (N, T + E): tasks, then ``extra``.

    Inputs of users have 1 or N rows, or those of ``Batches.inputs_by_user``.

    The loss is computed on the members' logits (``by_member``). All members share the extra heads. These read
    the experts' outputs without a gradient: follow and play time, trained jointly, cost the other tasks 0.001
    AUC on validation days.

    If not ``crossed``, the ranker reads the inputs of the towers, without cross features and attention; but
    it combines user and item in one network. ``edges``: see ``Batches.edges``.
    """

    inputs: Sequence[str] = INPUTS

    def __init__(
        self,
        encoder: Encoder,
        edges: Mapping[str, Tensor],
        *,
        extra: Sequence[str] = (),
        crossed: bool = True,
        dim: int = 16,
        members: int = 4,
        hidden: int = 32,
        n_experts: int = 4,
        dropout: float = 0.1,
        id_dropout: float = 0.3,
    ) -> None:
        super().__init__()
        sizes, names = encoder.sizes, encoder.names
        n_tasks, n_all = len(encoder.tasks), members * n_experts
        self.members, self.n_experts, self.hidden, self.crossed = members, n_experts, hidden, crossed
        self.inputs = INPUTS if self.crossed else Towers.inputs
        self.content = Projection(edges[CONTENT], dim) if CONTENT in edges else None
        if self.content is not None:
            self.inputs = (*self.inputs, CONTENT)
        self.user_codes = CodeEmbedding(sizes["user_ids"], dim // 2)
        self.user_numbers = PiecewiseLinear(edges["user_numbers"])
        self.item_numbers = PiecewiseLinear(edges["item_numbers"])
        self.cross_pieces = PiecewiseLinear(edges["crosses"]) if self.crossed else None
        n_user_numbers = self.user_numbers.width
        n_item_numbers = self.item_numbers.width + (len(names["crosses"]) if self.crossed else 0)
        self.context_codes = CodeEmbedding(sizes["context"], dim // 2)
        self.item_codes = item_embedding(encoder, dim, id_dropout)
        n_user = (len(sizes["user_ids"]) + len(sizes["context"])) * (dim // 2) + n_user_numbers
        n_user += 2 * dim
        if not self.crossed:
            self.person = CodeEmbedding(sizes["user_id"], dim, [0], id_dropout)
        n_item = len(sizes["item_ids"]) * dim + n_item_numbers + (4 * dim if self.crossed else 0)
        n_item += 0 if self.content is None else dim
        n_mixed = n_all * (hidden + n_tasks)
        self.from_user = nn.Linear(n_user, n_mixed)
        self.from_item = nn.Linear(n_item, n_mixed, bias=False)
        self.experts = nn.Parameter(torch.randn(n_all, hidden, hidden // 2) * (2.0 / hidden) ** 0.5)
        self.expert_bias = nn.Parameter(torch.zeros(n_all, hidden // 2))
        self.heads = nn.Parameter(torch.randn(members, n_tasks, hidden // 2) * (1.0 / hidden) ** 0.5)
        self.head_bias = nn.Parameter(torch.zeros(members, n_tasks))
        self.wide_user = nn.Linear(n_user_numbers, members * n_tasks + len(extra), bias=False)
        n_pieces = self.item_numbers.width + (0 if self.cross_pieces is None else self.cross_pieces.width)
        self.wide_item = nn.Linear(n_pieces, members * n_tasks + len(extra), bias=False)
        self.extra = nn.Linear(n_all * (hidden // 2), len(extra)) if extra else None
        self.dropout = nn.Dropout(dropout)
        self.gate_dropout = nn.Dropout(dropout)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.by_member(inputs).mean(dim=1)

    def by_member(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns the logits of each member (N, M, T + E)."""
        lists = embed_items(self.item_codes, inputs, ("history", "skipped") if self.crossed else ("history",))
        history, has_history = lists[0]
        item = self.item_codes(inputs["item_ids"])
        user_numbers = self.user_numbers(inputs["user_numbers"])
        numbers = pieces = self.item_numbers(inputs["item_numbers"])
        user_parts = [
            self.user_codes(inputs["user_ids"]).flatten(1),
            self.context_codes(inputs["context"]).flatten(1),
            user_numbers,
            masked_mean(history, has_history),
        ]
        item_parts, query = [item.flatten(1)], item.sum(dim=1)
        if self.content is not None:
            content = self.content(inputs[CONTENT])
            item_parts.append(content)
            query = query + content
        if self.cross_pieces is not None:
            skipped, has_skipped = lists[1]
            queries = by_user(query, inputs)
            liked = by_item(attend(queries, history, has_history), inputs)
            disliked = by_item(attend(queries, skipped, has_skipped), inputs)
            pieces = torch.cat([numbers, self.cross_pieces(inputs["crosses"])], dim=1)
            numbers = torch.cat([numbers, inputs["crosses"]], dim=1)
            user_parts.append(masked_mean(skipped, has_skipped))
            item_parts += [liked, disliked, liked * query, disliked * query]
        else:
            user_parts.append(self.person(inputs["user_id"]).flatten(1))
        user, wide_user = self.from_user(torch.cat(user_parts, dim=1)), self.wide_user(user_numbers)
        mixed = by_item(user.unsqueeze(1), inputs) + self.from_item(torch.cat([*item_parts, numbers], dim=1))
        wide = by_item(wide_user.unsqueeze(1), inputs) + self.wide_item(pieces)
        return self._heads(mixed, wide)

    def _heads(self, mixed: Tensor, wide: Tensor) -> Tensor:
        """Returns (N, M, T + E) from the first layer ``mixed`` and the linear part ``wide``."""
        n_tasks, n_experts = self.heads.shape[1], len(self.experts)  # experts of all members
        hidden = torch.relu(mixed[:, : n_experts * self.hidden]).reshape(-1, n_experts, self.hidden)
        experts = torch.relu(
            torch.einsum("neh,ehk->nek", self.dropout(hidden), self.experts) + self.expert_bias
        )
        gates = (
            mixed[:, n_experts * self.hidden :]
            .reshape(-1, self.members, n_tasks, self.n_experts)
            .softmax(dim=3)
        )
        by_head = (experts.flatten(1) @ self._heads_of_experts()).reshape(gates.shape)
        task_terms = wide[:, : self.members * n_tasks].reshape(-1, self.members, n_tasks)
        logits: Tensor = (self.gate_dropout(gates) * by_head).sum(dim=3) + self.head_bias + task_terms
        if self.extra is not None:
            extra = self.extra(experts.flatten(1).detach()) + wide[:, self.members * n_tasks :]
            logits = torch.cat([logits, extra.unsqueeze(1).expand(-1, self.members, -1)], dim=2)
        return logits

    def _heads_of_experts(self) -> Tensor:
        """Returns (n_all·K, M·T·E): column (m, t, e) has head (m, t) in the rows of expert e.

        One product with this matrix is faster than many small products that mix a member's experts before the
        heads.
        """
        n_tasks, size = self.heads.shape[1:]
        same = torch.eye(len(self.experts), device=self.heads.device)
        same = same.reshape(self.members, self.n_experts, 1, self.members, 1, self.n_experts)
        heads = self.heads.transpose(1, 2).reshape(self.members, 1, size, 1, n_tasks, 1)
        return (same * heads).reshape(len(self.experts) * size, -1)
