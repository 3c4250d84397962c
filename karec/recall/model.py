"""Model recall: the works whose item vectors lie nearest to the user's, by exact scan of the item index."""

from __future__ import annotations

from karec.errors import Unavailable
from karec.index import ItemIndex
from karec.stage import Source
from karec.types import Candidates, Request


class Model(Source):
    """The top ``quota`` of the whole index by inner product with ``request.features["user_vector"]``."""

    needs = ("request.user_vector",)

    def __init__(self, index: ItemIndex, quota: int) -> None:
        self.index = index
        self.quota = quota

    def recall(self, request: Request) -> Candidates:
        if "user_vector" not in request.features:
            raise Unavailable("model recall needs a user vector: put the step user_tower into the scene's request")
        scores, ids = self.index.search_all(request.features["user_vector"], k=self.quota)
        return Candidates.of(ids[0], scores[0])
