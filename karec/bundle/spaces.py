"""The vector spaces of a bundle: which files hold the item vectors of one, and the towers that make its vectors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Space:
    """``index``: the index file; ``user_tower``, ``item_tower``: the names of its models, without their ending."""

    index: str
    user_tower: str
    item_tower: str

    @property
    def own(self) -> str:
        """The user tower of the bundle's own model version."""
        return f"{self.user_tower}.onnx"

    @property
    def item(self) -> str:
        return f"{self.item_tower}.onnx"

    @property
    def others(self) -> str:
        """What the user towers of other model versions are called, as a pattern."""
        return f"{self.user_tower}.v*.onnx"

    def others_of(self, names: Iterable[str]) -> list[str]:
        """Those of ``names`` that are user towers of other model versions, in order."""
        return sorted(name for name in names if "/" not in name and Path(name).match(self.others))


PRERANK = Space("index.karec", "user_tower", "item_tower")
RECALL = Space("recall.karec", "recall_user_tower", "recall_item_tower")  # a bundle may have none
SPACES = (PRERANK, RECALL)
