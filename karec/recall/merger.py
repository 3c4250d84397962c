"""Recall channels merged into one list without repeats; each work knows which channels found it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from karec.kernels.merge import merge_channels
from karec.stage import Merger
from karec.types import Candidates, Request


class QuotaMerger(Merger):
    """At most ``quotas[c]`` works that channel c brings first, and ``limit`` in all; the order of the channels is their
    priority. O(works found).
    """

    proven = True  # tests/kernels/test_merge.py
    limit: int

    def __init__(self, quotas: Sequence[int], limit: int) -> None:
        if limit <= 0 or any(quota <= 0 for quota in quotas):
            raise ValueError(f"quotas and the limit must be positive, got {quotas} and {limit}")
        self.quotas = tuple(quotas)
        self.limit = limit

    def merge(self, request: Request, parts: Sequence[Candidates]) -> Candidates:
        ids, scores, sources = merge_channels(
            [part.ids for part in parts], [part.scores for part in parts], self.quotas, self.limit
        )
        return replace(Candidates.of(ids, scores), sources=sources)
