"""Users of the karaoke platform: home, taste, voice, follows and friends.

Families (singing groups) share a taste and often a city, so friends are similar. Creators are users; their
numbers of works follow a Zipf distribution. All arrays are by user row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.relation import Relation
from karec.lab.simulate.world.sampling import unit_rows, weighted_rows, zipf_weights

DIMENSION = 12
N_CITIES = 40
AGE_BANDS = ["under 18", "18-24", "25-34", "35-44", "45-54", "55 and over"]
GENDERS = ["unknown", "female", "male"]
LEVELS = ["listener", "singer", "regular", "star"]
MAX_FOLLOWS = 200
MIN_REGISTER_DAYS = 75.0  # of users who are not newcomers
NEWCOMER_FRACTION = 0.25  # of users, who join during the weeks of the world


@dataclass(frozen=True, eq=False)
class People:
    """U users.

    taste, voice   (U, DIMENSION) float32 unit rows
    family         0: none
    skill, medium  N(0, 1); medium: preference for video
    local          preference for the own city, in [0, 2]
    novelty        preference for fresh works, in [0, 2]
    biases         (U, T) N(0, 1), one for each task
    activity       weight of the user among those online
    register_days  days since the user joined, at the snapshot; negative if a newcomer joins later
    creators       user rows, most prolific first, without newcomers
    fame           weights of the creators
    """

    city: NDArray[Any]
    gender: NDArray[Any]
    age_band: NDArray[Any]
    family: NDArray[Any]
    n_families: int
    taste: NDArray[Any]
    voice: NDArray[Any]
    skill: NDArray[Any]
    medium: NDArray[Any]
    local: NDArray[Any]
    novelty: NDArray[Any]
    biases: NDArray[Any]
    activity: NDArray[Any]
    register_days: NDArray[Any]
    creators: NDArray[Any]
    fame: NDArray[Any]

    def __len__(self) -> int:
        return len(self.city)

    @property
    def newcomers(self) -> NDArray[Any]:
        """(U,) bool: users who join during the weeks of the world."""
        return np.asarray(self.register_days < MIN_REGISTER_DAYS)

    def levels(self, n_works: NDArray[Any]) -> NDArray[Any]:
        """Returns (U,) int32 codes of LEVELS by the number of uploaded works."""
        return np.asarray(np.digitize(n_works, [1, 5, 50]).astype(np.int32))


def make_people(
    n_users: int, n_works: int, n_tasks: int, before_days: int, days: int, rng: np.random.Generator
) -> People:
    """Draws users, of whom some upload ``n_works`` works and all give feedback on ``n_tasks`` tasks.

    Newcomers join uniformly over the ``before_days`` before the snapshot and the ``days`` after it.
    """
    n_families = 1 + max(n_users // 40, 1)
    family = 1 + weighted_rows(zipf_weights(n_families - 1, 0.6), n_users, rng)
    family[rng.random(n_users) < 0.35] = 0
    city = weighted_rows(zipf_weights(N_CITIES, 0.9), n_users, rng)
    family_city = weighted_rows(zipf_weights(N_CITIES, 0.9), n_families, rng)
    lives_with_family = (family > 0) & (rng.random(n_users) < 0.6)
    city[lives_with_family] = family_city[family[lives_with_family]]
    family_taste = unit_rows(rng.standard_normal((n_families, DIMENSION)))[family]
    family_taste[family == 0] = 0.0
    taste = unit_rows(family_taste + 0.9 * unit_rows(rng.standard_normal((n_users, DIMENSION))))
    voice = unit_rows(0.5 * taste + unit_rows(rng.standard_normal((n_users, DIMENSION))))
    n_creators = int(np.clip(n_works // 8, 1, max(n_users * 2 // 5, 1)))
    register_days = np.exp(rng.uniform(np.log(MIN_REGISTER_DAYS), np.log(2500.0), n_users))
    order = rng.permutation(n_users)
    n_newcomers = int(NEWCOMER_FRACTION * n_users)
    register_days[order[n_users - n_newcomers :]] = before_days - rng.uniform(
        0.0, before_days + days, n_newcomers
    )
    return People(
        city=city.astype(np.int32),
        gender=rng.choice(3, n_users, p=[0.06, 0.54, 0.40]).astype(np.int32),
        age_band=rng.choice(6, n_users, p=[0.10, 0.22, 0.26, 0.20, 0.13, 0.09]).astype(np.int32),
        family=family.astype(np.int32),
        n_families=n_families,
        taste=taste,
        voice=voice,
        skill=rng.standard_normal(n_users).astype(np.float32),
        medium=rng.standard_normal(n_users).astype(np.float32),
        local=rng.uniform(0.0, 2.0, n_users).astype(np.float32),
        novelty=rng.uniform(0.0, 2.0, n_users).astype(np.float32),
        biases=rng.standard_normal((n_users, n_tasks)).astype(np.float32),
        activity=np.exp(1.1 * rng.standard_normal(n_users)),
        register_days=register_days,
        creators=order[:n_creators],
        fame=zipf_weights(n_creators, 0.9),
    )


def follow_graph(people: People, rng: np.random.Generator) -> NDArray[Any]:
    """Returns (E,) int64 sorted unique keys follower · U + creator.

    Each creator is the best of three by voice and city. Newcomers follow no creator.
    """
    n = len(people)
    n_follows = np.minimum(np.exp(1.6 + rng.standard_normal(n)), MAX_FOLLOWS).astype(np.int64)
    n_follows[people.newcomers] = 0
    follower = np.repeat(np.arange(n), n_follows)
    options = people.creators[weighted_rows(people.fame, 3 * len(follower), rng)].reshape(3, -1)
    closeness = np.stack([_closeness(people, follower, option) for option in options])
    creator = options[np.argmax(closeness, axis=0), np.arange(len(follower))]
    keys = np.unique(follower * n + creator)
    return np.asarray(keys[_not_self(keys, n)])


def friend_graph(people: People, rng: np.random.Generator) -> NDArray[Any]:
    """Returns (E,) int64 sorted unique keys user · U + friend, in both directions.

    Each user gets two friends in the family and two in the city.
    """
    n = len(people)
    pairs = []
    for group, members in ((people.family, people.family > 0), (people.city, np.ones(n, bool))):
        order = np.argsort(group, kind="stable")
        sizes = np.bincount(group)
        user = np.repeat(np.flatnonzero(members), 2)
        start = (np.cumsum(sizes) - sizes)[group[user]]
        friend = order[start + (rng.random(len(user)) * sizes[group[user]]).astype(np.int64)]
        pairs += [user * n + friend, friend * n + user]
    keys = np.unique(np.concatenate(pairs))
    return np.asarray(keys[_not_self(keys, n)])


def as_relation(keys: NDArray[Any], n_users: int, ids: NDArray[Any]) -> Relation:
    """Returns the graph of ``keys`` user · U + neighbour, with ids of the neighbours, at moment 0."""
    rows, neighbours = np.divmod(keys, n_users)
    return Relation.from_pairs(rows, ids[neighbours], n_users, np.zeros(len(keys), np.int64))


def _closeness(people: People, user: NDArray[Any], creator: NDArray[Any]) -> NDArray[Any]:
    match = np.einsum("nd,nd->n", people.taste[user], people.voice[creator])
    return np.asarray(match + 0.3 * (people.city[user] == people.city[creator]))


def _not_self(keys: NDArray[Any], n: int) -> NDArray[Any]:
    return np.asarray(keys // n != keys % n)
