"""Source of the items with the largest inner product with the user vector."""

from __future__ import annotations

from math import ceil

from karec.features.user_vectors import user_query, user_tables
from karec.index import IndexSchema
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request, StepOutput

CANDIDATE_RATIO = 2  # scored items per recalled item
MAX_SCANNED_FRACTION = 0.5  # of the items: a request that allows fewer has all of them scored


class Model(Source):
    """The ``quota`` items with the largest inner product with the user vector of their row's model version.

    Blocked items are left out, and items of a version without a user vector, which the notes count
    (``without_user_vector``). An index without lists is scanned.

    Settings:
        exact: true: score every item. false: in an index with lists, score only the items of the lists
            nearest to the user. Their number is the bundle's ``n_probe``, for a measured recall@1000 of at
            least 0.95 (0.99 with wide towers), or the number of lists with twice the quota on average, if
            that is more. If the request allows a fraction f of the items, it is 1/f as many lists. If f is
            below 0.5, all allowed items are scored: few of them may be in the nearest lists.
    """

    is_verified = True  # tests/steps/sources/test_model.py
    has_all = True
    needs: tuple[str, ...] = ("request.user_vector",)

    def __init__(
        self,
        schema: IndexSchema,
        quota: int,
        exact: bool = True,
        n_probe: int | None = None,
    ) -> None:
        self.schema = schema
        self.quota = quota
        self.exact = exact
        self.n_probe = n_probe

    def recall(self, request: Request) -> Candidates | StepOutput[Candidates]:
        query, view = user_query(request), request.index
        mask = None if request.allowed is None else request.allowed.rows
        n_probe, tables = self._n_probe(request), user_tables(request)
        result = view.search(query, self.quota, mask=mask, n_probe=n_probe, tables=tables)
        nearest = Candidates.from_ids(result.ids, result.scores).with_rows(result.rows)
        return StepOutput(nearest, {"without_user_vector": result.n_unknown}) if result.n_unknown else nearest

    def _n_probe(self, request: Request) -> int | None:
        view, allowed = request.index, request.allowed
        if self.exact or self.n_probe is None or not view.n_lists:
            return None
        allowed_fraction = 1.0 if allowed is None else allowed.n_allowed / max(view.n_rows, 1)
        if allowed_fraction < MAX_SCANNED_FRACTION:
            return None
        n_probe = max(self.n_probe, CANDIDATE_RATIO * self.quota * view.n_lists / max(len(view), 1))
        return ceil(n_probe / allowed_fraction)
