"""The MMoE ranker as it serves: the function that ``MmoeRanker`` learned, in a form that costs ONNX Runtime
less.

UserSide is computed once a request, ItemSide for each work. Unlike the network that is trained

- biases, the calibration and the mean over members lie in the weights or on the user's side;
- softmax is e^x and a division: ONNX Runtime's gives denormal weights where a score is masked, and products
  of those are slow. Empty slots are zeros among the user's vectors instead. Scores and gates beyond ±60 count
  as ±60;
- a member's experts are one product with a block-diagonal matrix, so that nothing is transposed or cut.

Cost  for a work, of F numbers and crosses, C categories, d dimensions, H slots a list, M members of E experts
      of width h, T tasks: M·E·(h + T)·((C + 4)·d + F) multiplications in the first layer, M·(E·h)²/2 in the
      experts, 4·d·H in the attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from karec.learn._torch import Tensor, functional, nn, torch
from karec.learn.nets.calibration import Calibrated
from karec.learn.nets.layers import embed_works, masked_mean
from karec.learn.nets.ranker import INPUTS, MmoeRanker

MOST = 60.0  # of a score or a gate: e^60 is 1e26, and sums of it stay far below the largest float32


class OfUser(NamedTuple):
    """What ItemSide reads of U users."""

    keys: list[Tensor]  # (U, d, H): the works of each list, over √d
    values: list[Tensor]  # (U, H, d + 1): the same works, and 1; all 0 where a slot is empty
    first: Tensor  # (U, M·E·(h + T)): the user's part of the first layer
    linear: Tensor  # (U, T + X): the user's linear part, and every bias behind the experts


class UserSide(nn.Module):
    """``inputs``, the user's side of INPUTS, U rows → OfUser."""

    def __init__(self, calibrated: Calibrated, ranker: MmoeRanker) -> None:
        super().__init__()
        self.ranker = ranker
        self.wide = _kept(_scaled(calibrated, ranker, ranker.wide_user.weight))
        biases = ranker.head_bias.mean(dim=0)
        if ranker.extra is not None:
            biases = torch.cat([biases, ranker.extra.bias])
        self.biases = _kept(calibrated.bias + calibrated.scale * biases)

    def forward(self, inputs: Mapping[str, Tensor]) -> OfUser:
        ranker = self.ranker
        lists = embed_works(ranker.item_codes, inputs, ("history", "skipped"))
        numbers = ranker.user_numbers(ranker.user_columns(inputs["user_numbers"]))
        of_user = [
            ranker.user_codes(inputs["user_ids"]).flatten(1),
            ranker.context_codes(inputs["context"]).flatten(1),
            numbers,
            *(masked_mean(works, there) for works, there in lists),
        ]
        return OfUser(
            [works.transpose(1, 2) / works.shape[2] ** 0.5 for works, _ in lists],
            [functional.pad(works, (0, 1), value=1.0) * there.unsqueeze(2) for works, there in lists],
            ranker.from_user(torch.cat(of_user, dim=1)),
            torch.addmm(self.biases, numbers, self.wide),
        )


class ItemSide(nn.Module):
    """item_ids, item_numbers and crosses of ``inputs``, N rows, and OfUser of one user or of N → logits (N, T
    + X)."""

    def __init__(self, calibrated: Calibrated, ranker: MmoeRanker) -> None:
        super().__init__()
        self.item_codes = ranker.item_codes
        self.members = ranker.members
        # of a member's part of the first layer; gates come last
        self.width = ranker.n_experts * ranker.hidden
        self.first = nn.ParameterList(map(_kept, self._cut(ranker.from_item.weight.T)))
        experts = ranker.experts.chunk(ranker.members)
        self.experts = nn.ParameterList(_kept(torch.block_diag(*each)) for each in experts)  # type: ignore[no-untyped-call]
        self.expert_bias = nn.ParameterList(map(_kept, ranker.expert_bias.reshape(ranker.members, -1)))
        self._heads(calibrated, ranker)
        self._numbers(ranker)
        wide = _scaled(calibrated, ranker, ranker.wide_item.weight)
        self.wide = _kept(functional.pad(wide, (0, 0, len(ranker.from_item.weight.T) - len(wide), 0)))
        dim = ranker.item_codes.table.embedding_dim
        self.sum_of_codes = _kept(torch.eye(dim).repeat(len(ranker.item_codes.sizes), 1))

    def _heads(self, calibrated: Calibrated, ranker: MmoeRanker) -> None:
        members, n_tasks, size = ranker.heads.shape
        n_heads = len(calibrated.scale)
        experts = ranker.n_experts
        # a member's experts, each read by each head: (E·K, T·E), the order of its gates
        same = torch.eye(experts).reshape(experts, 1, 1, experts)
        heads = same * ranker.heads.transpose(1, 2).reshape(members, 1, size, n_tasks, 1)
        self.heads = nn.ParameterList(map(_kept, heads.reshape(members, experts * size, n_tasks * experts)))
        gated = torch.eye(members * n_tasks)
        self.sum_of_experts = _kept(gated.repeat_interleave(experts, dim=0))
        mean = torch.eye(n_tasks, n_heads).repeat(members, 1) / members
        self.mean_of_members = _kept(mean * calibrated.scale)
        self.extra: nn.ParameterList | None = None
        if ranker.extra is not None:
            extra = torch.zeros(ranker.extra.in_features, n_heads)
            extra[:, n_tasks:] = ranker.extra.weight.T * calibrated.scale[n_tasks:]
            self.extra = nn.ParameterList(map(_kept, extra.chunk(members)))

    def _numbers(self, ranker: MmoeRanker) -> None:
        """PiecewiseLinear of the columns seen: (numbers@places − low)·per_width, within ``below`` and
        ``above``."""
        pieces = ranker.item_numbers
        n, bins = pieces.low.shape
        places = torch.eye(n)  # a ranker that reads crosses sees every column
        none, one = torch.zeros(n), torch.ones(n)
        self.places = _kept(torch.cat([places.repeat_interleave(bins, dim=1), places], dim=1))
        self.low = _kept(-torch.cat([pieces.low.flatten(), none]))
        self.per_width = _kept(torch.cat([pieces.per_width.flatten(), one]))
        most = torch.full((n,), torch.finfo(torch.float32).max)
        self.below = _kept(torch.cat([torch.zeros(n * bins), -most]))
        self.above = _kept(torch.cat([torch.ones(n * bins), most]))

    def features(self, inputs: Mapping[str, Tensor], user: OfUser) -> Tensor:
        """(N, F): what the first layer reads, numbers and crosses last."""
        codes = self.item_codes(inputs["item_ids"]).flatten(1)
        reach = torch.addmm(self.low, inputs["item_numbers"], self.places) * self.per_width
        numbers = torch.minimum(torch.maximum(reach, self.below), self.above)
        work = codes @ self.sum_of_codes
        lists = [_attended(work, keys, values) for keys, values in zip(user.keys, user.values, strict=True)]
        return torch.cat(
            [codes, *lists, *(works * work for works in lists), numbers, inputs["crosses"]], dim=1
        )

    def forward(self, inputs: Mapping[str, Tensor], user: OfUser) -> Tensor:
        features = self.features(inputs, user)
        *of_members, of_gates = self._cut(user.first)
        gates = _exponential(torch.addmm(of_gates, features, self.first[-1]))
        logits = torch.addmm(user.linear, features, self.wide)
        by_head = []
        for at, of_user in enumerate(of_members):
            hidden = torch.relu(torch.addmm(of_user, features, self.first[at]))
            experts = torch.relu(torch.addmm(self.expert_bias[at], hidden, self.experts[at]))
            by_head.append(experts @ self.heads[at])
            if self.extra is not None:
                logits = torch.addmm(logits, experts, self.extra[at])
        mixed = (gates * torch.cat(by_head, dim=1)) @ self.sum_of_experts
        return torch.addmm(logits, mixed / (gates @ self.sum_of_experts), self.mean_of_members)

    def _cut(self, first: Tensor) -> list[Tensor]:
        """The columns of each member's experts, and those of all gates."""
        ends = [self.width * member for member in range(self.members + 1)]
        return [*(first[:, begin:end] for begin, end in pairwise(ends)), first[:, ends[-1] :]]


class ServedRanker(nn.Module):
    """``inputs`` of MmoeRanker → calibrated logits (N, T + X)."""

    inputs = INPUTS

    def __init__(self, calibrated: Calibrated, ranker: MmoeRanker) -> None:
        super().__init__()
        self.user, self.items = UserSide(calibrated, ranker), ItemSide(calibrated, ranker)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = self.items(inputs, self.user(inputs))
        return logits


def _kept(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach().clone().contiguous(), requires_grad=False)


def _scaled(calibrated: Calibrated, ranker: MmoeRanker, weight: Tensor) -> Tensor:
    """(F, T + X): of ``weight (M·T + X, F)`` the mean over members, calibrated."""
    n_tasks = ranker.heads.shape[1]
    of_tasks = weight[: ranker.members * n_tasks].reshape(ranker.members, n_tasks, -1).mean(dim=0)
    return (torch.cat([of_tasks, weight[ranker.members * n_tasks :]]) * calibrated.scale[:, None]).T


def _attended(work: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """(N, d): the mean of a list's works, weighed by e^⟨work, key⟩, of ``work (N, d)``; 0 of an empty
    list."""
    weights = _exponential(torch.matmul(work.unsqueeze(1), keys))
    sums = torch.matmul(weights, values).squeeze(1)
    return sums[:, :-1] / sums[:, -1:].clamp(min=1e-30)


def _exponential(scores: Tensor) -> Tensor:
    return scores.clamp(-MOST, MOST).exp()
