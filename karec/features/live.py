"""Model inputs of a user and of works as the state store knows them, where ``Encoder.encode_user`` reads a snapshot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from karec.features.crosses import MOST_EDGES, SOCIAL_EDGES
from karec.features.encoder import Encoder
from karec.platform.folds.id_lists import Lists
from karec.platform.snapshot import Snapshot
from karec.platform.state.reader import UserState
from karec.types import Array


def encode_live_user(
    encoder: Encoder,
    snapshot: Snapshot,
    state: UserState,
    counters: Sequence[str],
    user_id: int,
    time_ms: int,
    scene_code: int,
) -> dict[str, Array]:
    """The user's side of one request, U = 1: the snapshot's columns, and the lists and counters of ``state``, whose
    counters are ``counters``. Relations that no fold changes are the snapshot's.
    """
    row = snapshot.users.lookup(np.array([user_id]))

    def latest(name: str, width: int) -> Array:
        relation = state.lists.get(name, snapshot.relations.get(name))
        at = np.zeros(1, np.int64) if name in state.lists else row
        if row[0] < 0 and name not in state.lists:
            relation = None
        return Lists.unchanged(relation, at).latest(width)

    history, skipped = (
        snapshot.works.lookup(latest(name, encoder.history_length)[0])[None] for name in ("history", "skipped")
    )
    in_scene = np.zeros((1, len(encoder.scene_counters.counters)), np.float32)
    if 0 <= scene_code < len(state.scene_counters):
        in_scene[0] = state.scene_counters[scene_code, places(counters, encoder.scene_counters.counters)]
    return encoder.encode_users(
        snapshot,
        row,
        np.array([time_ms]),
        np.array([scene_code]),
        history=history,
        skipped=skipped,
        edges={name: latest(name, MOST_EDGES) for name in SOCIAL_EDGES},
        counts=state.counters[None, places(counters, encoder.users.counters)],
        scene_counts=in_scene,
    )


def places(counters: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """The places of ``wanted`` in ``counters``. ValueError naming one that is not counted."""
    missing = [name for name in wanted if name not in counters]
    if missing:
        raise ValueError(f"the state counts {list(counters)}, the encoder also reads {missing}")
    return [counters.index(name) for name in wanted]
