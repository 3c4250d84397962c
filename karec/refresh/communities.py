"""Communities of users: groups with many follows, friendships and enjoyed items in common.

Graph    Nodes are users. Edge weight: FOLLOW per follow, FRIEND per friendship, and for an item that both
         enjoyed COWATCH / (number of watchers − 1). Each watcher is linked to NEIGHBOURS others of the item,
         so very popular items have little effect. Self-loops and unknown users are ignored; ``ignored_pairs``
         counts them.
Method   Leiden algorithm on modularity with a fixed seed: the same snapshot gives the same communities.
Ids      A community keeps the id of the former one with which it shares most users, each id once, largest
         overlap first. Others get ids that were never used. A user without an edge has −1.
Cost     O(edges) memory, 24 bytes each plus igraph's own; some passes over them.
Source   V. Traag, L. Waltman, N. J. van Eck, From Louvain to Leiden, Scientific Reports 9, 2019.
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


def communities(
    snapshot: Snapshot, former: Snapshot | None = None, highest_id: int = NONE
) -> NDArray[Any] | None:
    """Returns (users,) int32: the community of each user row, −1 for none; None if the graph has no edge.

    Args
      former   previously published snapshot, whose ids are kept
      given    highest id that any publication used, also of a community that is gone; −1 for none

    Raises MissingExtra without igraph.
    """
    pairs, weights = _edges(snapshot)
    if not len(pairs):
        return None
    members = _leiden(pairs, weights, len(snapshot.users))
    former_ids = np.empty(0, np.int64)
    rows = np.full(len(members), NONE)
    if former is not None and COMMUNITY in former.users.columns:
        former_ids = np.asarray(former.users[COMMUNITY], np.int64)
        rows = former.users.lookup(np.asarray(snapshot.users.ids))
    return keep_former_ids(
        members, np.append(former_ids, NONE)[rows], int(former_ids.max(initial=highest_id))
    )


def ignored_pairs(snapshot: Snapshot) -> dict[str, int]:
    """Returns the numbers of follows and friendships without an edge: ``loops``, and ``unknown`` with users
    not in the snapshot.

    A followed creator may be such a user.
    """
    loops = unknown = 0
    for user, other, _ in _social_pairs(snapshot):
        loops += int(np.count_nonzero(user == other))
        unknown += int(np.count_nonzero(other < 0))
    return {"loops": loops, "unknown": unknown}


def keep_former_ids(members: NDArray[Any], former: NDArray[Any], highest_id: int) -> NDArray[Any]:
    """Returns ``members (U,)`` with the ids of ``former (U,)``, both −1 for none; new ids start after
    ``highest_id``. O(U log U)."""
    in_both = (members >= 0) & (former >= 0)
    pairs, overlap = np.unique(np.stack([members[in_both], former[in_both]]), axis=1, return_counts=True)
    order = np.lexsort((pairs[1], pairs[0], -overlap))
    if not (members >= 0).any():
        return members.astype(np.int32)
    new_ids = np.full(int(members.max()) + 1, NONE, np.int64)
    used: set[int] = set()
    for community, former_id in pairs[:, order].T.tolist():
        if new_ids[community] == NONE and former_id not in used:
            new_ids[community] = former_id
            used.add(former_id)
    new = np.flatnonzero(new_ids == NONE)
    new_ids[new] = highest_id + 1 + np.arange(len(new))
    return np.where(members >= 0, new_ids[members], NONE).astype(np.int32)


def _edges(snapshot: Snapshot) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns (E, 2) user rows, a < b, each pair once, and their weights (E,)."""
    n = len(snapshot.users)
    keys, weights = [np.empty(0, np.int64)], [np.empty(0)]

    def add(a: NDArray[Any], b: NDArray[Any], weight: NDArray[Any] | float) -> None:
        known = (a >= 0) & (b >= 0) & (a != b)
        low, high = np.minimum(a, b)[known], np.maximum(a, b)[known]
        keys.append(low * n + high)
        weights.append(np.broadcast_to(weight, known.shape)[known])

    for user, other, weight in _social_pairs(snapshot):
        add(user, other, weight)
    if "history" in snapshot.relations:
        for a, b, weights_of_pairs in _cowatch_pairs(snapshot):
            add(a, b, weights_of_pairs)
    pairs, pair_index = np.unique(np.concatenate(keys), return_inverse=True)
    return np.stack(np.divmod(pairs, max(n, 1)), axis=1), np.bincount(
        pair_index, weights=np.concatenate(weights)
    )


def _social_pairs(snapshot: Snapshot) -> Iterator[tuple[NDArray[Any], NDArray[Any], float]]:
    """Yields (user rows, rows of the others, weight) of follows and friendships; −1 for an unknown user."""
    for name, weight in (("follows", FOLLOW), ("friends", FRIEND)):
        if name in snapshot.relations and (name != "follows" or CREATOR in snapshot.works.columns):
            relation = snapshot.relations[name]
            user = np.repeat(np.arange(len(relation)), np.diff(relation.indptr))
            yield user, snapshot.users.lookup(np.asarray(relation.values)), weight


def _cowatch_pairs(snapshot: Snapshot) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Returns (user, user, weight) for each watcher of an item and its next NEIGHBOURS."""
    history = snapshot.relations["history"]
    user = np.repeat(np.arange(len(history)), np.diff(history.indptr))
    item = np.unique(np.asarray(history.values), return_inverse=True)[1]
    item, user = np.divmod(np.unique(item * max(len(history), 1) + user), max(len(history), 1))
    weight = COWATCH / np.maximum(np.bincount(item)[item] - 1, 1)
    pairs = []
    for step in range(1, NEIGHBOURS + 1):
        same = item[step:] == item[:-step]
        pairs.append((user[:-step][same], user[step:][same], weight[step:][same]))
    return pairs


def _leiden(pairs: NDArray[Any], weights: NDArray[Any], n: int) -> NDArray[Any]:
    """Returns (n,) int32, −1 for a user without an edge."""
    try:
        import igraph
    except ImportError as error:
        raise MissingExtra("igraph", "train", "finding communities when publishing") from error
    graph = igraph.Graph(n=n, edges=pairs)
    igraph.set_random_number_generator(random.Random(0))
    try:
        clustering = graph.community_leiden("modularity", weights=weights.tolist(), n_iterations=-1)
    finally:
        igraph.set_random_number_generator(random)
    has_edge = np.zeros(n, bool)
    has_edge[pairs.ravel()] = True
    members = np.where(has_edge, np.asarray(clustering.membership), NONE)
    _, numbers = np.unique(members[has_edge], return_inverse=True)
    communities = np.full(n, NONE, np.int32)
    communities[has_edge] = numbers
    return communities
