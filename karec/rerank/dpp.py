"""DPP as a step: relevance is the score so far, similarity comes from the item vectors. It runs after prerank
(score = user · item) and after rank (score = the fused prediction), each with settings of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.diversity import dpp_select, standardised
from karec.index import ItemIndex
from karec.stage import Selector
from karec.types import Array, Candidates, Request, Selection


class Dpp(Selector):
    """Greedy MAP of a determinantal point process over the candidates; the definition stands at ``karec.dpp_select``.

    Scores are standardised first (mean 0, deviation 1), so that one ``diversity`` means the same for inner products
    and for probabilities. ``k``: how many to select, None = ``request.k``. ``type_weight`` says how alike two works of
    one type (audio, video) are beyond their vectors; ``weights`` scales the relevance of a type by its code
    (``{"1" = 1.2}`` gives videos more of the traffic). ``window``: only so many places count as near.
    A work without an embedding has a zero vector: it can only gain q²·(ridge + type_weight), not q²·(1 + ridge), and so
    it goes far down the list.
    """

    def __init__(
        self,
        index: ItemIndex,
        k: int | None = None,
        diversity: float = 0.5,
        ridge: float = 1e-2,
        type_weight: float = 0.0,
        window: int | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        if k is not None and k <= 0:
            raise ValueError(f"k must be positive, got {k}")
        for name, share in (("diversity", diversity), ("type_weight", type_weight)):
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1], got {share}")
        if not ridge >= 0:
            raise ValueError(f"ridge must be ≥ 0, got {ridge}")
        if window is not None and window <= 0:
            raise ValueError(f"window must be positive, got {window}")
        for code, weight in (weights or {}).items():
            if not code.lstrip("-").isdigit() or not weight >= 0:
                raise ValueError(f"weights map a type's code to a number ≥ 0, got {code!r} = {weight!r}")
        self.index = index
        self.k = k
        self.diversity = diversity
        self.ridge = ridge
        self.type_weight = type_weight
        self.window = window
        self.weights = {int(code): float(weight) for code, weight in (weights or {}).items()}

    def select(self, request: Request, candidates: Candidates) -> Selection:
        if not len(candidates):
            return Selection(np.empty(0, np.int64))
        types = self._types(candidates)
        shown = self._shown(request)
        result = dpp_select(
            self.index.embeddings(candidates.rows),
            standardised(candidates.scores),
            request.k if self.k is None else self.k,
            diversity=self.diversity,
            ridge=self.ridge,
            type_weight=self.type_weight,
            types=types if self.type_weight > 0 else None,
            weights=self._traffic(types),
            window=self.window,
            shown=shown if len(shown) else None,
        )
        return Selection(result.indices, None, {"n_dpp": result.n_dpp, "log_det": result.log_det})

    def _types(self, candidates: Candidates) -> Array:
        if self.type_weight == 0 and not self.weights:
            return np.zeros(len(candidates), np.int32)
        known = np.asarray(self.index.columns["type"])[candidates.rows]
        return np.where(candidates.rows < 0, -1, known).astype(np.int32)

    def _traffic(self, types: Array) -> Array | None:
        if not self.weights:
            return None
        weights = np.ones(len(types), np.float32)
        for code, weight in self.weights.items():
            weights[types == code] = weight
        return weights

    def _shown(self, request: Request) -> Array:
        rows = self.index.lookup(np.array(request.shown, np.int64))
        return self.index.embeddings(rows[rows >= 0])
