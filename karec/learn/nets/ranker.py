"""The MMoE ranker: user, item, context and cross features, with attention of the work over the user's
history.

It is an ensemble of a few small MMoEs, its *members*, over one set of embeddings. Each has its own loss, and
the ranker's logit is their mean, which overfits rare labels less than one of them.

Every layer that sees both sides is a sum of a user part and an item part, so that serving computes the user's
part once for all candidates: the user's inputs may have one row while the items have N.

Sources  J. Ma et al., Modeling task relationships in multi-task learning with multi-gate mixture-of-experts,
         KDD 2018; G. Zhou et al., Deep interest network, KDD 2018 (attention of the candidate over the
         history); Y. Gorishniy et al., TabM, ICLR 2025 (members that share most of a network, each with its
         own loss).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from karec.features.encoder import Encoder
from karec.learn._torch import Tensor, nn, torch
from karec.learn.nets.features import id_columns, seen_numbers
from karec.learn.nets.layers import CodeEmbedding, Columns, PiecewiseLinear, attend, embed_works, masked_mean
from karec.learn.nets.towers import Towers

INPUTS = (
    *("user_ids", "user_numbers", "history", "skipped", "context"),
    *("item_ids", "item_numbers", "crosses"),
)
NUMBERS = ("user_numbers", "item_numbers")


class MmoeRanker(nn.Module):
    """``inputs`` (of INPUTS, N rows, or 1 on the user's side) → logits (N, T + E): the encoder's tasks, then
    ``extra``.

    ``by_member`` gives the members' logits, on which the loss is computed. The extra heads are shared by all
    members: they read the experts' outputs, and no gradient flows back, since follow and play time, trained
    together with the tasks, cost these .001 of AUC on validation days.

    With ``towers`` None it sees everything. With "full" or "static" it sees what those towers see, without
    cross features and attention over the history; it differs from the towers in that user and work meet in
    one network. ``edges`` of user_numbers and item_numbers as of ``Batches.edges``.
    """

    inputs: Sequence[str] = INPUTS

    def __init__(
        self,
        encoder: Encoder,
        edges: Mapping[str, Tensor],
        *,
        extra: Sequence[str] = (),
        towers: Literal["full", "static"] | None = None,
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
        self.members, self.n_experts, self.hidden, self.crossed = members, n_experts, hidden, towers is None
        self.inputs = INPUTS if self.crossed else Towers.inputs
        user_columns, item_columns = (seen_numbers(encoder, name, towers or "full") for name in NUMBERS)
        self.user_columns, self.item_columns = Columns(user_columns), Columns(item_columns)
        self.user_codes = CodeEmbedding(sizes["user_ids"], dim // 2)
        self.user_numbers = PiecewiseLinear(edges["user_numbers"][user_columns])
        self.item_numbers = PiecewiseLinear(edges["item_numbers"][item_columns])
        n_user_numbers = self.user_numbers.width
        n_item_numbers = self.item_numbers.width + (len(names["crosses"]) if self.crossed else 0)
        self.context_codes = CodeEmbedding(sizes["context"], dim // 2)
        self.item_codes = CodeEmbedding(sizes["item_ids"], dim, id_columns(encoder), id_dropout)
        n_user = (len(sizes["user_ids"]) + len(sizes["context"])) * (dim // 2) + n_user_numbers
        n_user += 2 * dim
        if not self.crossed:
            self.person = CodeEmbedding(sizes["user_id"], dim, [0], id_dropout)
        n_item = len(sizes["item_ids"]) * dim + n_item_numbers + (4 * dim if self.crossed else 0)
        n_mixed = n_all * (hidden + n_tasks)
        self.from_user = nn.Linear(n_user, n_mixed)
        self.from_item = nn.Linear(n_item, n_mixed, bias=False)
        self.experts = nn.Parameter(torch.randn(n_all, hidden, hidden // 2) * (2.0 / hidden) ** 0.5)
        self.expert_bias = nn.Parameter(torch.zeros(n_all, hidden // 2))
        self.heads = nn.Parameter(torch.randn(members, n_tasks, hidden // 2) * (1.0 / hidden) ** 0.5)
        self.head_bias = nn.Parameter(torch.zeros(members, n_tasks))
        self.wide_user = nn.Linear(n_user_numbers, members * n_tasks + len(extra), bias=False)
        self.wide_item = nn.Linear(n_item_numbers, members * n_tasks + len(extra), bias=False)
        self.extra = nn.Linear(n_all * (hidden // 2), len(extra)) if extra else None
        self.dropout = nn.Dropout(dropout)
        self.gate_dropout = nn.Dropout(dropout)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.by_member(inputs).mean(dim=1)

    def by_member(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(N, M, T + E): each member's logits."""
        lists = embed_works(self.item_codes, inputs, ("history", "skipped") if self.crossed else ("history",))
        history, in_history = lists[0]
        item = self.item_codes(inputs["item_ids"])
        user_numbers = self.user_numbers(self.user_columns(inputs["user_numbers"]))
        numbers = self.item_numbers(self.item_columns(inputs["item_numbers"]))
        of_user = [
            self.user_codes(inputs["user_ids"]).flatten(1),
            self.context_codes(inputs["context"]).flatten(1),
            user_numbers,
            masked_mean(history, in_history),
        ]
        of_item = [item.flatten(1)]
        if self.crossed:
            skipped, in_skipped = lists[1]
            query = item.sum(dim=1)
            liked, disliked = attend(query, history, in_history), attend(query, skipped, in_skipped)
            numbers = torch.cat([numbers, inputs["crosses"]], dim=1)
            of_user.append(masked_mean(skipped, in_skipped))
            of_item += [liked, disliked, liked * query, disliked * query]
        else:
            of_user.append(self.person(inputs["user_id"]).flatten(1))
        mixed = self.from_user(torch.cat(of_user, dim=1)) + self.from_item(
            torch.cat([*of_item, numbers], dim=1)
        )
        wide = self.wide_user(user_numbers) + self.wide_item(numbers)
        return self._heads(mixed, wide)

    def _heads(self, mixed: Tensor, wide: Tensor) -> Tensor:
        """(N, M, T + E) from the first layer ``mixed (N, ·)``, of experts and gates, and the linear part
        ``wide``."""
        n_tasks, n_experts = self.heads.shape[1], len(self.experts)  # of all members together
        hidden = torch.relu(mixed[:, : n_experts * self.hidden]).reshape(-1, n_experts, self.hidden)
        experts = torch.relu(
            torch.einsum("neh,ehk->nek", self.dropout(hidden), self.experts) + self.expert_bias
        )
        gates = (
            mixed[:, n_experts * self.hidden :]
            .reshape(-1, self.members, n_tasks, self.n_experts)
            .softmax(dim=3)
        )
        # each expert, read by each head
        by_head = (experts.flatten(1) @ self._heads_of_experts()).reshape(gates.shape)
        of_tasks = wide[:, : self.members * n_tasks].reshape(-1, self.members, n_tasks)
        logits: Tensor = (self.gate_dropout(gates) * by_head).sum(dim=3) + self.head_bias + of_tasks
        if self.extra is not None:
            extra = self.extra(experts.flatten(1).detach()) + wide[:, self.members * n_tasks :]
            logits = torch.cat([logits, extra.unsqueeze(1).expand(-1, self.members, -1)], dim=2)
        return logits

    def _heads_of_experts(self) -> Tensor:
        """(n_all·K, M·T·E): a column is the head of a member's task at the rows of one of its experts, 0
        elsewhere.

        One product with it is quicker than the many small ones that mix a member's experts before its heads
        read them.
        """
        n_tasks, size = self.heads.shape[1:]
        same = torch.eye(len(self.experts), device=self.heads.device)
        same = same.reshape(self.members, self.n_experts, 1, self.members, 1, self.n_experts)
        heads = self.heads.transpose(1, 2).reshape(self.members, 1, size, 1, n_tasks, 1)
        return (same * heads).reshape(len(self.experts) * size, -1)
