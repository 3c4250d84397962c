"""Source of items of the songs, creators, tags and eras that the user prefers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from karec.catalog.schema import CREATOR, ERA, SONG, TAG
from karec.catalog.snapshot import Snapshot
from karec.errors import nearest
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.allowed_works import allowed_works, works_at
from karec.steps.shared.postings import (
    interleave,
    latest_of_users,
    latest_rows,
    newest_by,
    newest_by_creator,
    related_now,
    uploads_of,
    works_by,
)

EVIDENCE: Mapping[str, float] = {"history": 1.0, "liked": 1.0, "sung": 1.0, "searched": 1.0}
MAX_ENTRIES = 200  # latest entries of each kind of evidence
# maximum part of a value's share for uploads after the snapshot, which have no counters yet
NEW_FRACTION = 0.25


class Profile(Source):
    """Items of the songs, creators, tags and eras with the largest weight in the user's evidence.

    Facets share ``quota`` equally. Within a facet, values share it in proportion to their weights. Items
    uploaded after the snapshot come first, newest first, up to a quarter of each value's share. Values below
    0 mean unknown and have no weight.

    Settings:
        facets: columns of items. Absent: song, creator, tag and era, those that items have.
        keys_per_facet: maximum number of values of a facet.
        decay: in (0, 1]. The latest entry of a kind of evidence has the weight of the kind, each older one
            ``decay`` times the next newer.
        evidence: weights ≥ 0 of ``history`` and ``liked`` (items), ``sung`` (items that the user made) and
            ``searched`` (songs). Absent: 1 each.
    """

    is_verified = True  # tests/steps/sources/test_profile.py
    reason = "of songs, creators, tags or eras that the user prefers"

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
                f"facets {unknown} are not columns of the works{near}; columns are {list(columns)}"
            )
        if not facets:
            raise ValueError(
                f"the source profile needs facets, columns of works whose values a user may prefer; columns "
                f"are "
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
                raise ValueError(
                    f"evidence {kind!r} is unknown{nearest(kind, EVIDENCE)}; kinds are {list(EVIDENCE)}"
                )
            if not 0 <= weight < np.inf:
                raise ValueError(f"evidence {kind} = {weight}, expected a finite weight ≥ 0")
        self.snapshot = snapshot
        self.quota = quota
        self.facets = tuple(facets)
        self.keys_per_facet = keys_per_facet
        self.decay = decay
        self.postings = {facet: works_by(snapshot, facet) for facet in facets}
        self.lists = {kind: latest_of_users(snapshot, kind) for kind in ("history", "liked")}
        self.made = newest_by_creator(snapshot)

    def recall(self, request: Request) -> Candidates:
        user = self.snapshot.users.row(request.user_number)
        if user < 0 and request.online is None:
            return Candidates.empty()
        works, weights = self._works(user, request)
        songs = related_now(request, self.snapshot, "searched")[::-1][:MAX_ENTRIES]
        song_weights = self._weights("searched", len(songs))
        uploads = uploads_of(request)
        lists, newer = [], []
        for facet in self.facets:
            keys, weight = self.snapshot.works[facet][works], weights
            if facet == SONG and len(songs):
                keys, weight = np.concatenate([keys, songs]), np.concatenate([weight, song_weights])
            is_known = keys >= 0
            keys, weight = keys[is_known], weight[is_known]
            if len(keys) and weight.any():
                keys, share = self._shares(keys, weight)
                lists.append(self.postings[facet].spans(keys, np.ceil(share).astype(np.int64)))
                if uploads is not None:
                    n_new = np.ceil(NEW_FRACTION * share).astype(np.int64)
                    newer.append(newest_by(uploads, facet).spans(keys, n_new))
        allowed = allowed_works(request, self.snapshot)
        rows = interleave(self.snapshot, lists, self.quota, allowed)
        snapshot_items = works_at(request, self.snapshot, rows)
        if uploads is None or not newer:
            return snapshot_items
        new = uploads.works.ids[interleave(uploads, newer, self.quota, allowed_works(request, uploads))]
        return Candidates.from_ids(np.concatenate([new, snapshot_items.ids])[: self.quota])

    def _works(self, user: int, request: Request) -> tuple[Array, Array]:
        """Returns the rows of the works in the user's evidence, and the weight of each."""
        lists = {
            kind: items
            for kind, items in self.lists.items()
            if items is not None and request.online_list(kind) is None
        }
        rows = {kind: items.rows_of(user, MAX_ENTRIES) for kind, items in lists.items() if user >= 0}
        if self.made is not None:
            rows["sung"] = self.made.rows_of(request.user_number, MAX_ENTRIES)
        newer = [kind for kind in self.lists if request.online_list(kind) is not None]
        rows |= {kind: latest_rows(request, self.snapshot, kind, MAX_ENTRIES) for kind in newer}
        parts = [self._weights(kind, len(part)) for kind, part in rows.items()]
        return np.concatenate([*rows.values(), np.empty(0, np.int32)]), np.concatenate([*parts, np.empty(0)])

    def _weights(self, kind: str, n: int) -> Array:
        return np.asarray(self.evidence.get(kind, 0.0) * self.decay ** np.arange(n))

    def _shares(self, values: Array, weights: Array) -> tuple[Array, Array]:
        """Returns the values with the largest weights, and the number of items of the quota for each."""
        keys, which = np.unique(values, return_inverse=True)
        interest = np.bincount(which, weights=weights)
        top = (-interest).argsort(kind="stable")[: self.keys_per_facet]
        top = top[interest[top] > 0]
        return keys[top], interest[top] / interest[top].sum() * self.quota / len(self.facets)
