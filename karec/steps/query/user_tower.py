"""User vectors by the user towers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from karec.errors import ContractError
from karec.features.cross_tables import USER_LISTS, CrossTables
from karec.features.user_vectors import TABLES, VECTOR, VERSIONS, make_tables, run_user_towers
from karec.models.onnx_model import OnnxModel
from karec.pipeline.step import QueryHydrator
from karec.pipeline.types import Array, Request

NO_TABLES: Mapping[int, CrossTables] = MappingProxyType({})


class UserTower(QueryHydrator):
    """Adds ``user_vector (V, D) float32``, unit length, and ``user_vector_versions (V,) int64``, ascending.

    There is one vector for each model version in the index, and with wide towers ``user_tables (V,)``. Later
    steps skip and count items of a version without a tower. Raises Unavailable if no version of the index has
    a tower.
    """

    gives: tuple[str, ...] = (f"request.{VECTOR}", f"request.{VERSIONS}")

    def __init__(
        self, user_towers: Mapping[int, OnnxModel], cross_tables: Mapping[int, CrossTables] = NO_TABLES
    ) -> None:
        self.user_towers = dict(user_towers)
        self.cross_tables = cross_tables
        inputs = {name for tower in self.user_towers.values() for name in tower.inputs}
        if cross_tables:
            inputs |= {*USER_LISTS}
            self.gives = (*self.gives, f"request.{TABLES}")
        self.needs = tuple(sorted(f"request.{name}" for name in inputs))

    def hydrate_request(self, request: Request) -> Mapping[str, Array]:
        if "user_ids" not in request.features:
            raise ContractError(
                "the user tower needs the user's features: put the step user_features before it"
            )
        vectors = run_user_towers(self.user_towers, request.index, request.features)
        features = {VECTOR: np.stack(list(vectors.values())), VERSIONS: np.array(list(vectors), np.int64)}
        if self.cross_tables:
            tables = make_tables(self.cross_tables, vectors, request.features)
            features[TABLES] = np.array(list(tables.values()), object)
        return features
