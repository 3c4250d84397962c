"""Model inputs of the user."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.catalog.schema import is_counter
from karec.catalog.snapshot import Snapshot
from karec.features.encoder import USER_SIDE, Encoder
from karec.features.online_inputs import encode_online_user
from karec.pipeline.step import QueryHydrator
from karec.pipeline.types import Array, Request


class UserFeatures(QueryHydrator):
    """Adds the user inputs of the encoder, each (1, …), and ``cold_start (1,)`` bool.

    The inputs are those of the request's time and scene, with the events of the online store if there is one.
    An unknown user gets the out-of-vocabulary slots and an empty history. ``cold_start`` is true for every
    user without events.
    """

    gives = tuple(f"request.{name}" for name in (*USER_SIDE, "cold_start"))

    def __init__(self, snapshot: Snapshot, encoder: Encoder) -> None:
        self.snapshot = snapshot
        self.encoder = encoder
        encoder.tables(snapshot)  # encoded now, so that the first request does not wait
        self._has_events = snapshot.built.get("users with events", lambda: _has_events(snapshot))
        self._scenes = {name: code for code, name in enumerate(snapshot.labels.get("scene", []))}

    def hydrate_request(self, request: Request) -> Mapping[str, Array]:
        if request.time_ms is None:
            raise ValueError("a request needs time_ms before its features can be computed")
        scene = self._scenes.get(request.scene, -1)
        user = request.user_number
        row = self.snapshot.users.row(user)
        has_events = row >= 0 and bool(self._has_events[row])
        online = request.online if request.online is None else request.online.works or request.online
        if online is None or online.user is None:
            features = self.encoder.encode_user(self.snapshot, user, request.time_ms, scene)
            return {**features, "cold_start": np.array([not has_events])}
        features = encode_online_user(
            self.encoder,
            self.snapshot,
            online.user,
            online.counter_names,
            user,
            request.time_ms,
            scene,
            online.items,
        )
        return {**features, "cold_start": np.array([not has_events and not online.user.counters.any()])}


def _has_events(snapshot: Snapshot) -> Array:
    """Returns (users,) bool: True for users with a counted impression or an item in their history."""
    columns = snapshot.users.columns
    counters = [np.asarray(columns[name]) > 0 for name in columns if is_counter(name)]
    history = snapshot.relations.get("history")
    listed = np.zeros(len(snapshot.users), bool) if history is None else np.diff(history.indptr) > 0
    return np.asarray(np.any([listed, *counters], axis=0))
