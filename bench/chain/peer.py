"""The other side of request.py: the steps of a cascade out of NumPy, FAISS, pyversity and ONNX Runtime.

``Peer`` has one step for each step of the cascade's trace, made of its settings: lists.py has the
channels of recall, steps.py the other steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chain.lists import CHANNELS, EMPTY, Asked, Channel, Turns, channels
from chain.steps import MAKERS, Select, Step, user_features
from chain.ways import Vectors, nearest_ways, numpy_dpp, pyversity_dpp, quickest, session_of
from karec.bundle import Bundle
from karec.models.onnx_model import OnnxModel
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Array, Request
from karec.steps.query.user_features import UserFeatures
from karec.steps.query.user_tower import UserTower
from karec.steps.scorers.exposure_control import ExposureControl
from karec.steps.selectors.dpp import Dpp
from karec.steps.shared.similarity import PLAIN, CandidateSimilarity
from karec.steps.sources.merge import Merge
from karec.steps.sources.model import Model

DPPS: dict[str, Select] = {"pyversity": pyversity_dpp, "NumPy": numpy_dpp}


@dataclass(frozen=True)
class Peer:
    """``steps`` (place, step), in the order of the cascade's trace; two steps of a stage may have one
    name."""

    steps: list[tuple[str, Step]]

    def run(self, request: Request, user: int) -> tuple[dict[str, Array], list[float]]:
        """({stage: the rows that it left}, the milliseconds of processor time that each step took)."""
        asked, ms, left = Asked(request, user), [], {}
        for place, step in self.steps:
            begin = time.process_time()
            step(asked)
            ms.append((time.process_time() - begin) * 1e3)
            left[place.partition(".")[0]] = asked.rows
        return left, ms


def comparable(cascade: Cascade) -> Cascade:
    """``cascade`` as both sides run it: without exposure control, a DPP by vectors alone, as peers have
    no more."""

    def plain(step: Any) -> Any:
        if not isinstance(step, Dpp) or step.similarity.settings == PLAIN:
            return step
        other = copy(step)
        other.similarity = CandidateSimilarity(
            step.schema, cascade.bundle, PLAIN, float(step.options["type_weight"])
        )
        return other

    stages = tuple(
        replace(
            stage, steps=tuple(plain(step) for step in stage.steps if not isinstance(step, ExposureControl))
        )
        for stage in cascade.stages
    )
    return replace(cascade, stages=stages, exposure=None, side_effects=())


def refuse_unwritten(cascade: Cascade) -> None:
    """SystemExit names the first step or setting of the cascade that the other side does not have."""
    merger = cascade.recall.merger
    assert isinstance(merger, Merge)
    model = next((source for source in cascade.recall.sources if isinstance(source, Model)), None)
    steps = [*cascade.query_hydrators, *(step for stage in cascade.stages for step in stage.steps)]
    lacks = [step.name for step in steps if type(step) not in MAKERS]
    lacks += [source.name for source in cascade.recall.sources if type(source) not in (*CHANNELS, Model)]
    lacks += ["merge's min_items or consumed"] if any(merger.min_items) or merger.consumed else []
    lacks += [] if any(type(step) is UserTower for step in steps) else ["a request without user_tower"]
    lacks += (
        ["a vector space of recall's own"] if model is not None and model.recall_schema is not None else []
    )
    if lacks:
        raise SystemExit(f"{lacks[0]} is not written for the other side")


class Workshop:
    """What peers of one cascade are made of: vectors, lists, sessions and the quickest ways, for any DPP."""

    def __init__(self, cascade: Cascade, bundle: Bundle, requests: list[Request]) -> None:
        refuse_unwritten(cascade)
        self.cascade, self.bundle, self.snapshot = cascade, bundle, bundle.snapshot
        self.turns = Turns(len(self.snapshot.works))
        self.vectors = Vectors(cascade, bundle)
        self.columns = {name: np.asarray(column) for name, column in self.snapshot.works.columns.items()}
        self.sessions: dict[Path, Callable[[Any], Array]] = {}
        self.queries = [self._query(request) for request in requests]
        self.requests = requests
        # of all works, where the request's flat scan served the prerank too
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
        """How the nearest of all works are found, and how the candidates are scored."""
        channel = next((each for each in self.cascade.recall.sources if isinstance(each, Model)), None)
        limit = self.cascade.recall.merger.limit
        assert limit is not None
        n = len(self.vectors.all)
        of_rows = self.vectors.of_rows()
        rng = np.random.default_rng(0)
        asked = [(rng.choice(n, min(limit, n), replace=False), query) for query in self.queries]
        name, ms = quickest(f"{min(limit, n):,} inner products", of_rows, asked)
        self.score_rows, self.by_scan, self.nearest = of_rows[name], False, lambda query: EMPTY
        if channel is None:
            return
        quota, recall = min(channel.quota, n), self._recall(channel)
        ways = nearest_ways(self.vectors, self.queries, quota, recall)
        nearest, nearest_ms = quickest(
            f"the {quota:,} nearest at a recall of {recall:.3f}", ways, self.queries
        )
        self.nearest = ways[nearest]
        both = {"one flat scan for both": lambda each: (self._scan(each[1], quota), self.scores[each[0]])}
        both_ms = quickest("the nearest and the inner products", both, asked)[1]
        if both_ms < ms + nearest_ms:
            self.nearest, self.by_scan = lambda query: self._scan(query, quota), True

    def _scan(self, query: Array, k: int) -> Array:
        self.scores = self.vectors.all @ query
        return np.argpartition(self.scores, len(self.scores) - k)[len(self.scores) - k :]

    def _recall(self, channel: Model) -> float:
        """Of the channel as the cascade runs it, at its quota."""
        assert self.cascade.index is not None
        with self.cascade.index.pinned() as view:
            n_probe = channel._n_probe(view)
            if n_probe is None:
                return 1.0
            found = [
                (
                    view.search(q, k=channel.quota).ids,
                    view.search(q, k=channel.quota, n_probe=n_probe).ids,
                )
                for q in self.queries
            ]
        return float(np.mean([np.isin(exact, part).mean() for exact, part in found]))

    def peer(self, select: Select) -> Peer:
        """With ``select`` for each DPP."""
        cascade, stages = self.cascade, self.cascade.stages
        steps = [(f"request.{step.name}", self._made(step, select)) for step in cascade.query_hydrators]
        asked = channels(cascade, self.snapshot, self.turns, self.nearest)
        for source, channel in zip(cascade.recall.sources, asked, strict=True):
            steps.append((f"recall.{source.name}", self._recalled(channel, source.quota)))
        steps.append(("recall.merge", self._merge))
        steps += [
            (f"{stage.name}.{step.name}", self._made(step, select))
            for stage in stages
            for step in stage.steps
        ]
        return Peer(steps)

    def asked(self, rows: Array | None = None) -> Asked:
        """The first request with its features and ``rows``: what a session is tried on."""
        asked = Asked(self.requests[0], -1, rows=np.empty(0, np.int64) if rows is None else rows)
        for step in self.cascade.query_hydrators:
            if isinstance(step, UserFeatures):
                user_features(self, step, pyversity_dpp)(asked)
        return asked

    def session(self, model: OnnxModel, inputs: Mapping[str, Array], output: str) -> Callable[[Any], Array]:
        if model.path not in self.sessions:
            self.sessions[model.path] = session_of(model, inputs, output)
        return self.sessions[model.path]

    @staticmethod
    def _recalled(channel: Channel, quota: int) -> Step:
        return lambda asked: asked.parts.append(channel(asked)[:quota])

    def _merge(self, asked: Asked) -> None:
        limit = self.cascade.recall.merger.limit
        assert limit is not None
        asked.rows, _ = self.turns.merged(asked.parts, limit)

    def _made(self, step: Any, select: Select) -> Step:
        made: Step = MAKERS[type(step)](self, step, select)
        return made
