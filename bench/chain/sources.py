"""Recall of the chain: lists of rows in dicts, read with NumPy.

An item is its row in the snapshot in all steps, so no step looks up ids. Lists and orders are made before the
first request, by karec's code if it makes the same ones. An array with a place for each item finds repeats:
that takes a tenth of the time of ``np.unique``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from karec.catalog.schema import CREATOR, FAMILY, is_named
from karec.catalog.snapshot import Snapshot
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Array, Request
from karec.steps.shared.postings import (
    Postings,
    latest_of_users,
    most_popular,
    newest,
    newest_by,
    users_by,
    works_by,
)
from karec.steps.sources.follow import Follow
from karec.steps.sources.fresh import Fresh
from karec.steps.sources.model import Model
from karec.steps.sources.popular import Popular
from karec.steps.sources.profile import MAX_ENTRIES, Profile
from karec.steps.sources.social import Social

EMPTY = np.empty(0, np.int64)
Lists = dict[int, Array]
SourceCall = Callable[["RequestState"], Array]
Nearest = Callable[[Array], Array]


@dataclass
class RequestState:
    """State of a request. ``user``: row, −1 if unknown; ``rows``: the remaining items."""

    request: Request
    user: int
    features: dict[str, Array] = field(default_factory=dict)
    query: Array = field(default_factory=lambda: EMPTY)
    parts: list[Array] = field(default_factory=list)
    rows: Array = field(default_factory=lambda: EMPTY)
    scores: Array = field(default_factory=lambda: EMPTY)
    logits: Array = field(default_factory=lambda: EMPTY)


def as_lists(postings: Postings, allowed: Array | None = None) -> Lists:
    """Returns {key: rows}, int64, which NumPy indexes fastest. ``allowed`` (works,) bool; None: all."""
    ends, rows = lists_of(postings, allowed)
    return {key: rows[ends[i] : ends[i + 1]] for i, key in enumerate(postings.keys.tolist())}


def lists_of(postings: Postings, allowed: Array | None) -> tuple[list[int], Array]:
    """Returns (where the lists begin and end, rows), with the allowed rows only."""
    ends, rows = postings.indptr, postings.rows.astype(np.int64)
    if allowed is not None:
        ends, rows = np.append(0, np.cumsum(allowed[rows]))[ends], rows[allowed[rows]]
    return ends.tolist(), rows


class RowMerger:
    """Interleaves and merges lists of rows without repeats. One thread calls."""

    def __init__(self, n_works: int) -> None:
        self.place_of = np.zeros(n_works, np.int32)
        self.bits = np.zeros(n_works, np.uint32)
        self.places = np.arange(max(n_works, 1), dtype=np.int32)

    def interleave(self, lists: Sequence[Array], limit: int) -> Array:
        if not lists:
            return EMPTY
        rows = np.concatenate(lists)
        places = np.concatenate([self.places[: len(part)] for part in lists])
        is_short = max(map(len, lists)) < 2**16
        order = np.argsort(places.astype(np.uint16) if is_short else places, kind="stable")
        return self.without_repeats(rows[order])[:limit]

    def without_repeats(self, rows: Array) -> Array:
        """Returns the first of each of ``rows``."""
        places = self.places[: len(rows)]
        self.place_of[rows[::-1]] = places[::-1]
        return np.asarray(rows[self.place_of[rows] == places])

    def merge(self, parts: Sequence[Array], limit: int) -> tuple[Array, Array]:
        """Returns (rows without repeats, bits of the sources that found each); ``parts``: by priority."""
        new = []
        for bit, part in enumerate(parts):
            earlier_bits = self.bits[part]
            new.append(part[earlier_bits == 0])
            self.bits[part] = earlier_bits | np.uint32(1 << bit)
        rows = np.concatenate(new)
        found_by = self.bits[rows]
        self.bits[rows] = 0
        return rows[:limit], found_by[:limit]


def follow(step: Follow, snapshot: Snapshot, merger: RowMerger, allowed: Array | None = None) -> SourceCall:
    works_of, follows = as_lists(newest_by(snapshot, CREATOR), allowed), snapshot.relations["follows"]

    def recall(state: RequestState) -> Array:
        if state.user < 0:
            return EMPTY
        followed = follows.row_values(state.user)[::-1].tolist()
        lists = [works_of[creator][: step.per_creator] for creator in followed if creator in works_of]
        return merger.interleave(lists, step.quota)

    return recall


def social(step: Social, snapshot: Snapshot, merger: RowMerger, allowed: Array | None = None) -> SourceCall:
    works_of, friends = as_lists(newest_by(snapshot, CREATOR), allowed), snapshot.relations["friends"]
    row_of = {user: row for row, user in enumerate(snapshot.users.ids.tolist())}
    family_postings = users_by(snapshot, FAMILY)
    families = {} if family_postings is None else as_lists(family_postings)
    family_of = snapshot.users[FAMILY] if families else EMPTY
    relations = [latest_of_users(snapshot, name) for name in ("liked", "history")]
    user_lists = [lists_of(postings, allowed) for postings in relations if postings is not None]

    def recall(state: RequestState) -> Array:
        if state.user < 0:
            return EMPTY
        near = friends.row_values(state.user)[: step.people].tolist()
        circle = {row_of[friend] for friend in near if friend in row_of}
        if families and is_named(FAMILY, family := family_of[state.user]):
            circle.update(families[int(family)][: step.people].tolist())
        circle.discard(state.user)
        user_id = state.request.user_number
        lists = [
            works_of[friend][: step.per_person] for friend in near if friend in works_of and friend != user_id
        ]
        for ends, rows in user_lists:
            lists += [rows[ends[u] : min(ends[u] + step.per_person, ends[u + 1])] for u in sorted(circle)]
        return merger.interleave(lists, step.quota)

    return recall


def profile(step: Profile, snapshot: Snapshot, merger: RowMerger, allowed: Array | None = None) -> SourceCall:
    by_facet = {facet: as_lists(works_by(snapshot, facet), allowed) for facet in step.facets}
    columns = {facet: np.asarray(snapshot.works[facet]) for facet in step.facets}
    works_of = as_lists(newest_by(snapshot, CREATOR))
    relations = {name: latest_of_users(snapshot, name) for name in ("history", "liked")}
    user_lists = {
        name: lists_of(postings, None) for name, postings in relations.items() if postings is not None
    }
    decay_weights = step.decay ** np.arange(MAX_ENTRIES)

    def recall(state: RequestState) -> Array:
        if state.user < 0:
            return EMPTY
        user = state.user
        evidence = {name: rows[ends[user] : ends[user + 1]] for name, (ends, rows) in user_lists.items()}
        evidence["sung"] = works_of.get(state.request.user_number, EMPTY)
        works = np.concatenate([rows[:MAX_ENTRIES] for rows in evidence.values()])
        weights = np.concatenate(
            [step.evidence.get(name, 0.0) * decay_weights[: len(rows)] for name, rows in evidence.items()]
        )
        lists: list[Array] = []
        for facet, column in columns.items():
            keys, places = np.unique(column[works], return_inverse=True)
            interest = np.bincount(places, weights=weights, minlength=len(keys))
            interest[keys < 0] = 0.0  # unknown values
            top = np.argsort(-interest, kind="stable")[: step.keys_per_facet]
            top = top[interest[top] > 0]
            if not len(top):
                continue
            share = np.ceil(interest[top] / interest[top].sum() * step.quota / len(columns)).astype(int)
            works_by_key = by_facet[facet]
            lists += [
                works_by_key[key][:n] for key, n in zip(keys[top].tolist(), share.tolist(), strict=True)
            ]
        return merger.interleave(lists, step.quota)

    return recall


def popular(step: Popular, snapshot: Snapshot, _: RowMerger, allowed: Array | None = None) -> SourceCall:
    if step.segment is not None:
        raise SystemExit("the chain has no source popular with a segment")
    best = snapshot.works.lookup(step.best.ids)
    if allowed is not None:
        order = most_popular(snapshot)
        best = order[allowed[order]]
    return lambda state: best


def fresh(step: Fresh, snapshot: Snapshot, _: RowMerger, allowed: Array | None = None) -> SourceCall:
    orders = [snapshot.works.lookup(draw.best.ids) for draw in step.orders]
    if allowed is not None:
        older = newest(snapshot)[step.pool :]
        orders = [np.concatenate([draw.rows, older]) for draw in step.orders]
        orders = [rows[allowed[rows]] for rows in orders]
    return lambda state: orders[state.request.seed % len(orders)]


SOURCE_MAKERS: dict[type, Any] = {
    Follow: follow,
    Social: social,
    Profile: profile,
    Popular: popular,
    Fresh: fresh,
}


def make_sources(
    cascade: Cascade, snapshot: Snapshot, merger: RowMerger, nearest: Nearest
) -> list[SourceCall]:
    """Returns one call per source of the cascade; ``nearest(query)`` returns the rows of the source model."""
    return [
        (lambda state: nearest(state.query))
        if isinstance(source, Model)
        else SOURCE_MAKERS[type(source)](source, snapshot, merger)
        for source in cascade.recall.sources
    ]
