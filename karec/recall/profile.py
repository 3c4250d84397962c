"""Profile recall: works of the songs, creators and tags that the user's history favours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from karec.platform.schema import CREATOR, SONG, TAG
from karec.platform.snapshot import Snapshot
from karec.recall.postings import interleave, works_by
from karec.stage import Source
from karec.types import Array, Candidates, Request


class Profile(Source):
    """Each facet (a column of works) has an equal part of ``quota``. Within a facet the ``keys_per_facet`` values that
    weigh most in the user's history share it in proportion to their weights: the newest entry of the history weighs 1,
    each older one ``decay`` times the next. ``facets``: song, creator and tag, those of them that works have.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        quota: int,
        facets: Sequence[str] | None = None,
        keys_per_facet: int = 20,
        decay: float = 0.95,
    ) -> None:
        columns = snapshot.works.columns
        if facets is None:
            facets = [role for role in (SONG, CREATOR, TAG) if role in columns]
        unknown = [facet for facet in facets if facet not in columns]
        if unknown:
            raise ValueError(f"facets {unknown} are no columns of the works; columns are {list(columns)}")
        if not facets:
            raise ValueError(
                f"profile needs facets, columns of works whose values a user may favour; columns are {list(columns)}"
            )
        if quota <= 0 or keys_per_facet <= 0 or not 0 < decay <= 1:
            raise ValueError(
                "profile needs quota > 0, keys_per_facet > 0 and 0 < decay ≤ 1, got "
                f"{quota}, {keys_per_facet} and {decay}"
            )
        self.snapshot = snapshot
        self.quota = quota
        self.facets = tuple(facets)
        self.keys_per_facet = keys_per_facet
        self.decay = decay
        self.postings = {facet: works_by(snapshot, facet) for facet in facets}

    def recall(self, request: Request) -> Candidates:
        user = int(self.snapshot.users.lookup(np.array([request.user_number]))[0])
        if user < 0 or "history" not in self.snapshot.relations:
            return Candidates.empty()
        watched = self.snapshot.works.lookup(self.snapshot.relations["history"].of(user))
        watched = watched[watched >= 0]
        if not len(watched):
            return Candidates.empty()
        weight = self.decay ** np.arange(len(watched) - 1, -1, -1.0)
        lists = [part for facet in self.facets for part in self._facet(facet, watched, weight)]
        rows = interleave(lists, self.quota)
        return Candidates.of(self.snapshot.works.ids[rows])

    def _facet(self, facet: str, watched: Array, weight: Array) -> list[Array]:
        keys, which = np.unique(self.snapshot.works[facet][watched], return_inverse=True)
        interest = np.bincount(which, weights=weight)
        top = np.argsort(-interest, kind="stable")[: self.keys_per_facet]
        share = interest[top] / interest[top].sum() * self.quota / len(self.facets)
        return [self.postings[facet].of(int(keys[i]), int(np.ceil(s))) for i, s in zip(top, share, strict=True)]
