"""The recall of request.py's other side: lists of rows in dicts, NumPy, FAISS.

A work is its row in the snapshot from the first list to the last, so that nothing is looked up by id. Lists,
orders and draws are made before the first request, by karec's own code where it makes the same ones; a
request reads them with NumPy alone. Repeats are found by an array with a place for every work, which took a
tenth of ``np.unique``'s time.
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
from karec.steps.shared.postings import Postings, latest_of_users, newest_by, users_by, works_by
from karec.steps.sources.follow import Follow
from karec.steps.sources.fresh import Fresh
from karec.steps.sources.model import Model
from karec.steps.sources.popular import Popular
from karec.steps.sources.profile import MAX_ENTRIES, Profile
from karec.steps.sources.social import Social

EMPTY = np.empty(0, np.int64)
Lists = dict[int, Array]
Channel = Callable[["Asked"], Array]
Nearest = Callable[[Array], Array]


@dataclass
class Asked:
    """A request on its way: ``user`` is its row, −1 for a stranger; ``rows`` are the works that are left."""

    request: Request
    user: int
    features: dict[str, Array] = field(default_factory=dict)
    query: Array = field(default_factory=lambda: EMPTY)
    parts: list[Array] = field(default_factory=list)
    rows: Array = field(default_factory=lambda: EMPTY)
    scores: Array = field(default_factory=lambda: EMPTY)
    logits: Array = field(default_factory=lambda: EMPTY)


def as_lists(postings: Postings) -> Lists:
    """{key: its rows}, int64, as NumPy takes them quickest."""
    rows, ends = postings.rows.astype(np.int64), postings.indptr.tolist()
    return {key: rows[ends[i] : ends[i + 1]] for i, key in enumerate(postings.keys.tolist())}


class Turns:
    """Lists read in turns, repeats left out; and which rows were there before. One request at a time."""

    def __init__(self, n_works: int) -> None:
        self.place_of = np.zeros(n_works, np.int32)
        self.bits = np.zeros(n_works, np.uint32)
        self.places = np.arange(max(n_works, 1), dtype=np.int32)

    def read(self, lists: Sequence[Array], limit: int) -> Array:
        if not lists:
            return EMPTY
        rows = np.concatenate(lists)
        turns = np.concatenate([self.places[: len(each)] for each in lists])
        most = max(map(len, lists))
        turn = np.argsort(turns.astype(np.uint16) if most < 2**16 else turns, kind="stable")
        return self.distinct(rows[turn])[:limit]

    def distinct(self, rows: Array) -> Array:
        """``rows`` without repeats; the first of each stays."""
        places = self.places[: len(rows)]
        self.place_of[rows[::-1]] = places[::-1]
        return np.asarray(rows[self.place_of[rows] == places])

    def merged(self, parts: Sequence[Array], limit: int) -> tuple[Array, Array]:
        """(rows without repeats, which channels found each as bits), channels in their order of priority."""
        new = []
        for bit, part in enumerate(parts):
            before = self.bits[part]
            new.append(part[before == 0])
            self.bits[part] = before | np.uint32(1 << bit)
        rows = np.concatenate(new)
        found_by = self.bits[rows]
        self.bits[rows] = 0
        return rows[:limit], found_by[:limit]


def follow(step: Follow, snapshot: Snapshot, turns: Turns) -> Channel:
    made, follows = as_lists(newest_by(snapshot, CREATOR)), snapshot.relations["follows"]

    def recall(asked: Asked) -> Array:
        if asked.user < 0:
            return EMPTY
        followed = follows.row_values(asked.user)[::-1].tolist()
        return turns.read(
            [made[creator][: step.per_creator] for creator in followed if creator in made], step.quota
        )

    return recall


def social(step: Social, snapshot: Snapshot, turns: Turns) -> Channel:
    made, friends = as_lists(newest_by(snapshot, CREATOR)), snapshot.relations["friends"]
    row_of = {user: row for row, user in enumerate(snapshot.users.ids.tolist())}
    kin = users_by(snapshot, FAMILY)
    families = {} if kin is None else as_lists(kin)
    family_of = snapshot.users[FAMILY] if families else EMPTY
    kept = [of for name in ("liked", "history") if (of := latest_of_users(snapshot, name)) is not None]
    lists = [(of.indptr.tolist(), of.rows.astype(np.int64)) for of in kept]

    def recall(asked: Asked) -> Array:
        if asked.user < 0:
            return EMPTY
        near = friends.row_values(asked.user)[: step.people].tolist()
        circle = {row_of[friend] for friend in near if friend in row_of}
        if families and is_named(FAMILY, family := family_of[asked.user]):
            circle.update(families[int(family)][: step.people].tolist())
        circle.discard(asked.user)
        own = asked.request.user_number
        read = [made[friend][: step.per_person] for friend in near if friend in made and friend != own]
        for ends, rows in lists:
            read += [rows[ends[u] : min(ends[u] + step.per_person, ends[u + 1])] for u in sorted(circle)]
        return turns.read(read, step.quota)

    return recall


def profile(step: Profile, snapshot: Snapshot, turns: Turns) -> Channel:
    by_facet = {facet: as_lists(works_by(snapshot, facet)) for facet in step.facets}
    columns = {facet: np.asarray(snapshot.works[facet]) for facet in step.facets}
    made = as_lists(newest_by(snapshot, CREATOR))
    kept = {name: of for name in ("history", "liked") if (of := latest_of_users(snapshot, name)) is not None}
    lists = {name: (of.indptr.tolist(), of.rows.astype(np.int64)) for name, of in kept.items()}
    falling = step.decay ** np.arange(MAX_ENTRIES)

    def recall(asked: Asked) -> Array:
        if asked.user < 0:
            return EMPTY
        seen = {name: rows[ends[asked.user] : ends[asked.user + 1]] for name, (ends, rows) in lists.items()}
        seen["sung"] = made.get(asked.request.user_number, EMPTY)
        works = np.concatenate([rows[:MAX_ENTRIES] for rows in seen.values()])
        weights = np.concatenate(
            [step.evidence.get(name, 0.0) * falling[: len(rows)] for name, rows in seen.items()]
        )
        read: list[Array] = []
        for facet, column in columns.items():
            keys, which = np.unique(column[works], return_inverse=True)
            interest = np.bincount(which, weights=weights, minlength=len(keys))
            interest[keys < 0] = 0.0  # no value that anybody knows
            top = np.argsort(-interest, kind="stable")[: step.keys_per_facet]
            top = top[interest[top] > 0]
            if not len(top):
                continue
            share = np.ceil(interest[top] / interest[top].sum() * step.quota / len(columns)).astype(int)
            of_key = by_facet[facet]
            read += [of_key[key][:n] for key, n in zip(keys[top].tolist(), share.tolist(), strict=True)]
        return turns.read(read, step.quota)

    return recall


def popular(step: Popular, snapshot: Snapshot, _: Turns) -> Channel:
    if step.segment is not None:
        raise SystemExit("the channel popular of a segment is not written for the other side")
    best = snapshot.works.lookup(step.best.ids)
    return lambda asked: best


def fresh(step: Fresh, snapshot: Snapshot, _: Turns) -> Channel:
    drawn = [snapshot.works.lookup(order.ids) for order in step.orders]
    return lambda asked: drawn[asked.request.seed % len(drawn)]


CHANNELS: dict[type, Any] = {Follow: follow, Social: social, Profile: profile, Popular: popular, Fresh: fresh}


def channels(cascade: Cascade, snapshot: Snapshot, turns: Turns, nearest: Nearest) -> list[Channel]:
    """One for each of the cascade's channels, by its settings; ``nearest`` gives the rows of the channel
    ``model``."""
    made: list[Channel] = []
    for source in cascade.recall.sources:
        if isinstance(source, Model):
            made.append(lambda asked: nearest(asked.query))
        else:
            made.append(CHANNELS[type(source)](source, snapshot, turns))
    return made
