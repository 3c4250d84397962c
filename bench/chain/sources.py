"""Recall of the chain: lists of rows, read with NumPy and interleaved with Numba.

An item is its row in the snapshot in all steps, so no step looks up ids. Lists and orders are made before the
first request, by karec's code if it makes the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chain.kernels import interleave, merge
from chain.methods import Query
from karec.catalog.schema import CREATOR, FAMILY, is_named
from karec.catalog.snapshot import Snapshot
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Array, Request
from karec.steps.shared.postings import (
    Postings,
    UserLists,
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

EMPTY = np.empty(0, np.int32)
SourceCall = Callable[["RequestState"], Array]
Nearest = Callable[[Query], Array]


@dataclass
class RequestState:
    """State of a request. ``user``: row, −1 if unknown; ``rows``: the remaining items.

    ``pools`` has (rows, scores) before each cut, for rules that the remaining items cannot keep.
    """

    request: Request
    user: int
    features: dict[str, Array] = field(default_factory=dict)
    query: Query = field(default_factory=lambda: Query(EMPTY, EMPTY))
    parts: list[Array] = field(default_factory=list)
    rows: Array = field(default_factory=lambda: EMPTY)
    scores: Array = field(default_factory=lambda: EMPTY)
    logits: Array = field(default_factory=lambda: EMPTY)
    pools: list[tuple[Array, Array]] = field(default_factory=list)


class ListSet:
    """Lists of rows in one array, so that one call interleaves any of them."""

    def __init__(
        self, lists: Sequence[Postings | UserLists | None], allowed: Array | None, marks: Array
    ) -> None:
        self.marks = marks
        self.lists = [_allowed_rows(part, allowed) for part in lists if part is not None]
        self.rows = np.concatenate([np.asarray(part.rows, np.int32) for part in self.lists])
        self.offsets = np.cumsum([0, *(len(part.rows) for part in self.lists)])

    def spans(self, i: int, keys: Array, limit: int | Array) -> tuple[Array, Array]:
        """Returns where the first ``limit`` rows of each key of list i begin and end."""
        spans = self.lists[i].spans(keys, limit)
        return spans.begins + self.offsets[i], spans.ends + self.offsets[i]

    def interleave(self, spans: Sequence[tuple[Array, Array]], limit: int) -> Array:
        begins, ends = zip(*spans, strict=True)
        return interleave(self.rows, np.concatenate(begins), np.concatenate(ends), limit, self.marks)


def _allowed_rows(lists: Any, allowed: Array | None) -> Any:
    """Returns ``lists`` with the allowed rows only. ``allowed`` (works,) bool; None: all."""
    if allowed is None:
        return lists
    keep = allowed[lists.rows]
    indptr = np.append(0, np.cumsum(keep))[lists.indptr]
    return (
        UserLists(indptr, lists.rows[keep])
        if isinstance(lists, UserLists)
        else Postings(lists.keys, indptr, lists.rows[keep])
    )


class RowMerger:
    """Merges lists of rows without repeats. One thread calls. ``marks``: those of ``chain.kernels``."""

    def __init__(self, n_works: int) -> None:
        self.marks = np.zeros(n_works, np.uint32)

    def merge(self, parts: Sequence[Array], limit: int) -> tuple[Array, Array]:
        """Returns (rows without repeats, bits of the sources that found each); ``parts``: by priority."""
        return merge(np.concatenate(parts), np.cumsum([len(part) for part in parts]), limit, self.marks)


def follow(step: Follow, snapshot: Snapshot, merger: RowMerger, allowed: Array | None = None) -> SourceCall:
    lists = ListSet([newest_by(snapshot, CREATOR)], allowed, merger.marks)
    follows = snapshot.relations["follows"]

    def recall(state: RequestState) -> Array:
        if state.user < 0:
            return EMPTY
        spans = lists.spans(0, follows.row_values(state.user)[::-1], step.per_creator)
        return lists.interleave([spans], step.quota)

    return recall


def social(step: Social, snapshot: Snapshot, merger: RowMerger, allowed: Array | None = None) -> SourceCall:
    users_lists = [latest_of_users(snapshot, name) for name in ("liked", "history")]
    lists = ListSet([newest_by(snapshot, CREATOR), *users_lists], allowed, merger.marks)
    friends, families = snapshot.relations["friends"], users_by(snapshot, FAMILY)

    def recall(state: RequestState) -> Array:
        if state.user < 0:
            return EMPTY
        near = friends.row_values(state.user)[: step.people]
        circle = [snapshot.users.lookup(near)]
        if families is not None and is_named(FAMILY, family := snapshot.users[FAMILY][state.user]):
            circle.append(families.rows_of(int(family), step.people))
        people = np.unique(np.concatenate(circle))
        people = people[(people >= 0) & (people != state.user)]
        spans = [lists.spans(0, near[near != state.request.user_number], step.per_person)]
        spans += [lists.spans(i, people, step.per_person) for i in range(1, len(lists.lists))]
        return lists.interleave(spans, step.quota)

    return recall


def profile(step: Profile, snapshot: Snapshot, merger: RowMerger, allowed: Array | None = None) -> SourceCall:
    lists = ListSet([works_by(snapshot, facet) for facet in step.facets], allowed, merger.marks)
    columns = [np.asarray(snapshot.works[facet]) for facet in step.facets]
    made = newest_by(snapshot, CREATOR)
    relations = {name: latest_of_users(snapshot, name) for name in ("history", "liked")}
    user_lists = {name: part for name, part in relations.items() if part is not None}
    decay_weights = step.decay ** np.arange(MAX_ENTRIES)

    def recall(state: RequestState) -> Array:
        if state.user < 0:
            return EMPTY
        evidence = {name: part.rows_of(state.user, MAX_ENTRIES) for name, part in user_lists.items()}
        evidence["sung"] = made.rows_of(state.request.user_number, MAX_ENTRIES)
        works = np.concatenate([*evidence.values()])
        weights = np.concatenate(
            [step.evidence.get(name, 0.0) * decay_weights[: len(rows)] for name, rows in evidence.items()]
        )
        spans = []
        for i, column in enumerate(columns):
            keys, places = np.unique(column[works], return_inverse=True)
            interest = np.bincount(places, weights=weights, minlength=len(keys))
            interest[keys < 0] = 0.0  # unknown values
            top = np.argsort(-interest, kind="stable")[: step.keys_per_facet]
            top = top[interest[top] > 0]
            if len(top):
                share = np.ceil(interest[top] / interest[top].sum() * step.quota / len(columns)).astype(int)
                spans.append(lists.spans(i, keys[top], share))
        return lists.interleave(spans, step.quota) if spans else EMPTY

    return recall


def popular(step: Popular, snapshot: Snapshot, _: RowMerger, allowed: Array | None = None) -> SourceCall:
    if step.segment is not None:
        raise SystemExit("the chain has no source popular with a segment")
    best = snapshot.works.lookup(step.best.ids).astype(np.int32)
    if allowed is not None:
        order = most_popular(snapshot)
        best = order[allowed[order]]
    return lambda state: best


def fresh(step: Fresh, snapshot: Snapshot, _: RowMerger, allowed: Array | None = None) -> SourceCall:
    orders = [snapshot.works.lookup(draw.best.ids).astype(np.int32) for draw in step.orders]
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
