"""Why a DPP put each work at its place, in numbers that people can check; for requests with ``explain`` alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from karec.diversity import DppResult
from karec.types import Array, Candidates


def explanation(
    candidates: Candidates, result: DppResult, vectors: Array, shown_ids: Array, shown_vectors: Array
) -> dict[str, Any]:
    """Plain values for a trace: ``works``, in the order of selection, and ``top_k``, the ids that relevance alone would
    have put in their places. Of each work:

    id         the work
    relevance  the score that it came with
    gain       d² when it was picked; 0 in the fill
    closest    the id that it is most alike, of those before it: picks, and what the session was shown; None for nothing
    cosine     with that one
    """
    order = result.indices
    ids = np.concatenate([shown_ids, candidates.ids[order]])
    f = np.concatenate([shown_vectors, vectors[order]]).astype(np.float64)
    lengths = np.linalg.norm(f, axis=1, keepdims=True)
    f = np.divide(f, lengths, out=np.zeros_like(f), where=lengths > 0)
    works = []
    for place, (at, gain) in enumerate(zip(order, result.gains, strict=True)):
        before = len(shown_ids) + place
        cosines = f[:before] @ f[before]
        closest = int(np.argmax(cosines)) if before else None
        works.append(
            {
                "id": int(candidates.ids[at]),
                "relevance": float(candidates.scores[at]),
                "gain": float(gain),
                "closest": None if closest is None else int(ids[closest]),
                "cosine": None if closest is None else float(cosines[closest]),
            }
        )
    plain = np.argsort(-candidates.scores, kind="stable")[: len(order)]
    return {"works": works, "top_k": candidates.ids[plain].tolist()}
