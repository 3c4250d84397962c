"""How different users' top tens are: distinct works among the best ten of many users, by the inner product
alone.

All users choose from the same works, drawn evenly. Ecosystem steps and DPP have no say: what is counted is
how far apart the towers put the users. Few distinct works mean that prerank knows works, and not users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from karec.cascade import Cascade
from karec.errors import DataError
from karec.features.user_vector import VECTOR
from karec.index import ItemIndex
from karec.types import Request

POOL = 50_000  # works that all users choose from
TOP = 10


def distinct_in_top_tens(
    cascade: Cascade, index: ItemIndex, requests: Sequence[Request], pool: int = POOL, seed: int = 0
) -> dict[str, int]:
    """``users`` of ``requests`` that have a vector, ``pool`` works at most of the index, drawn from ``seed``,
    and how many ``distinct_works`` stand in the users' best ten of these, ``at_most`` so many.

    Requests name users by numbers. ``index`` is of one model version. A scan of the index: 400 users take
    less than a second of 3e5 works. DataError where no user has a vector.
    """
    with index.pinned() as view:
        there = np.flatnonzero(view.present)
        chosen = np.random.default_rng(seed).choice(there, min(pool, len(there)), replace=False)
        mask = np.zeros(view.n_rows, bool)
        mask[chosen] = True
        # goes with the requests
        recall_view = None if cascade.recall_index is None else cascade.recall_index.pinned()
        hydrated = [
            cascade.hydrated(request.with_view(view, recall_view))[0].features for request in requests
        ]
        vectors = [features[VECTOR][0] for features in hydrated if VECTOR in features]
        if not vectors:
            raise DataError("no user has a vector: the request's steps of the cascade give none")
        tens = view.search_all(np.stack(vectors), k=TOP, mask=mask)
    taken = tens.ids[tens.ids >= 0]
    return {
        "users": len(vectors),
        "pool": len(chosen),
        "distinct_works": len(np.unique(taken)),
        "at_most": min(len(taken), len(chosen)),
    }


def top_tens_sentence(found: Mapping[str, int]) -> str:
    return (
        f"Best ten of {found['pool']:,} works by the inner product alone, for {found['users']:,} users: "
        f"{found['distinct_works']:,} distinct works of {found['at_most']:,} at most."
    )
