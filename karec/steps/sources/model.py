"""Model recall: the works whose item vectors lie nearest to the user's, by exact scan or by lists of
works."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from types import MappingProxyType

from karec.features.user_vectors import run_user_towers, select_query, user_query
from karec.index import IndexSchema, IndexView
from karec.models.onnx_model import OnnxModel
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request, StepOutput

MORE = 2  # works that are scored for one that is recalled


class Model(Source):
    """The top ``quota`` of the whole library by inner product with the user vector of each row's model
    version.

    It searches in recall's own space where the bundle has one (``recall_schema``), with the vectors that
    ``recall_user_towers`` {model version: tower} make of the user's features. Else it searches the item index
    with prerank's user vector.

    ``exact`` False: of an index with lists, only the works of the lists nearest to the user are scored: of
    ``n_probe`` lists, the bundle's number, at which recall@1000 was measured to be .95 or more, or of as many
    as hold MORE times the quota on average, if these are more; where lists near the user are small, fewer
    works than the quota are found. An index without lists, as of a small catalogue, is scanned.

    Blocked works are left out, so that fewer than ``quota`` may be found, and works of a version that has no
    user vector, which the notes count (``without_user_vector``).
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
        if quota <= 0:
            raise ValueError(f"quota must be positive, got {quota}")
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
        found = view.search(query, self.quota, n_probe=self._n_probe(view))
        nearest = Candidates.from_ids(found.ids, found.scores)
        if self.recall_schema is None:  # rows of the index that later steps read
            nearest = nearest.with_rows(found.rows)
        return StepOutput(nearest, {"without_user_vector": found.n_unknown}) if found.n_unknown else nearest

    def _n_probe(self, view: IndexView) -> int | None:
        if self.exact or self.n_probe is None or not view.n_lists:
            return None
        return max(self.n_probe, ceil(MORE * self.quota * view.n_lists / max(len(view), 1)))
