"""The user vector, computed once a request by the user tower."""

from __future__ import annotations

from collections.abc import Mapping

from karec.errors import ContractError
from karec.models.onnx_model import OnnxModel
from karec.stage import RequestHydrator
from karec.types import Array, Request


class UserTower(RequestHydrator):
    """``user_vector (1, D) float32``, unit length: one pass of the user tower in ONNX Runtime."""

    gives = ("request.user_vector",)

    def __init__(self, user_tower: OnnxModel) -> None:
        self.user_tower = user_tower
        self.needs = tuple(f"request.{name}" for name in user_tower.inputs)

    def hydrate_request(self, request: Request) -> Mapping[str, Array]:
        if "user_ids" not in request.features:
            raise ContractError("the user tower needs the user's features: put the step user_features before it")
        (user_vector,) = self.user_tower.run(request.features, "user_vector")
        return {"user_vector": user_vector}
