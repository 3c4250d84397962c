"""Builds the chain for a cascade: one step for each step of its trace, with the same settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from peers import mean_recall

from chain.methods import Query, Vectors, fastest, fastest_session, largest, nearest_methods
from chain.sources import EMPTY, SOURCE_MAKERS, RequestState, RowMerger, SourceCall, make_sources
from chain.steps import STEP_MAKERS, Step, user_features
from karec.bundle import Bundle
from karec.features.user_vectors import user_query, user_tables
from karec.models.onnx_model import OnnxModel
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Array, Request
from karec.steps.filters.visible import Visible
from karec.steps.query.user_features import UserFeatures
from karec.steps.query.user_tower import UserTower
from karec.steps.scorers.exposure_control import ExposureControl
from karec.steps.sources.merge import Merge
from karec.steps.sources.model import Model


@dataclass(frozen=True)
class Chain:
    """A chain. ``steps``: (place, step) in the order of the cascade's trace."""

    steps: list[tuple[str, Step]]

    def run(self, request: Request, user: int) -> tuple[Array, list[float]]:
        """Returns (rows of the page, processor time of each step in milliseconds)."""
        state, ms = RequestState(request, user), []
        for _, step in self.steps:
            begin = time.process_time()
            step(state)
            ms.append((time.process_time() - begin) * 1e3)
        return state.rows, ms


def make_comparable(cascade: Cascade) -> Cascade:
    """Returns ``cascade`` without exposure control and the filter ``visible``, which the chain lacks."""
    left_out = ExposureControl, Visible
    stages = tuple(
        replace(stage, steps=tuple(step for step in stage.steps if not isinstance(step, left_out)))
        for stage in cascade.stages
    )
    return replace(cascade, stages=stages, exposure=None, side_effects=())


def check_supported(cascade: Cascade) -> None:
    """Raises SystemExit that names the first step or setting of the cascade that the chain lacks."""
    merger = cascade.recall.merger
    assert isinstance(merger, Merge)
    steps = [*cascade.query_hydrators, *(step for stage in cascade.stages for step in stage.steps)]
    unsupported = [step.name for step in steps if type(step) not in STEP_MAKERS]
    unsupported += [
        source.name for source in cascade.recall.sources if type(source) not in (*SOURCE_MAKERS, Model)
    ]
    unsupported += ["merge with min_items or consumed"] if any(merger.min_items) or merger.consumed else []
    unsupported += [] if any(type(step) is UserTower for step in steps) else ["cascade without user_tower"]
    if unsupported:
        raise SystemExit(f"the chain has no {unsupported[0]}")


class ChainBuilder:
    """Vectors, lists, sessions and the fastest methods for the chains of one cascade."""

    def __init__(self, cascade: Cascade, bundle: Bundle, requests: list[Request]) -> None:
        check_supported(cascade)
        self.cascade = cascade
        self.snapshot = bundle.snapshot
        self.merger = RowMerger(len(self.snapshot.works))
        self.vectors = Vectors(cascade, bundle)
        self.columns = {name: np.asarray(column) for name, column in self.snapshot.works.columns.items()}
        self.sessions: dict[Path, Callable[[Any], Array]] = {}
        self.requests = requests
        self.queries = [self._query(request) for request in requests]
        # Scores of all items, if one scan serves recall and prerank.
        self.scores = np.empty(0, np.float32)
        self._choose()

    def _query(self, request: Request) -> Query:
        request = self._hydrated(request)
        return self.vectors.query(user_query(request), user_tables(request))

    def _hydrated(self, request: Request) -> Request:
        """Returns the request with a view of the index, which is never written to, and its features."""
        assert self.cascade.index is not None
        request = request.with_view(self.cascade.index.pinned())
        for step in self.cascade.query_hydrators:
            request = request.with_features(step.hydrate_request(request))
        return request

    def _choose(self) -> None:
        """Chooses the methods that find the nearest items and score the candidates."""
        model = next((source for source in self.cascade.recall.sources if isinstance(source, Model)), None)
        n = len(self.vectors.all)
        score_methods = self.vectors.score_methods()
        found = [self.cascade.recall.run(self._hydrated(request))[0].ids for request in self.requests]
        inputs = [
            (self.snapshot.works.lookup(ids).astype(np.int32), query)
            for ids, query in zip(found, self.queries, strict=True)
        ]
        name, ms = fastest(f"{np.median([*map(len, found)]):,.0f} inner products", score_methods, inputs)
        self.score_rows, self.by_scan, self.nearest = score_methods[name], False, lambda query: EMPTY
        if model is None:
            return
        quota, recall = min(model.quota, n), self._recall(model)
        methods = nearest_methods(self.vectors, self.queries, quota, recall)
        nearest_ms = 0.0
        if methods:
            title = f"the {quota:,} nearest at a recall of {recall:.3f}"
            nearest, nearest_ms = fastest(title, methods, self.queries)
            self.nearest = methods[nearest]
        one_scan = {
            name: lambda pair, scan=scan: (self._nearest_of(scan(pair[1]), quota), self.scores[pair[0]])
            for name, scan in self.vectors.scan_methods().items()
        }
        name, one_scan_ms = fastest("one scan for the nearest items and all inner products", one_scan, inputs)
        if not methods or one_scan_ms < ms + nearest_ms:
            scan = self.vectors.scan_methods()[name]
            self.nearest, self.by_scan = lambda query: self._nearest_of(scan(query), quota), True

    def _nearest_of(self, scores: Array, k: int) -> Array:
        self.scores = scores
        return largest(scores, k).astype(np.int32)

    def _recall(self, model: Model) -> float:
        """Returns the recall of the cascade's source ``model`` at its quota."""
        assert self.cascade.index is not None
        requests = [self._hydrated(request) for request in self.requests]
        if model._n_probe(requests[0]) is None:
            return 1.0
        exact_model = copy(model)
        exact_model.exact = True
        exact, found = (
            [source.recall(request).ids for request in requests] for source in (exact_model, model)
        )
        return mean_recall(exact, found)

    def chain(self) -> Chain:
        cascade = self.cascade
        steps = [(f"request.{step.name}", self.make_step(step)) for step in cascade.query_hydrators]
        calls = make_sources(cascade, self.snapshot, self.merger, self.nearest)
        for source, call in zip(cascade.recall.sources, calls, strict=True):
            steps.append((f"recall.{source.name}", self._source_step(call, source.quota)))
        steps.append(("recall.merge", self._merge))
        steps += [
            (f"{stage.name}.{step.name}", self.make_step(step))
            for stage in cascade.stages
            for step in stage.steps
        ]
        return Chain(steps)

    def first_request(self, rows: Array | None = None) -> RequestState:
        """Returns the first request with its features and ``rows``, to try a session on."""
        state = RequestState(self.requests[0], -1, rows=np.empty(0, np.int64) if rows is None else rows)
        for step in self.cascade.query_hydrators:
            if isinstance(step, UserFeatures):
                user_features(self, step)(state)
        return state

    def session(self, model: OnnxModel, inputs: Mapping[str, Array], output: str) -> Callable[[Any], Array]:
        if model.path not in self.sessions:
            self.sessions[model.path] = fastest_session(model, inputs, output)
        return self.sessions[model.path]

    @staticmethod
    def _source_step(call: SourceCall, quota: int) -> Step:
        return lambda state: state.parts.append(call(state)[:quota])

    def _merge(self, state: RequestState) -> None:
        limit = self.cascade.recall.merger.limit
        assert limit is not None
        state.rows, _ = self.merger.merge(state.parts, limit)

    def groups(self, column: str) -> tuple[Array, Array]:
        """Returns the group of each item by its value of ``column``, and a count of 0 for each group."""
        values, group_of = np.unique(self.columns[column], return_inverse=True)
        return group_of.astype(np.int32), np.zeros(len(values), np.uint32)

    def make_step(self, step: Any) -> Step:
        run: Step = STEP_MAKERS[type(step)](self, step)
        return run
