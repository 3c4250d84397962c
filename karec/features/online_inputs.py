"""Encodes a user and items with the values of the online store in place of those of the snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.id_lists import Lists
from karec.catalog.snapshot import Snapshot
from karec.features.crosses import MAX_EDGES, SOCIAL_EDGES
from karec.features.encoder import Encoder

if TYPE_CHECKING:  # a process without an online store must not load Numba
    from karec.online.changed_items import ChangedItems
    from karec.online.read_state import UserState


def encode_online_user(
    encoder: Encoder,
    snapshot: Snapshot,
    state: UserState,
    counters: Sequence[str],
    user_id: int,
    time_ms: int,
    scene_code: int,
    works: ChangedItems | None = None,
) -> dict[str, NDArray[Any]]:
    """Encodes the user of one request, U = 1, as ``Encoder.encode_user``.

    Lists and counters are those of ``state``, other columns and relations those of the snapshot.

    Args:
        counters: names of the counters of ``state``.
        works: items that changed since the snapshot.
    """
    row = snapshot.users.lookup(np.array([user_id]))

    def latest(name: str, width: int) -> NDArray[Any]:
        relation = state.lists.get(name, snapshot.relations.get(name))
        rows = np.zeros(1, np.int64) if name in state.lists else row
        if row[0] < 0 and name not in state.lists:
            relation = None
        return Lists.from_relation(relation, rows).latest(width)

    lists = np.stack([latest(name, encoder.list_length)[0] for name in ("history", "skipped")])
    rows, more = snapshot.works.lookup(lists.ravel()), None
    if works is not None:
        rows, more = works.compact(snapshot, works.find_rows(snapshot, lists.ravel()))
    history, skipped = rows.reshape(lists.shape)[:, None]
    scene_counts = np.zeros((1, len(encoder.scene_counters.counters)), np.float32)
    if 0 <= scene_code < len(state.scene_counters):
        scene_counts[0] = state.scene_counters[
            scene_code, find_columns(counters, encoder.scene_counters.counters)
        ]
    return encoder.encode_users(
        snapshot,
        row,
        np.array([time_ms]),
        np.array([scene_code]),
        history=history,
        skipped=skipped,
        edges={name: latest(name, MAX_EDGES) for name in SOCIAL_EDGES},
        counts=state.counters[None, find_columns(counters, encoder.users.counters)],
        scene_counts=scene_counts,
        more=more,
    )


def encode_online_items(
    encoder: Encoder,
    snapshot: Snapshot,
    works: ChangedItems,
    names: Sequence[str],
    ids: NDArray[Any],
    time_ms: int,
) -> dict[str, NDArray[Any]]:
    """Encodes the items of one request, ``ids`` (N,).

    Columns and counters, with ``names``, are those of ``works`` if the item changed since the snapshot,
    otherwise those of the snapshot.
    """
    rows, more = works.compact(snapshot, works.find_rows(snapshot, ids))
    items, coder = encoder.encode_items(snapshot, rows, time_ms, more=more), encoder.item_coder(snapshot)
    positions, counts = works.find_counters(ids)
    if len(positions) and coder.counters:  # counters are the last numbers of an item
        items["item_numbers"][positions, -len(coder.counters) :] = coder.scale_counters(
            counts[:, find_columns(names, coder.counters)]
        )
    return items


def find_columns(counters: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Returns the indices of ``wanted`` in ``counters``. Raises ValueError for one that is missing."""
    missing = [name for name in wanted if name not in counters]
    if missing:
        raise ValueError(f"the state counts {list(counters)}, the encoder also reads {missing}")
    return [counters.index(name) for name in wanted]
