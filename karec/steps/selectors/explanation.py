"""Why a DPP put each work at its place, in numbers that people can check; for requests with ``explain``
alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from karec.diversity import DppResult
from karec.pipeline.types import Candidates
from karec.steps.shared.similarity import Compared


def explanation(
    candidates: Candidates, result: DppResult, compared: Compared, facets: Mapping[str, float]
) -> dict[str, Any]:
    """Plain values for a trace: ``works``, in the order of selection, and ``top_k``, the ids that relevance
    alone would have put in their places. Of each work:

    id          the work
    relevance   the score that it came with
    gain        d² when it was picked; 0 in the fill
    closest     the id that it is most alike, of those before it: picks, and what the session was shown; None:
                nothing
    similarity  with that one: of the vectors and of ``facets`` {column: weight}, without types
    cosine      the vectors' with that one
    same        the columns of ``facets`` in which both have one value
    """
    assert compared.vectors is not None  # copied for a request that asks
    order = result.indices
    shown_ids, weights = compared.shown_ids, np.array(list(facets.values()))
    ids = np.concatenate([shown_ids, candidates.ids[order]])
    f = np.concatenate([compared.shown, compared.vectors[order]]).astype(np.float64)
    codes = np.concatenate([compared.shown_facets, compared.facets[:, order]], axis=1)
    lengths = np.linalg.norm(f, axis=1, keepdims=True)
    f = np.divide(f, lengths, out=np.zeros_like(f), where=lengths > 0)
    works = []
    for place, (at, gain) in enumerate(zip(order, result.gains, strict=True)):
        before = len(shown_ids) + place
        work = {"id": int(candidates.ids[at]), "relevance": float(candidates.scores[at]), "gain": float(gain)}
        near: dict[str, Any] = {"closest": None, "similarity": None, "cosine": None, "same": []}
        if before:
            cosines, same = f[:before] @ f[before], codes[:, :before] == codes[:, before, None]
            alike = (1 - weights.sum()) * cosines + weights @ same
            closest = int(np.argmax(alike))
            near = {"closest": int(ids[closest]), "similarity": float(alike[closest])}
            near["cosine"] = float(cosines[closest])
            near["same"] = [column for column, equal in zip(facets, same[:, closest], strict=True) if equal]
        works.append(work | near)
    plain = np.argsort(-candidates.scores, kind="stable")[: len(order)]
    return {"works": works, "top_k": candidates.ids[plain].tolist()}
