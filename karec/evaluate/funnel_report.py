"""The funnel's loss as rows of a table: what passes prerank of the ranker's best works, by pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from karec.evaluate.funnel import PARTS, TOPS
from karec.evaluate.page import with_interval

FUNNEL_TITLE = "Of the ranker's best works of a pool, the share that passes prerank"
FUNNEL_NOTE = (
    "By the inner product alone; by prerank as it served, with ecosystem steps and DPP; the difference is "
    "what those "
    "take on purpose. The same number of works passes in both. In brackets: 95 % intervals from resampling "
    "users."
)
FUNNEL_HEAD = ("pools", "passed", "best", "inner product", "prerank", "taken on purpose")


def funnel_rows(loss: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each kind of pool and each top of the ranker's; ``loss`` as ``funnel_loss`` returns it."""
    of = {f"{loss['requests']:,} of {loss['pool']:,} works": loss}
    for size, measured in loss["by_pool_size"].items():
        of[f"{measured['requests']:,} of {int(size):,} drawn"] = measured
    for name, measured in of.items():
        for top in TOPS:
            shares = [
                with_interval(measured[part][f"top{top}"], measured[part][f"top{top}_ci"], 3)
                for part in PARTS
            ]
            yield (name, f"{measured['passed']:,}", f"{top}", *shares)
