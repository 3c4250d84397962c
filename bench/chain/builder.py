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

from chain.methods import Vectors, fastest, fastest_session, nearest_methods, numpy_dpp, pyversity_dpp
from chain.sources import EMPTY, SOURCE_MAKERS, RequestState, RowMerger, SourceCall, make_sources
from chain.steps import STEP_MAKERS, Select, Step, user_features
from karec.bundle import Bundle
from karec.models.onnx_model import OnnxModel
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Array, Request
from karec.steps.filters.visible import Visible
from karec.steps.query.user_features import UserFeatures
from karec.steps.query.user_tower import UserTower
from karec.steps.scorers.exposure_control import ExposureControl
from karec.steps.selectors.dpp import Dpp
from karec.steps.shared.similarity import PLAIN, CandidateSimilarity
from karec.steps.sources.merge import Merge
from karec.steps.sources.model import Model

DPPS: dict[str, Select] = {"pyversity": pyversity_dpp, "NumPy": numpy_dpp}


@dataclass(frozen=True)
class Chain:
    """A chain. ``steps``: (place, step) in the order of the cascade's trace."""

    steps: list[tuple[str, Step]]

    def run(self, request: Request, user: int) -> tuple[dict[str, Array], list[float]]:
        """Returns ({stage: remaining rows}, processor time of each step in milliseconds)."""
        state, ms, rows_of_stage = RequestState(request, user), [], {}
        for place, step in self.steps:
            begin = time.process_time()
            step(state)
            ms.append((time.process_time() - begin) * 1e3)
            rows_of_stage[place.partition(".")[0]] = state.rows
        return rows_of_stage, ms


def make_comparable(cascade: Cascade) -> Cascade:
    """Returns ``cascade`` with a DPP by vectors only, without exposure control and the filter ``visible``.

    The chain has none of these.
    """

    def with_plain_similarity(step: Any) -> Any:
        if not isinstance(step, Dpp) or step.similarity.settings == PLAIN:
            return step
        plain_step = copy(step)
        plain_step.similarity = CandidateSimilarity(
            step.schema, cascade.bundle, PLAIN, float(step.options["type_weight"])
        )
        return plain_step

    stages = tuple(
        replace(
            stage,
            steps=tuple(
                with_plain_similarity(step)
                for step in stage.steps
                if not isinstance(step, ExposureControl | Visible)
            ),
        )
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
        self.queries = [self._query(request) for request in requests]
        self.requests = requests
        # Scores of all items, if one flat scan serves recall and prerank.
        self.scores = np.empty(0, np.float32)
        self._choose()

    def _query(self, request: Request) -> Array:
        assert self.cascade.index is not None
        with self.cascade.index.pinned() as view:
            request = request.with_view(view)
            for step in self.cascade.query_hydrators:
                request = request.with_features(step.hydrate_request(request))
        return np.asarray(request.features["user_vector"][0])

    def _choose(self) -> None:
        """Chooses the methods that find the nearest items and score the candidates."""
        model = next((source for source in self.cascade.recall.sources if isinstance(source, Model)), None)
        limit = self.cascade.recall.merger.limit
        assert limit is not None
        n = len(self.vectors.all)
        score_methods = self.vectors.score_methods()
        rng = np.random.default_rng(0)
        inputs = [(rng.choice(n, min(limit, n), replace=False), query) for query in self.queries]
        name, ms = fastest(f"{min(limit, n):,} inner products", score_methods, inputs)
        self.score_rows, self.by_scan, self.nearest = score_methods[name], False, lambda query: EMPTY
        if model is None:
            return
        quota, recall = min(model.quota, n), self._recall(model)
        methods = nearest_methods(self.vectors, self.queries, quota, recall)
        nearest, nearest_ms = fastest(
            f"the {quota:,} nearest at a recall of {recall:.3f}", methods, self.queries
        )
        self.nearest = methods[nearest]
        one_scan = {"one flat scan": lambda pair: (self._scan(pair[1], quota), self.scores[pair[0]])}
        one_scan_ms = fastest("nearest items and inner products", one_scan, inputs)[1]
        if one_scan_ms < ms + nearest_ms:
            self.nearest, self.by_scan = lambda query: self._scan(query, quota), True

    def _scan(self, query: Array, k: int) -> Array:
        self.scores = self.vectors.all @ query
        return np.argpartition(self.scores, len(self.scores) - k)[len(self.scores) - k :]

    def _recall(self, model: Model) -> float:
        """Returns the recall of the cascade's source ``model`` at its quota."""
        assert self.cascade.index is not None
        with self.cascade.index.pinned() as view:
            n_probe = model._n_probe(Request(0, view=view))
            if n_probe is None:
                return 1.0
            exact = [view.search(query, k=model.quota).ids for query in self.queries]
            approximate = [view.search(query, k=model.quota, n_probe=n_probe).ids for query in self.queries]
        return mean_recall(exact, approximate)

    def chain(self, select: Select) -> Chain:
        """Returns a chain that uses ``select`` for each DPP."""
        cascade = self.cascade
        steps = [(f"request.{step.name}", self._make_step(step, select)) for step in cascade.query_hydrators]
        calls = make_sources(cascade, self.snapshot, self.merger, self.nearest)
        for source, call in zip(cascade.recall.sources, calls, strict=True):
            steps.append((f"recall.{source.name}", self._source_step(call, source.quota)))
        steps.append(("recall.merge", self._merge))
        steps += [
            (f"{stage.name}.{step.name}", self._make_step(step, select))
            for stage in cascade.stages
            for step in stage.steps
        ]
        return Chain(steps)

    def first_request(self, rows: Array | None = None) -> RequestState:
        """Returns the first request with its features and ``rows``, to try a session on."""
        state = RequestState(self.requests[0], -1, rows=np.empty(0, np.int64) if rows is None else rows)
        for step in self.cascade.query_hydrators:
            if isinstance(step, UserFeatures):
                user_features(self, step, pyversity_dpp)(state)
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

    def _make_step(self, step: Any, select: Select) -> Step:
        run: Step = STEP_MAKERS[type(step)](self, step, select)
        return run
