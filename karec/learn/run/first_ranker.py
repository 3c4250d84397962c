"""A first ranker: a cheap part of the ranker. It orders all works, so that the whole one ranks the best of
them alone.

It is made of what was trained: of an MMoE one member, of boosted trees the first TREES of each task's, since
later ones correct less. It predicts the encoder's tasks alone, not what the MMoE learns besides. Of
``ranker.onnx`` the first ranker is ``ranker_first.onnx``, beside it.
"""

from __future__ import annotations

import copy
from pathlib import Path

from karec.learn._torch import Tensor, nn, torch
from karec.learn.nets.ranker import MmoeRanker

# of each task's: karec's world keeps .98 of the best 100 works among the best 300 of 1,000 by them
TREES = 0.3


def first_path(path: Path) -> Path:
    """Where the first ranker of the ranker at ``path`` lies."""
    return path.with_name(f"{path.stem}_first{path.suffix}")


def first_trees(n: int) -> int:
    """How many of ``n`` trees of a task the first ranker has: one at least."""
    return max(1, round(TREES * n))


def first_member(ranker: MmoeRanker) -> MmoeRanker:
    """The first member of ``ranker`` by itself: its logits are those of ``by_member`` for the encoder's
    tasks."""
    one = copy.deepcopy(ranker)
    n_tasks, n_experts = ranker.heads.shape[1], ranker.n_experts
    gates = len(ranker.experts) * ranker.hidden  # where those begin in the first layer

    def part(weight: Tensor) -> Tensor:
        return torch.cat([weight[: n_experts * ranker.hidden], weight[gates : gates + n_tasks * n_experts]])

    one.members, one.extra = 1, None
    one.from_user.weight, one.from_user.bias = (
        _kept(part(ranker.from_user.weight)),
        _kept(part(ranker.from_user.bias)),
    )
    one.from_item.weight = _kept(part(ranker.from_item.weight))
    one.experts, one.expert_bias = _kept(ranker.experts[:n_experts]), _kept(ranker.expert_bias[:n_experts])
    one.heads, one.head_bias = _kept(ranker.heads[:1]), _kept(ranker.head_bias[:1])
    one.wide_user.weight = _kept(ranker.wide_user.weight[:n_tasks])
    one.wide_item.weight = _kept(ranker.wide_item.weight[:n_tasks])
    return one.eval()


def _kept(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach().clone(), requires_grad=False)
