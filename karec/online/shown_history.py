"""Items shown to a user: the last 1,000 as a list, earlier ones in filters.

    newest    the last items; if there are SPILL_LENGTH, they move to
    older     the items up to the last 1,000; the items before these move to
    earlier   one filter for each period of PERIOD_MS with impressions; the last FILTERS periods are kept

The whole is too long to be written for each impression, so it has these pieces. Which items a filter holds
depends on the set of events, and on the order of at most the last SPILL_LENGTH items that are not
in it yet. See ``karec.kernels.shown_filter`` for the errors of filters. A filter has 16 KiB.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.histories import SHOWN, SHOWN_EXACTLY, HistoryAggregate
from karec.kernels import shown_filter
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.online_store import Read
from karec.times import DAY_MS

SPILL_LENGTH = 128
PERIOD_MS = 28 * DAY_MS
WIDTH = 1 + shown_filter.WORDS  # of a stored filter: its period, its words

ALL_SHOWN = HistoryAggregate("all shown", SHOWN.adds, SHOWN.value, 1 << 60)


def spill(
    read: Read,
    contents: StoreContents,
    users: NDArray[Any],
    first: NDArray[Any],
    states: NDArray[Any],
    counts: Counter[str],
) -> dict[bytes, bytes]:
    """Returns new entries of those ``users`` (N,) whose newest items are too many.

    ``states``: newest items of all users, of the type of ``contents``, in CSR form by ``first``.
    """
    full = np.flatnonzero(np.diff(first) >= SPILL_LENGTH)
    if not len(full):
        return {}
    older_keys = records.keys_of(contents.letter(records.OLDER_SHOWN), users[full])
    earlier_keys = records.keys_of(contents.letter(records.EARLIER_SHOWN), users[full])
    new = np.concatenate([states[first[row] : first[row + 1]] for row in full])
    bounds = np.concatenate([[0], np.cumsum(np.diff(first)[full])])
    values = read([*older_keys, *earlier_keys])
    older = records.unpack(older_keys, values[: len(older_keys)], 3)
    filters = records.unpack(earlier_keys, values[len(older_keys) :], WIDTH)
    counts["corrupt entries"] += older.corrupt + filters.corrupt
    starts, merged = ALL_SHOWN.step_all(older.first, older.rows, bounds, new)
    entries = {}
    for place, key in enumerate(older_keys):
        newest = merged[starts[place] : starts[place + 1]]
        cut = max(len(newest) - SHOWN_EXACTLY, 0)
        entries[key] = records.pack(key, newest[cut:].tobytes())
        if cut:
            former = filters.rows[filters.first[place] : filters.first[place + 1]]
            updated = _add_to_filters(former, newest[:cut])
            entries[earlier_keys[place]] = records.pack(earlier_keys[place], updated.tobytes())
    newest_keys = records.keys_of(contents.letter(records.NEWEST_SHOWN), users[full])
    return entries | {key: records.pack(key, b"") for key in newest_keys}


def _add_to_filters(filters: NDArray[Any], shown: NDArray[Any]) -> NDArray[Any]:
    """Returns ``filters`` (F, WIDTH), by period, with the items of ``shown`` (E, 3): time, number, item."""
    shown_periods = shown[:, 0] // PERIOD_MS
    periods = np.unique(np.concatenate([filters[:, 0], shown_periods]))[-shown_filter.FILTERS :]
    updated = np.zeros((len(periods), WIDTH), np.int64)
    updated[:, 0] = periods
    is_kept = np.isin(filters[:, 0], periods)
    updated[np.searchsorted(periods, filters[is_kept, 0])] = filters[is_kept]
    for row in updated:
        shown_filter.add(row[1:], np.ascontiguousarray(shown[shown_periods == row[0], 2]))
    return updated
