"""Communities of users: groups who follow, befriend and watch the same.

Graph     Users; an edge weighs FOLLOW for each follow of one by the other, FRIEND for each friendship, and
          for a work that both enjoyed COWATCH / (the watchers' number − 1), each watcher with NEIGHBOURS
          others of the work's, so that a work that everybody watched binds nobody. Loops, and people whom the
          snapshot does not know, bind nobody: ``unbound`` counts them.
Found     by the Leiden algorithm on modularity, from one seed: the same snapshot gives the same communities.
Ids       A community keeps the id of the former one with which it shares most users, each id once, largest
          overlap first; others get ids that were never given. A user without an edge has none, −1.
Cost      O(edges) memory, 24 bytes each and igraph's own; some passes over them.
Source    V. Traag, L. Waltman, N. J. van Eck, From Louvain to Leiden, Scientific Reports 9, 2019.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import COMMUNITY, CREATOR
from karec.catalog.snapshot import Snapshot
from karec.errors import MissingExtra

FOLLOW, FRIEND, COWATCH = 1.0, 1.0, 1.0
NEIGHBOURS = 4
NONE = -1


def communities(snapshot: Snapshot, former: Snapshot | None = None, given: int = NONE) -> NDArray[Any] | None:
    """(users,) int32: the community of each user row, −1 for none; None where no two users are bound by
    anything.

    ``former``: the snapshot that was published before, whose ids are kept. ``given``: the highest id that any
    publication gave, also to a community that is no more; −1 for none. MissingExtra without igraph.
    """
    pairs, weights = _edges(snapshot)
    if not len(pairs):
        return None
    found = _leiden(pairs, weights, len(snapshot.users))
    was = np.empty(0, np.int64)
    rows = np.full(len(found), NONE)
    if former is not None and COMMUNITY in former.users.columns:
        was = np.asarray(former.users[COMMUNITY], np.int64)
        rows = former.users.lookup(np.asarray(snapshot.users.ids))
    return with_former_ids(found, np.append(was, NONE)[rows], int(was.max(initial=given)))


def unbound(snapshot: Snapshot) -> dict[str, int]:
    """Of who follows and befriends whom, the pairs that are no edge: ``loops``, of a user with oneself, and
    ``unknown``, with somebody who is no user of the snapshot, as a creator may be.
    """
    loops = unknown = 0
    for user, other, _ in _bonds(snapshot):
        loops += int(np.count_nonzero(user == other))
        unknown += int(np.count_nonzero(other < 0))
    return {"loops": loops, "unknown": unknown}


def with_former_ids(found: NDArray[Any], was: NDArray[Any], most: int) -> NDArray[Any]:
    """``found (U,)`` under the ids of ``was (U,)``, both −1 for none; new ids begin after ``most``. O(U log
    U)."""
    both = (found >= 0) & (was >= 0)
    pairs, overlap = np.unique(np.stack([found[both], was[both]]), axis=1, return_counts=True)
    order = np.lexsort((pairs[1], pairs[0], -overlap))
    if not (found >= 0).any():
        return found.astype(np.int32)
    new_ids = np.full(int(found.max()) + 1, NONE, np.int64)
    taken: set[int] = set()
    for now, before in pairs[:, order].T.tolist():
        if new_ids[now] == NONE and before not in taken:
            new_ids[now] = before
            taken.add(before)
    unnamed = np.flatnonzero(new_ids == NONE)
    new_ids[unnamed] = most + 1 + np.arange(len(unnamed))
    return np.where(found >= 0, new_ids[found], NONE).astype(np.int32)


def _edges(snapshot: Snapshot) -> tuple[NDArray[Any], NDArray[Any]]:
    """((E, 2) user rows, a < b, each pair once; (E,) weights)."""
    n = len(snapshot.users)
    keys, weights = [np.empty(0, np.int64)], [np.empty(0)]

    def add(a: NDArray[Any], b: NDArray[Any], weight: NDArray[Any] | float) -> None:
        known = (a >= 0) & (b >= 0) & (a != b)
        low, high = np.minimum(a, b)[known], np.maximum(a, b)[known]
        keys.append(low * n + high)
        weights.append(np.broadcast_to(weight, known.shape)[known])

    for user, other, weight in _bonds(snapshot):
        add(user, other, weight)
    if "history" in snapshot.relations:
        for a, b, together in _watched_together(snapshot):
            add(a, b, together)
    pairs, which = np.unique(np.concatenate(keys), return_inverse=True)
    return np.stack(np.divmod(pairs, max(n, 1)), axis=1), np.bincount(which, weights=np.concatenate(weights))


def _bonds(snapshot: Snapshot) -> Iterator[tuple[NDArray[Any], NDArray[Any], float]]:
    """Follows and friendships: (user rows, rows of the others, −1 for who is no user; what each pair
    weighs)."""
    for name, weight in (("follows", FOLLOW), ("friends", FRIEND)):
        if name in snapshot.relations and (name != "follows" or CREATOR in snapshot.works.columns):
            of = snapshot.relations[name]
            user = np.repeat(np.arange(len(of)), np.diff(of.indptr))
            yield user, snapshot.users.lookup(np.asarray(of.values)), weight


def _watched_together(snapshot: Snapshot) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """(user, user, weight) of each watcher of a work and the next one, the second next, …, in the order of
    the rows."""
    of = snapshot.relations["history"]
    user = np.repeat(np.arange(len(of)), np.diff(of.indptr))
    work = np.unique(np.asarray(of.values), return_inverse=True)[1]
    work, user = np.divmod(np.unique(work * max(len(of), 1) + user), max(len(of), 1))
    weight = COWATCH / np.maximum(np.bincount(work)[work] - 1, 1)
    found = []
    for step in range(1, NEIGHBOURS + 1):
        same = work[step:] == work[:-step]
        found.append((user[:-step][same], user[step:][same], weight[step:][same]))
    return found


def _leiden(pairs: NDArray[Any], weights: NDArray[Any], n: int) -> NDArray[Any]:
    """(n,) int32, −1 for a user without an edge."""
    try:
        import igraph
    except ImportError as error:
        raise MissingExtra("igraph", "train", "finding communities at publish") from error
    graph = igraph.Graph(n=n, edges=pairs)
    igraph.set_random_number_generator(random.Random(0))
    try:
        found = graph.community_leiden("modularity", weights=weights.tolist(), n_iterations=-1)
    finally:
        igraph.set_random_number_generator(random)
    bound = np.zeros(n, bool)
    bound[pairs.ravel()] = True
    members = np.where(bound, np.asarray(found.membership), NONE)
    _, dense = np.unique(members[bound], return_inverse=True)
    out = np.full(n, NONE, np.int32)
    out[bound] = dense
    return out
