"""Source of the items with the largest inner product with the user vector."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from types import MappingProxyType

from karec.features.user_vectors import run_user_towers, select_query, user_query
from karec.index import IndexSchema, IndexView
from karec.models.onnx_model import OnnxModel
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request, StepOutput

CANDIDATE_RATIO = 2  # scored items per recalled item


class Model(Source):
    """The ``quota`` items with the largest inner product with the user vector of their row's model version.

    The source searches recall's own vector space if the bundle has one, else the item index with
    pre-ranking's user vector. Blocked items are left out, and items of a version without a user vector, which
    the notes count (``without_user_vector``). An index without lists is always scanned.

    Settings:
        exact: true: score every item. false: in an index with lists, score only the items of the lists
            nearest to the user. Their number is the bundle's ``n_probe``, for a measured recall@1000 of at
            least 0.95, or the number of lists with twice the quota on average, if that is more.
    """

    is_verified = True  # tests/steps/sources/test_model.py
    needs: tuple[str, ...] = ("request.user_vector",)

    def __init__(
        self,
        schema: IndexSchema,
        quota: int,
        recall_schema: IndexSchema | None = None,
        recall_user_towers: Mapping[int, OnnxModel] = MappingProxyType({}),
        exact: bool = True,
        n_probe: int | None = None,
    ) -> None:
        self.schema = schema
        self.quota = quota
        self.recall_schema = recall_schema
        self.recall_user_towers = dict(recall_user_towers)
        self.exact = exact
        self.n_probe = n_probe
        if recall_schema is not None:
            towers = self.recall_user_towers.values()
            self.needs = tuple(sorted({f"request.{name}" for tower in towers for name in tower.inputs}))

    def recall(self, request: Request) -> Candidates | StepOutput[Candidates]:
        if self.recall_schema is None:
            query, view = user_query(request), request.index
        else:
            view = request.recall_index
            vectors = run_user_towers(self.recall_user_towers, view, request.features)
            query = select_query(vectors, view.model_versions)
        result = view.search(query, self.quota, n_probe=self._n_probe(view))
        nearest = Candidates.from_ids(result.ids, result.scores)
        if self.recall_schema is None:  # these rows are of the index that later steps read
            nearest = nearest.with_rows(result.rows)
        return StepOutput(nearest, {"without_user_vector": result.n_unknown}) if result.n_unknown else nearest

    def _n_probe(self, view: IndexView) -> int | None:
        if self.exact or self.n_probe is None or not view.n_lists:
            return None
        return max(self.n_probe, ceil(CANDIDATE_RATIO * self.quota * view.n_lists / max(len(view), 1)))
