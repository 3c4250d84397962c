"""Model inputs of a user and of works as the state store knows them, where ``Encoder.encode_user`` reads a
snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.id_lists import Lists
from karec.catalog.snapshot import Snapshot
from karec.features.crosses import MOST_EDGES, SOCIAL_EDGES
from karec.features.encoder import Encoder

if TYPE_CHECKING:  # a process without a state store loads no compiler of folds
    from karec.online.changed_items import ChangedItems
    from karec.online.read_state import UserState


def encode_live_user(
    encoder: Encoder,
    snapshot: Snapshot,
    state: UserState,
    counters: Sequence[str],
    user_id: int,
    time_ms: int,
    scene_code: int,
    works: ChangedItems | None = None,
) -> dict[str, NDArray[Any]]:
    """The user's side of one request, U = 1: the snapshot's columns, and the lists and counters of ``state``,
    whose counters are ``counters``. Relations that no fold changes are the snapshot's. ``works``: those that
    came since.
    """
    row = snapshot.users.lookup(np.array([user_id]))

    def latest(name: str, width: int) -> NDArray[Any]:
        relation = state.lists.get(name, snapshot.relations.get(name))
        at = np.zeros(1, np.int64) if name in state.lists else row
        if row[0] < 0 and name not in state.lists:
            relation = None
        return Lists.unchanged(relation, at).latest(width)

    lists = np.stack([latest(name, encoder.history_length)[0] for name in ("history", "skipped")])
    rows, more = snapshot.works.lookup(lists.ravel()), None
    if works is not None:
        rows, more = works.compact(snapshot, works.find_rows(snapshot, lists.ravel()))
    history, skipped = rows.reshape(lists.shape)[:, None]
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
        more=more,
    )


def encode_live_items(
    encoder: Encoder,
    snapshot: Snapshot,
    works: ChangedItems,
    names: Sequence[str],
    ids: NDArray[Any],
    time_ms: int,
) -> dict[str, NDArray[Any]]:
    """The items' side of one request, of ``ids (N,)``: columns and counters, called ``names`` there, of
    ``works`` where they came, changed or moved since, else of the snapshot.
    """
    rows, more = works.compact(snapshot, works.find_rows(snapshot, ids))
    items, wanted = encoder.encode_items(snapshot, rows, time_ms, more=more), encoder.works.counters
    at, counts = works.find_counters(ids)
    if len(at) and wanted:  # they are the last of a work's numbers
        items["item_numbers"][at, -len(wanted) :] = encoder.works.counter_numbers(
            counts[:, places(names, wanted)]
        )
    return items


def places(counters: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """The places of ``wanted`` in ``counters``. ValueError naming one that is not counted."""
    missing = [name for name in wanted if name not in counters]
    if missing:
        raise ValueError(f"the state counts {list(counters)}, the encoder also reads {missing}")
    return [counters.index(name) for name in wanted]
