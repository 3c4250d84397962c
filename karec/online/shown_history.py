"""What a user was shown: the last 1,000 works one by one, those before them in filters.

    newest    the last ones; when they are SPILL they go into
    older     those up to the last 1,000; what falls out goes into
    earlier   one filter for each period of PERIOD_MS in which works were shown; the last FILTERS periods stay

The whole is cut into pieces since it is too long to be written for each exposure. Which works a filter holds
depends on which events the log holds, and on the order in which they came by at most the SPILL works that are
not in it yet. Errors of filters: ``karec.kernels.shown_filter``. A filter is 16 KiB.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.histories import SHOWN, SHOWN_EXACTLY, HistoryAggregate
from karec.kernels import shown_filter
from karec.online.store import records
from karec.online.store.store import StateStore
from karec.times import DAY_MS

SPILL = 128
PERIOD_MS = 28 * DAY_MS
WIDTH = 1 + shown_filter.WORDS  # of a filter in the store: its period, its words

ALL_SHOWN = HistoryAggregate("all shown", SHOWN.adds, SHOWN.value, 1 << 60)


def spilled(
    store: StateStore, users: NDArray[Any], first: NDArray[Any], states: NDArray[Any], counted: Counter[str]
) -> dict[bytes, bytes]:
    """The entries of ``users (N,)`` whose newest shown works, ``states`` in CSR form by ``first``, are too
    many."""
    many = np.flatnonzero(np.diff(first) >= SPILL)
    if not len(many):
        return {}
    older, earlier = (
        records.keys_of(letter, users[many]) for letter in (records.OLDER_SHOWN, records.EARLIER_SHOWN)
    )
    new = np.concatenate([states[first[at] : first[at + 1]] for at in many])
    bounds = np.concatenate([[0], np.cumsum(np.diff(first)[many])])
    values = store.read([*older, *earlier])
    found = records.unpack(older, values[: len(older)], 3)
    filters = records.unpack(earlier, values[len(older) :], WIDTH)
    counted["corrupt entries"] += found.corrupt + filters.corrupt
    starts, merged = ALL_SHOWN.step_all(found.first, found.rows, bounds, new)
    entries = {}
    for at, key in enumerate(older):
        shown = merged[starts[at] : starts[at + 1]]
        cut = max(len(shown) - SHOWN_EXACTLY, 0)
        entries[key] = records.pack(key, shown[cut:].tobytes())
        if cut:
            before = filters.rows[filters.first[at] : filters.first[at + 1]]
            entries[earlier[at]] = records.pack(earlier[at], _with(before, shown[:cut]).tobytes())
    newest = records.keys_of(records.NEWEST_SHOWN, users[many])
    return entries | {key: records.pack(key, b"") for key in newest}


def _with(filters: NDArray[Any], gone: NDArray[Any]) -> NDArray[Any]:
    """``filters (F, WIDTH)``, by period, with the works of ``gone (E, 3)``: time, number, work."""
    periods = gone[:, 0] // PERIOD_MS
    there = np.unique(np.concatenate([filters[:, 0], periods]))[-shown_filter.FILTERS :]
    made = np.zeros((len(there), WIDTH), np.int64)
    made[:, 0] = there
    kept = np.isin(filters[:, 0], there)
    made[np.searchsorted(there, filters[kept, 0])] = filters[kept]
    for row in made:
        shown_filter.add(row[1:], np.ascontiguousarray(gone[periods == row[0], 2]))
    return made
