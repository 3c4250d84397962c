"""Serving form of the MMoE ranker: the function that ``MmoeRanker`` learned, at lower cost in ONNX Runtime.

UserSide runs once per request, ItemSide for each item. Differences from the trained network:

- Biases, calibration and the mean over members are part of the weights or of the user side.
- Softmax is e^x and a division. ONNX Runtime's softmax gives denormal weights to masked scores, and products
  with these are slow. Empty slots are zeros in the user's vectors instead. Scores and gates are clipped to
  ±60.
- The experts of a member are one product with a block-diagonal matrix, so nothing is transposed or sliced.

Cost  per item, with F numbers and crosses, C categories, d dimensions, H slots per list, M members of E
      experts of width h, T tasks: M·E·(h + T)·((C + 4)·d + F) multiplications in the first layer, M·(E·h)²/2
      in the experts, 4·d·H in the attention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from karec.features.encoder import CONTENT
from karec.learn._torch import Tensor, functional, nn, torch
from karec.learn.nets.calibration import Calibrated
from karec.learn.nets.layers import embed_items, masked_mean
from karec.learn.nets.ranker import MmoeRanker

MAX_SCORE = 60.0  # of a score or gate: e^60 is 1e26; sums of it stay far below the largest float32


class UserTerms(NamedTuple):
    """Inputs of ItemSide about U users."""

    keys: list[Tensor]  # (U, d, H): the items of each list, divided by √d
    values: list[Tensor]  # (U, H, d + 1): the same items and a 1; 0 for an empty slot
    first: Tensor  # (U, M·E·(h + T)): the user's part of the first layer
    linear: Tensor  # (U, T + X): the user's linear part, plus all biases after the experts


class UserSide(nn.Module):
    """The user's inputs (see MmoeRanker.inputs), U rows → UserTerms."""

    def __init__(self, calibrated: Calibrated, ranker: MmoeRanker) -> None:
        super().__init__()
        self.ranker = ranker
        self.wide = constant(_scaled(calibrated, ranker, ranker.wide_user.weight))
        biases = ranker.head_bias.mean(dim=0)
        if ranker.extra is not None:
            biases = torch.cat([biases, ranker.extra.bias])
        self.biases = constant(calibrated.bias + calibrated.scale * biases)

    def forward(self, inputs: Mapping[str, Tensor]) -> UserTerms:
        ranker = self.ranker
        lists = embed_items(ranker.item_codes, inputs, ("history", "skipped"))
        numbers = ranker.user_numbers(inputs["user_numbers"])
        parts = [
            ranker.user_codes(inputs["user_ids"]).flatten(1),
            ranker.context_codes(inputs["context"]).flatten(1),
            numbers,
            *(masked_mean(items, is_item) for items, is_item in lists),
        ]
        return UserTerms(
            [items.transpose(1, 2) / items.shape[2] ** 0.5 for items, _ in lists],
            [functional.pad(items, (0, 1), value=1.0) * is_item.unsqueeze(2) for items, is_item in lists],
            ranker.from_user(torch.cat(parts, dim=1)),
            torch.addmm(self.biases, numbers, self.wide),
        )


class ItemSide(nn.Module):
    """Inputs of items (see MmoeRanker.inputs), N rows, UserTerms of 1 or N users → logits (N, T + X)."""

    def __init__(self, calibrated: Calibrated, ranker: MmoeRanker) -> None:
        super().__init__()
        self.item_codes, self.content = ranker.item_codes, ranker.content
        self.members = ranker.members
        self.width = ranker.n_experts * ranker.hidden  # of a member in the first layer; gates are last
        self.first = nn.ParameterList(map(constant, self.cut(ranker.from_item.weight.T)))
        experts = ranker.experts.chunk(ranker.members)
        self.experts = nn.ParameterList(constant(torch.block_diag(*member)) for member in experts)  # type: ignore[no-untyped-call]
        self.expert_bias = nn.ParameterList(map(constant, ranker.expert_bias.reshape(ranker.members, -1)))
        self._heads(calibrated, ranker)
        assert ranker.cross_pieces is not None
        self._numbers(ranker)
        self._wide(calibrated, ranker)
        dim = ranker.item_codes.table.embedding_dim
        self.sum_of_codes = constant(torch.eye(dim).repeat(len(ranker.item_codes.sizes), 1))

    def _heads(self, calibrated: Calibrated, ranker: MmoeRanker) -> None:
        members, n_tasks, size = ranker.heads.shape
        n_heads = len(calibrated.scale)
        experts = ranker.n_experts
        # (E·K, T·E) per member: each expert read by each head, in the order of its gates
        same = torch.eye(experts).reshape(experts, 1, 1, experts)
        heads = same * ranker.heads.transpose(1, 2).reshape(members, 1, size, n_tasks, 1)
        self.heads = nn.ParameterList(
            map(constant, heads.reshape(members, experts * size, n_tasks * experts))
        )
        gated = torch.eye(members * n_tasks)
        self.sum_of_experts = constant(gated.repeat_interleave(experts, dim=0))
        mean = torch.eye(n_tasks, n_heads).repeat(members, 1) / members
        self.mean_of_members = constant(mean * calibrated.scale)
        self.extra: nn.ParameterList | None = None
        if ranker.extra is not None:
            extra = torch.zeros(ranker.extra.in_features, n_heads)
            extra[:, n_tasks:] = ranker.extra.weight.T * calibrated.scale[n_tasks:]
            self.extra = nn.ParameterList(map(constant, extra.chunk(members)))

    def _numbers(self, ranker: MmoeRanker) -> None:
        """Sets the weights of PiecewiseLinear: (numbers@places − low)·per_width, clipped."""
        pieces = ranker.item_numbers
        n, bins = pieces.low.shape
        places = torch.eye(n)
        zeros, ones = torch.zeros(n), torch.ones(n)
        self.places = constant(torch.cat([places.repeat_interleave(bins, dim=1), places], dim=1))
        self.low = constant(-torch.cat([pieces.low.flatten(), zeros]))
        self.per_width = constant(torch.cat([pieces.per_width.flatten(), ones]))
        largest = torch.full((n,), torch.finfo(torch.float32).max)
        self.below = constant(torch.cat([torch.zeros(n * bins), -largest]))
        self.above = constant(torch.cat([torch.ones(n * bins), largest]))

    def _wide(self, calibrated: Calibrated, ranker: MmoeRanker) -> None:
        """Sets the linear part: of numbers and plain crosses in the features, and of the crosses' pieces."""
        assert ranker.cross_pieces is not None
        low, per_width = ranker.cross_pieces.low, ranker.cross_pieces.per_width
        weights = _scaled(calibrated, ranker, ranker.wide_item.weight)
        sizes = [ranker.item_numbers.width, low.numel(), len(low)]
        numbers, pieces, crosses = torch.split(weights, sizes)
        plain = torch.cat([numbers, crosses])
        self.wide = constant(functional.pad(plain, (0, 0, ranker.from_item.in_features - len(plain), 0)))
        # Pieces first, then crosses: ONNX Runtime multiplies rows of crosses faster than rows of pieces.
        self.wide_pieces = constant(pieces.reshape(*low.shape, -1).transpose(0, 1).flatten(0, 1))
        self.cross_scale, self.cross_shift = constant(per_width.T), constant((-low * per_width).T)

    def features(self, inputs: Mapping[str, Tensor], user: UserTerms) -> Tensor:
        """Returns the input (N, F) of the first layer; numbers and crosses are last."""
        codes = self.item_codes(inputs["item_ids"]).flatten(1)
        fractions = torch.addmm(self.low, inputs["item_numbers"], self.places) * self.per_width
        numbers = torch.minimum(torch.maximum(fractions, self.below), self.above)
        item, content = codes @ self.sum_of_codes, []
        if self.content is not None:
            content = [self.content(inputs[CONTENT])]
            item = item + content[0]
        lists = list_features(item, user)
        return torch.cat([codes, *content, *lists, numbers, inputs["crosses"]], dim=1)

    def forward(self, inputs: Mapping[str, Tensor], user: UserTerms) -> Tensor:
        features = self.features(inputs, user)
        user_parts = self.cut(user.first)
        first = [torch.addmm(part, features, self.first[i]) for i, part in enumerate(user_parts)]
        logits = torch.addmm(user.linear, features, self.wide)
        return self.mix(first, self.add_pieces(logits, inputs["crosses"]))

    def add_pieces(self, logits: Tensor, crosses: Tensor) -> Tensor:
        """Returns ``logits`` plus the linear part of the pieces of ``crosses``."""
        pieces = (crosses.unsqueeze(1) * self.cross_scale + self.cross_shift).clamp(0.0, 1.0)
        return torch.addmm(logits, pieces.flatten(1), self.wide_pieces)

    def mix(self, first: Sequence[Tensor], linear: Tensor) -> Tensor:
        """Returns the logits from the outputs of the first layer (see ``cut``) and the linear part."""
        gates, logits, by_head = _exponential(first[-1]), linear, []
        for member in range(self.members):
            hidden = torch.relu(first[member])
            experts = torch.relu(torch.addmm(self.expert_bias[member], hidden, self.experts[member]))
            by_head.append(experts @ self.heads[member])
            if self.extra is not None:
                logits = torch.addmm(logits, experts, self.extra[member])
        mixed = (gates * torch.cat(by_head, dim=1)) @ self.sum_of_experts
        return torch.addmm(logits, mixed / (gates @ self.sum_of_experts), self.mean_of_members)

    def cut(self, first: Tensor) -> list[Tensor]:
        """Returns the columns of each member's experts, then those of all gates."""
        ends = [self.width * member for member in range(self.members + 1)]
        return [*(first[:, begin:end] for begin, end in pairwise(ends)), first[:, ends[-1] :]]


class ServedRanker(nn.Module):
    """``inputs`` of MmoeRanker → calibrated logits (N, T + X)."""

    def __init__(self, calibrated: Calibrated, ranker: MmoeRanker) -> None:
        super().__init__()
        self.inputs = ranker.inputs
        self.user, self.items = UserSide(calibrated, ranker), ItemSide(calibrated, ranker)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = self.items(inputs, self.user(inputs))
        return logits


def constant(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach().clone().contiguous(), requires_grad=False)


def _scaled(calibrated: Calibrated, ranker: MmoeRanker, weight: Tensor) -> Tensor:
    """Returns (F, T + X): the calibrated mean over members of ``weight (M·T + X, F)``."""
    n_tasks = ranker.heads.shape[1]
    mean = weight[: ranker.members * n_tasks].reshape(ranker.members, n_tasks, -1).mean(dim=0)
    return (torch.cat([mean, weight[ranker.members * n_tasks :]]) * calibrated.scale[:, None]).T


def list_features(item: Tensor, user: UserTerms) -> list[Tensor]:
    """Returns each list's attended mean (N, d), then their products with ``item (N, d)``."""
    lists = [_attended(item, keys, values) for keys, values in zip(user.keys, user.values, strict=True)]
    return [*lists, *(summary * item for summary in lists)]


def _attended(item: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Returns the mean (N, d) of a list's items, weighted by e^⟨item, key⟩; 0 for an empty list."""
    weights = _exponential(torch.matmul(item.unsqueeze(1), keys))
    sums = torch.matmul(weights, values).squeeze(1)
    return sums[:, :-1] / sums[:, -1:].clamp(min=1e-30)


def _exponential(scores: Tensor) -> Tensor:
    return scores.clamp(-MAX_SCORE, MAX_SCORE).exp()
