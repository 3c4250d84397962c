"""Model recall: the works whose item vectors lie nearest to the user's, by exact scan of the item index."""

from __future__ import annotations

from karec.features.user_vector import user_queries
from karec.index import ItemIndex
from karec.stage import Source
from karec.types import Candidates, Noted, Request


class Model(Source):
    """The top ``quota`` of the whole index by inner product with the user vector of each row's model version.

    Blocked works are left out, so that fewer than ``quota`` may be found, and works of a version that has no user
    vector, which the notes count (``without_user_vector``).
    """

    needs = ("request.user_vector",)

    def __init__(self, index: ItemIndex, quota: int) -> None:
        if quota <= 0:
            raise ValueError(f"quota must be positive, got {quota}")
        self.index = index
        self.quota = quota

    def recall(self, request: Request) -> Candidates | Noted[Candidates]:
        one, by_version = user_queries(request)
        found = request.index.search_all(one, k=self.quota, query_by_version=by_version)
        nearest = Candidates.of(found.ids, found.scores)
        return Noted(nearest, {"without_user_vector": found.unknown}) if found.unknown else nearest
