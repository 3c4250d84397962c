"""Logistic regression over one-hot features, a linear baseline that can also serve as the ranker.

Source  M. Richardson et al., Predicting clicks, WWW 2007.
"""

from __future__ import annotations

from collections.abc import Mapping

from karec.features.encoder import Encoder
from karec.learn._torch import Tensor, nn
from karec.learn.nets.layers import CodeEmbedding

INPUTS = ("user_ids", "user_numbers", "context", "item_ids", "item_numbers", "crosses")


class LogisticRegression(nn.Module):
    """One weight per code and number and task: ``inputs`` (see INPUTS) → logits (N, T)."""

    inputs = INPUTS

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        sizes, names, n_tasks = encoder.sizes, encoder.names, len(encoder.tasks)
        self.codes = nn.ModuleDict()
        for name in ("user_ids", "context", "item_ids"):
            codes = CodeEmbedding(sizes[name], n_tasks)
            nn.init.zeros_(codes.table.weight)
            self.codes[name] = codes
        self.numbers = nn.ModuleDict(
            {
                name: nn.Linear(len(names[name]), n_tasks)
                for name in ("user_numbers", "item_numbers", "crosses")
            }
        )

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        from_codes = [codes(inputs[name]).sum(dim=1) for name, codes in self.codes.items()]
        from_numbers = [linear(inputs[name]) for name, linear in self.numbers.items()]
        logits: Tensor = sum(from_numbers[1:], from_numbers[0]) + sum(from_codes[1:], from_codes[0])
        return logits

    def by_member(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns the logits as (N, 1, T), the shape that MmoeRanker.by_member has."""
        logits: Tensor = self(inputs)
        return logits.unsqueeze(1)
