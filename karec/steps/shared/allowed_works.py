"""Works of a snapshot that a request may show, so that sources pass over the others before they count."""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.fixed_list import FixedList


def allowed_works(request: Request, snapshot: Snapshot) -> Array | None:
    """Returns (works,) bool: True if the request may show the work. None: it may show all.

    Cost: O(works) once for each condition, and for each request with ``exclude_ids`` or ``only_ids``; one
    look-up of all works for each generation of the index.
    """
    if request.allowed is None:
        return None
    return request.allowed.at_list(_all_works(request, snapshot).rows)


def works_at(request: Request, snapshot: Snapshot, rows: Array) -> Candidates:
    """Returns the works of ``rows`` (N,) int32, in their order.

    If the request restricts items, the works have their rows in its view.
    """
    works = Candidates.from_ids(np.asarray(snapshot.works.ids).take(rows))
    return works if request.allowed is None else works.with_rows(_all_works(request, snapshot).rows[rows])


def first_allowed(order: Array, allowed: Array, limit: int) -> Array:
    """Returns the first ``limit`` of ``order`` (N,) int32, work rows, that are allowed. O(rows read)."""
    block, parts, n_found = max(2 * limit, 1 << 16), [order[:0]], 0
    for begin in range(0, len(order), block):
        part = order[begin : begin + block]
        parts.append(part[allowed[part]])
        n_found += len(parts[-1])
        if n_found >= limit:
            break
    return np.concatenate(parts)[:limit]


def _all_works(request: Request, snapshot: Snapshot) -> Candidates:
    works = snapshot.built.get("all works", lambda: FixedList.from_ids(snapshot.works.ids))
    return works.candidates(request)
