"""Profile recall: works of the songs, creators, tags and eras that a user's history, likes, songs and
searches favour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from karec.catalog.schema import CREATOR, ERA, SONG, TAG
from karec.catalog.snapshot import Snapshot
from karec.errors import nearest
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.postings import (
    interleave,
    latest_of_users,
    latest_rows,
    newest_by,
    newest_by_creator,
    related_now,
    user_row,
    works_at,
    works_by,
)

EVIDENCE: Mapping[str, float] = {"history": 1.0, "liked": 1.0, "sung": 1.0, "searched": 1.0}
MOST_ENTRIES = 200  # of each kind of evidence, the latest
NEW_SHARE = (
    # of a value's part, at most: works that came since the snapshot, of which nobody knows how good they are
    0.25
)


class Profile(Source):
    """Each facet (a column of works) has an equal part of ``quota``. Within a facet the ``keys_per_facet``
    values that weigh most in the user's evidence share it in proportion to their weights. Works that came
    since the snapshot are first, the newest before others, up to a quarter of each value's part.

    facets    song, creator, tag and era, those of them that works have
    evidence  {kind: weight}: ``history`` and ``liked`` are works; ``sung``: the works that the user made;
              ``searched``: songs, which weigh in the facet song alone. The latest entry of a kind weighs its
              weight, each older one ``decay`` times the next. What the platform does not record weighs
              nothing, nor does a value below 0, which is one that nobody knows.
    """

    is_verified = True  # tests/steps/sources/test_profile.py
    reason = "of songs, creators, tags or eras of what the user watched, liked, sang or searched"

    def __init__(
        self,
        snapshot: Snapshot,
        quota: int,
        facets: Sequence[str] | None = None,
        keys_per_facet: int = 20,
        decay: float = 0.95,
        evidence: Mapping[str, float] | None = None,
    ) -> None:
        columns = snapshot.works.columns
        if facets is None:
            facets = [role for role in (SONG, CREATOR, TAG, ERA) if role in columns]
        unknown = [facet for facet in facets if facet not in columns]
        if unknown:
            near = nearest(unknown[0], columns)
            raise ValueError(
                f"facets {unknown} are no columns of the works{near}; columns are {list(columns)}"
            )
        if not facets:
            raise ValueError(
                f"profile needs facets, columns of works whose values a user may favour; columns are "
                f"{list(columns)}"
            )
        if quota <= 0 or keys_per_facet <= 0 or not 0 < decay <= 1:
            raise ValueError(
                "profile needs quota > 0, keys_per_facet > 0 and 0 < decay ≤ 1, got "
                f"{quota}, {keys_per_facet} and {decay}"
            )
        self.evidence = dict(EVIDENCE if evidence is None else evidence)
        for kind, weight in self.evidence.items():
            if kind not in EVIDENCE:
                raise ValueError(f"no evidence {kind!r}{nearest(kind, EVIDENCE)}; kinds are {list(EVIDENCE)}")
            if not 0 <= weight < np.inf:
                raise ValueError(f"evidence {kind} = {weight}, weights are ≥ 0")
        self.snapshot = snapshot
        self.quota = quota
        self.facets = tuple(facets)
        self.keys_per_facet = keys_per_facet
        self.decay = decay
        self.postings = {facet: works_by(snapshot, facet) for facet in facets}
        self.lists = {kind: latest_of_users(snapshot, kind) for kind in ("history", "liked")}
        self.made = newest_by_creator(snapshot)

    def recall(self, request: Request) -> Candidates:
        user = user_row(self.snapshot, request.user_number)
        if user < 0 and request.online is None:
            return Candidates.empty()
        works, weights = self._works(user, request)
        songs = related_now(request, self.snapshot, "searched")[::-1][:MOST_ENTRIES]
        of_songs = self._weights("searched", len(songs))
        came = (
            None
            if request.online is None or not len(request.online.items.uploads.works)
            else request.online.items.uploads
        )
        lists, newer = [], []
        for facet in self.facets:
            keys, weight = self.snapshot.works[facet][works], weights
            if facet == SONG and len(songs):
                keys, weight = np.concatenate([keys, songs]), np.concatenate([weight, of_songs])
            named = keys >= 0  # works whose song or tag nobody knows are of no song and no tag
            keys, weight = keys[named], weight[named]
            if len(keys) and weight.any():
                keys, share = self._shares(keys, weight)
                lists.append(self.postings[facet].spans(keys, np.ceil(share).astype(np.int64)))
                if came is not None:
                    most = np.ceil(NEW_SHARE * share).astype(np.int64)
                    newer.append(newest_by(came, facet).spans(keys, most))
        found = works_at(self.snapshot, interleave(self.snapshot, lists, self.quota))
        if came is None or not newer:
            return found
        new = came.works.ids[interleave(came, newer, self.quota)]
        return Candidates.from_ids(
            np.concatenate([new, found.ids])[: self.quota]
        )  # the snapshot has none of them

    def _works(self, user: int, request: Request) -> tuple[Array, Array]:
        """Rows of the works that say what the user favours, and how much each weighs."""
        lists = {
            kind: of
            for kind, of in self.lists.items()
            if of is not None and request.online_list(kind) is None
        }
        found = {kind: of.spans(np.array([user]), MOST_ENTRIES) for kind, of in lists.items() if user >= 0}
        if self.made is not None:
            found["sung"] = self.made.spans(np.array([request.user_number]), MOST_ENTRIES)
        rows = {kind: of[begins[0] : ends[0]] for kind, (of, begins, ends) in found.items()}
        newer = [kind for kind in self.lists if request.online_list(kind) is not None]
        rows |= {kind: latest_rows(request, self.snapshot, kind, MOST_ENTRIES) for kind in newer}
        parts = [self._weights(kind, len(part)) for kind, part in rows.items()]
        return np.concatenate([*rows.values(), np.empty(0, np.int32)]), np.concatenate([*parts, np.empty(0)])

    def _weights(self, kind: str, n: int) -> Array:
        return np.asarray(self.evidence.get(kind, 0.0) * self.decay ** np.arange(n))

    def _shares(self, values: Array, weights: Array) -> tuple[Array, Array]:
        """(the values that weigh most, how many works of the quota each has)."""
        keys, which = np.unique(values, return_inverse=True)
        interest = np.bincount(which, weights=weights)
        top = np.argsort(-interest, kind="stable")[: self.keys_per_facet]
        top = top[interest[top] > 0]
        return keys[top], interest[top] / interest[top].sum() * self.quota / len(self.facets)
