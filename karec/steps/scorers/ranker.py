"""The ranking steps: the model's logits, their fusion, the best k. Any ranker that was exported to ONNX
serves here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.errors import ContractError
from karec.features.encoder import USER_SIDE, Encoder
from karec.features.explored import explored_places, with_room
from karec.features.online_inputs import encode_live_items
from karec.models.fusion import Fusion
from karec.models.onnx_model import OnnxModel
from karec.pipeline._view import OnlineView
from karec.pipeline.step import Hydrator, Scorer, Selector
from karec.pipeline.types import Array, Candidates, Request, Selection
from karec.toml import refuse_removed


class Ranker(Hydrator):
    """``logits (N, T) float32``: one pass over user, item, context and cross features.

    Counters, and works that came since the snapshot, are those of the request's moment where it knows them. A
    work that nobody knows is ranked by its out-of-vocabulary slots. ``model``: another ONNX file of the same
    encoder, relative to ``config_folder``; None: the bundle's ranker.
    """

    needs = tuple(f"request.{name}" for name in USER_SIDE)
    gives = ("column.logits",)

    def __init__(
        self,
        ranker: OnnxModel,
        snapshot: Snapshot,
        encoder: Encoder,
        model: str | None = None,
        config_folder: Path | None = None,
    ) -> None:
        self.ranker = ranker if model is None else _other(model, config_folder)
        self.snapshot = snapshot
        self.encoder = encoder

    def hydrate(self, request: Request, candidates: Candidates) -> Mapping[str, Array]:
        n = len(candidates)
        if n == 0:
            return {"logits": np.empty((0, len(self.ranker.tasks)), np.float32)}
        if request.time_ms is None:
            raise ValueError("a request needs time_ms before its candidates can be ranked")
        user = request.features
        if "history" not in user:
            raise ContractError(
                "the ranker needs the user's features: put the step user_features into the request"
            )
        items = self._items(request.online, candidates.ids, request.time_ms)
        inputs = {**items, **self.encoder.encode_crosses(user, items)}
        if "dense" in self.ranker.inputs:
            inputs["dense"] = self.encoder.dense({**user, **inputs})
        (logits,) = self.ranker.run({**user, **inputs}, "logits")
        return {"logits": logits}

    def _items(self, live: OnlineView | None, ids: Array, time_ms: int) -> Mapping[str, Array]:
        if live is None:
            return self.encoder.encode_items(self.snapshot, self.snapshot.works.lookup(ids), time_ms)
        return encode_live_items(self.encoder, self.snapshot, live.works, live.names, ids, time_ms)


class FusedScore(Scorer):
    """The fusion of ``logits`` into one score in [0, 1]; see ``karec.models.fusion``. ``model`` as there."""

    needs = ("column.logits",)

    def __init__(
        self,
        ranker: OnnxModel,
        weights: Mapping[str, float],
        kind: str = "sum",
        model: str | None = None,
        config_folder: Path | None = None,
    ) -> None:
        self.tasks = (ranker if model is None else _other(model, config_folder)).tasks
        self.fusion = Fusion(weights, kind)  # type: ignore[arg-type]  # Fusion checks the name
        self.shares = self.fusion.shares(self.tasks)

    def score(self, request: Request, candidates: Candidates) -> Array:
        if "logits" not in candidates.columns:
            raise ContractError("fusion needs the ranker's logits: put the step ranker before it")
        logits = candidates.columns["logits"]
        if logits.shape[1:] != (len(self.tasks),):
            raise ContractError(
                f"fusion reads the logits of {list(self.tasks)}, the ranker gave {logits.shape[1:]} of a "
                "work: let both steps take the same model"
            )
        return self.fusion.fused(logits, self.shares)


class TopK(Selector):
    """The ``k`` best by score (``request.k`` when none is given), ties by position. O(N + k log k).

    With a ``k`` of its own, works that the request explores (``karec.features.explored``) take the last of
    its places.
    """

    needs = ("scores",)

    def __init__(self, k: int | None = None) -> None:
        if k is not None and k <= 0:
            raise ValueError(f"k must be positive, got {k}")
        self.k = k

    def select(self, request: Request, candidates: Candidates) -> Selection:
        k = request.k if self.k is None else self.k
        best = _best(candidates.scores, k)
        explored = np.empty(0, np.int64) if self.k is None else explored_places(request, candidates)
        if not len(explored):
            return Selection(best)
        staying, coming = with_room(best, explored, k)
        return Selection(np.append(best[staying], coming))


def _best(scores: Array, k: int) -> Array:
    """The positions of the ``k`` largest of ``scores (N,)``, largest first, ties by position."""
    falling = -scores
    near = (
        np.arange(len(scores))
        if k >= len(scores)
        else np.flatnonzero(falling <= np.partition(falling, k - 1)[k - 1])
    )
    return np.asarray(near[np.argsort(falling[near], kind="stable")][:k])


def _other(model: str, config_folder: Path | None) -> OnnxModel:
    refuse_removed("model", model)
    return OnnxModel((config_folder or Path()) / model)
