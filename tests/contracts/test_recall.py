"""Contracts of sources and mergers."""

from __future__ import annotations

import numpy as np
import pytest
from step_cases import LIMIT, QUOTAS, scene_of
from step_contract import Contract, Watched

from karec.bundle import Bundle


class TestSources(Contract):
    role = "source"

    @pytest.fixture(params=QUOTAS)
    def scene(self, request: pytest.FixtureRequest, use: str) -> str:
        return scene_of(use, quota=request.param)

    def check(self, watched: Watched, bundle: Bundle) -> None:
        """The step returns known items without repeats, with finite scores, at most its quota."""
        found = watched.before.copies
        assert watched.trace.n_out <= watched.step.quota
        assert len(found["ids"]) == watched.trace.n_out, "the merger drops repeated items"
        known = np.isin(found["ids"], bundle.snapshot.works.ids) | (bundle.index.lookup(found["ids"]) >= 0)
        assert known.all(), f"unknown ids {found['ids'][~known]}"
        assert np.isfinite(found["scores"]).all() and (found["sources"] == 1).all()


class TestMergers(Contract):
    role = "merger"

    def check(self, watched: Watched, bundle: Bundle) -> None:
        """The step returns items of its sources without repeats, with their bits, at most its limit."""
        items_by_source = [list(watched.asked.works[start:][:4]) for start in (0, 2)]
        merged = watched.before.copies
        ids = merged["ids"].tolist()
        assert len(set(ids)) == len(ids) == min(len({*items_by_source[0], *items_by_source[1]}), LIMIT)
        bits = [sum((work in source) << c for c, source in enumerate(items_by_source)) for work in ids]
        assert merged["sources"].tolist() == bits and 0 not in bits
        assert np.isfinite(merged["scores"]).all()
        assert watched.trace.n_in == sum(map(len, items_by_source)) and watched.trace.n_out == len(ids)
