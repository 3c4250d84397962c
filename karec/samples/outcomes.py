"""Finds the outcomes of impressions: labels and plays that an online store has for them.

A label or play belongs to the user's last impression of the item before it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import IMPRESSION, LABEL, PLAY, Events
from karec.logs.read import RankLog


def find_logged_outcomes(
    log: RankLog, events: Events, item_type: str
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Returns the labels (M,) of each row of ``log`` as bits, and (M,) True if its impression is reported.

    The impression of a row has the row's request and item. All rows have the type ``item_type``, WORK for
    works. The bits are in the order of the labels of the store's head.
    """
    own = events.take(events.item_type == item_type)
    shown, feedback = own.take(own.kind == IMPRESSION), own.take((own.kind == LABEL) | (own.kind == PLAY))
    bits, _ = add_feedback(shown, feedback, find_exposures(shown, feedback))
    bits_of: dict[tuple[str, int], int] = {}
    keys = zip(shown.request_id.tolist(), shown.item_id.tolist(), strict=True)
    for key, value in zip(keys, bits.tolist(), strict=True):
        bits_of[key] = bits_of.get(key, 0) | value
    rows = [*zip(log.request_id.tolist(), log.item_id.tolist(), strict=True)]
    is_reported = np.array([key in bits_of for key in rows], bool)
    return np.array([bits_of.get(key, 0) for key in rows], np.uint64), is_reported


def find_exposures(shown: Events, feedback: Events) -> NDArray[Any]:
    """Returns (L,) int64: for each of ``feedback`` the index of the impression before it, −1 without one."""
    events, n = Events.concatenate([shown, feedback]), len(shown)
    order = np.lexsort((np.arange(len(events)), events.time_ms, events.item_id, events.user_id))
    last = np.maximum.accumulate(np.where(order < n, np.arange(len(order)), -1))
    index = np.where(last >= 0, order[last], -1)
    same = (events.user_id[index] == events.user_id[order]) & (events.item_id[index] == events.item_id[order])
    result = np.empty(len(events), np.int64)
    result[order] = np.where((index >= 0) & same, index, -1)
    return result[n:]


def add_feedback(
    shown: Events, feedback: Events, index: NDArray[Any]
) -> tuple[NDArray[np.uint64], NDArray[Any]]:
    """Returns the labels (N,) of ``shown`` as bits, and the longest play times (N,) ms.

    ``index`` (L,): the impression of each of ``feedback``; −1: none, its feedback is ignored.
    """
    bits, play_ms = shown.labels.copy(), shown.play_ms.copy()
    found = index >= 0
    np.bitwise_or.at(bits, index[found], feedback.labels[found])
    np.maximum.at(play_ms, index[found], feedback.play_ms[found])
    return bits, np.maximum(play_ms, 0)  # without a play event, play time is 0
