"""Base class of the selectors MMR and SSD."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import ClassVar, Self

import numpy as np

from karec.diversity import DiversityResult
from karec.index import IndexSchema
from karec.kernels.arguments import DIVERSITY, between, positive_or_none
from karec.pipeline.step import Selector
from karec.pipeline.types import Candidates, Request, Selection
from karec.steps.shared.similarity import PLAIN, CandidateSimilarity, Similarity
from karec.steps.shared.vectors import Parts


class Marginal(Selector):
    """Selects by standardised score and by distance from the selected and the shown items.

    Settings:
        k: maximum number of items. Absent: the request's k.
        diversity: in [0, 1]. 0 is plain top-k.
        window: number of neighbouring positions that count as near. Absent: the whole list.
        similarity: the vectors and columns that are compared, as in ``dpp``.
    """

    needs = ("rows", "scores")
    choose: ClassVar[Callable[..., DiversityResult]]

    def __init__(
        self,
        schema: IndexSchema,
        k: int | None = None,
        diversity: float = DIVERSITY,
        window: int | None = None,
        similarity: Similarity | None = None,
        bundle: Parts | None = None,
    ) -> None:
        self.schema = schema
        self.similarity = CandidateSimilarity(schema, bundle, similarity or PLAIN)
        self.k = positive_or_none("k", k)
        self.diversity = between("diversity", diversity, 1.0)
        self.window = positive_or_none("window", window)

    def with_diversity(self, diversity: float) -> Self:
        """Returns a step with another ``diversity`` that shares all else."""
        copied = copy(self)
        copied.diversity = between("diversity", diversity, 1.0)
        return copied

    def select(self, request: Request, candidates: Candidates) -> Selection:
        if not len(candidates):
            return Selection(np.empty(0, np.int64))
        compared_items = self.similarity.compare(request, candidates)
        result = self.choose(
            compared_items.vectors,
            candidates.scores,
            request.k if self.k is None else self.k,
            diversity=self.diversity,
            window=self.window,
            standardise=True,
            shown=compared_items.shown,
            facets=compared_items.facets,
            facet_weights=self.similarity.weights,
            shown_facets=compared_items.shown_facets,
        )
        return Selection(result.indices)
