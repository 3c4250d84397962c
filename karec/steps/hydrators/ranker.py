"""Logits of the ranker for each candidate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.errors import ContractError
from karec.features.encoder import USER_SIDE, Encoder
from karec.features.online_inputs import encode_online_items
from karec.models.onnx_model import OnnxModel
from karec.pipeline.step import Hydrator
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.ranker_model import ranker_model

if TYPE_CHECKING:  # at run time this would load the compiler of the aggregates
    from karec.online.view import OnlineView


class Ranker(Hydrator):
    """Adds ``logits (N, T) float32`` of T tasks: one pass over user, item, context and cross features.

    In a scene of another item type the tasks are the labels of the type that the ranker has learned.

    Counters and new items come from the online store if the request has it. An unknown item is encoded with
    its out-of-vocabulary slots.

    Settings:
        model: another ONNX file of the same encoder, relative to the folder of karec.toml. Absent: the
            bundle's ranker.
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
        self.model = model
        self.ranker = ranker_model(ranker, model, config_folder)
        self.snapshot = snapshot
        self.encoder = encoder
        encoder.tables(snapshot)  # encoded now, so that the first request does not wait

    def hydrate(self, request: Request, candidates: Candidates) -> Mapping[str, Array]:
        n = len(candidates)
        if n == 0:
            return {"logits": np.empty((0, len(self.ranker.tasks)), np.float32)}
        if request.time_ms is None:
            raise ValueError("a request needs time_ms before its candidates can be ranked")
        user = request.features
        if "history" not in user:
            raise ContractError("the ranker needs the user's features: put the step user_features into query")
        items = self._items(request.online, candidates.ids, request.time_ms)
        inputs = {**items, **self.encoder.encode_crosses(user, items)}
        if "dense" in self.ranker.inputs:
            inputs["dense"] = self.encoder.dense({**user, **inputs})
        (logits,) = self.ranker.run({**user, **inputs}, "logits")
        return {"logits": logits[:, : len(self.ranker.tasks)]}

    def _items(self, online: OnlineView | None, ids: Array, time_ms: int) -> Mapping[str, Array]:
        if online is None:
            return self.encoder.encode_items(self.snapshot, self.snapshot.works.lookup(ids), time_ms)
        return encode_online_items(
            self.encoder, self.snapshot, online.items, online.counter_names, ids, time_ms
        )
