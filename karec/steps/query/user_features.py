"""The user's features as model inputs, as of the request's moment and scene."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.features.encoder import USER_SIDE, Encoder
from karec.features.online_inputs import encode_live_user
from karec.pipeline.step import QueryHydrator
from karec.pipeline.types import Array, Request


class UserFeatures(QueryHydrator):
    """The encoder's user inputs, each (1, …), as of the request's moment and scene, and ``cold_start`` (1,)
    bool.

    A user never seen gets the out-of-vocabulary slots and an empty history, and ``cold_start`` is true. Where
    the request knows what happened since the snapshot, it is in the inputs.
    """

    gives = tuple(f"request.{name}" for name in (*USER_SIDE, "cold_start"))

    def __init__(self, snapshot: Snapshot, encoder: Encoder) -> None:
        self.snapshot = snapshot
        self.encoder = encoder
        encoder.tables(snapshot)  # encoded here, so that no request waits for it
        self._scenes = {name: code for code, name in enumerate(snapshot.labels.get("scene", []))}

    def hydrate_request(self, request: Request) -> Mapping[str, Array]:
        if request.time_ms is None:
            raise ValueError("a request needs time_ms before its features can be computed")
        scene = self._scenes.get(request.scene, -1)
        known = self.snapshot.users.row(request.user_number) >= 0
        user, live = request.user_number, request.online
        if live is None or live.user is None:
            features = self.encoder.encode_user(self.snapshot, user, request.time_ms, scene)
            return {**features, "cold_start": np.array([not known])}
        features = encode_live_user(
            self.encoder,
            self.snapshot,
            live.user,
            live.counter_names,
            user,
            request.time_ms,
            scene,
            live.items,
        )
        return {**features, "cold_start": np.array([not known and not live.user.counters.any()])}
