"""Channels become one list without repeats: each fills its quota, and every work remembers which channels found it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from karec.kernels.merge import merge_channels
from karec.stage import Merger
from karec.types import Candidates, Request


class QuotaMerger(Merger):
    """At most ``quotas[c]`` new works of channel c and ``limit`` in all, channel by channel; O(all that was found)."""

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
