"""User vectors by the user towers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.errors import ContractError
from karec.features.user_vectors import VECTOR, VERSIONS, run_user_towers
from karec.models.onnx_model import OnnxModel
from karec.pipeline.step import QueryHydrator
from karec.pipeline.types import Array, Request


class UserTower(QueryHydrator):
    """Adds ``user_vector (V, D) float32``, unit length, and ``user_vector_versions (V,) int64``, ascending.

    There is one vector for each model version in the index, by one pass of that version's user tower in ONNX
    Runtime. Later steps skip and count items of a version without a tower. Raises Unavailable if no version
    of the index has a tower.
    """

    gives = (f"request.{VECTOR}", f"request.{VERSIONS}")

    def __init__(self, user_towers: Mapping[int, OnnxModel]) -> None:
        self.user_towers = dict(user_towers)
        self.needs = tuple(
            sorted({f"request.{name}" for tower in self.user_towers.values() for name in tower.inputs})
        )

    def hydrate_request(self, request: Request) -> Mapping[str, Array]:
        if "user_ids" not in request.features:
            raise ContractError(
                "the user tower needs the user's features: put the step user_features before it"
            )
        vectors = run_user_towers(self.user_towers, request.index, request.features)
        return {VECTOR: np.stack(list(vectors.values())), VERSIONS: np.array(list(vectors), np.int64)}
