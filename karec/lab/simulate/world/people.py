"""Users of the karaoke platform: where they live, what they like, how they sing, whom they know.

Families (singing groups) share taste and often a city, so friends resemble each other. Creators are users;
how many works they upload falls off as Zipf. All arrays are by user row.
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
LEAST_REGISTER_DAYS = 75.0  # of those who are no newcomers
NEWCOMERS = 0.25  # share of users who join during the world's weeks


@dataclass(frozen=True, eq=False)
class People:
    """U users. ``taste`` and ``voice (U, DIMENSION) float32`` have unit rows; ``family`` 0 is "none".

    ``skill``, ``medium`` (likes video) ~ N(0, 1); ``local`` (cares for the own city) and ``novelty`` (cares
    for fresh works) in [0, 2]; ``biases (U, K)`` ~ N(0, 1), one a kind of feedback. ``activity`` weighs who
    is online. ``register_days``: days since the user joined, as of the snapshot; a newcomer's may be
    negative: joins so many days later. ``creators`` are user rows, most prolific first, ``fame`` their
    weights; newcomers are none.
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
        """(U,) bool: joins during the world's weeks."""
        return np.asarray(self.register_days < LEAST_REGISTER_DAYS)

    def levels(self, n_works: NDArray[Any]) -> NDArray[Any]:
        """(U,) int32 codes of LEVELS, by the number of works uploaded."""
        return np.asarray(np.digitize(n_works, [1, 5, 50]).astype(np.int32))


def make_people(
    n_users: int, n_works: int, n_kinds: int, before_days: int, days: int, rng: np.random.Generator
) -> People:
    """Users, some of whom upload ``n_works`` works between them, and who give ``n_kinds`` of feedback.

    Newcomers join evenly over the ``before_days`` before the snapshot and the ``days`` after it.
    """
    n_families = 1 + max(n_users // 40, 1)
    family = 1 + weighted_rows(zipf_weights(n_families - 1, 0.6), n_users, rng)
    family[rng.random(n_users) < 0.35] = 0
    city = weighted_rows(zipf_weights(N_CITIES, 0.9), n_users, rng)
    home = weighted_rows(zipf_weights(N_CITIES, 0.9), n_families, rng)
    at_home = (family > 0) & (rng.random(n_users) < 0.6)
    city[at_home] = home[family[at_home]]
    shared = unit_rows(rng.standard_normal((n_families, DIMENSION)))[family]
    shared[family == 0] = 0.0
    taste = unit_rows(shared + 0.9 * unit_rows(rng.standard_normal((n_users, DIMENSION))))
    voice = unit_rows(0.5 * taste + unit_rows(rng.standard_normal((n_users, DIMENSION))))
    n_creators = int(np.clip(n_works // 8, 1, max(n_users * 2 // 5, 1)))
    register_days = np.exp(rng.uniform(np.log(LEAST_REGISTER_DAYS), np.log(2500.0), n_users))
    order = rng.permutation(n_users)
    n_newcomers = int(NEWCOMERS * n_users)
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
        biases=rng.standard_normal((n_users, n_kinds)).astype(np.float32),
        activity=np.exp(1.1 * rng.standard_normal(n_users)),
        register_days=register_days,
        creators=order[:n_creators],
        fame=zipf_weights(n_creators, 0.9),
    )


def follow_graph(people: People, rng: np.random.Generator) -> NDArray[Any]:
    """(E,) int64 sorted unique keys follower · U + creator; each is the best of three creators by voice and
    city.

    Newcomers follow nobody.
    """
    n = len(people)
    wanted = np.minimum(np.exp(1.6 + rng.standard_normal(n)), MAX_FOLLOWS).astype(np.int64)
    wanted[people.newcomers] = 0
    follower = np.repeat(np.arange(n), wanted)
    options = people.creators[weighted_rows(people.fame, 3 * len(follower), rng)].reshape(3, -1)
    appeal = np.stack([_closeness(people, follower, option) for option in options])
    creator = options[np.argmax(appeal, axis=0), np.arange(len(follower))]
    keys = np.unique(follower * n + creator)
    return np.asarray(keys[_not_self(keys, n)])


def friend_graph(people: People, rng: np.random.Generator) -> NDArray[Any]:
    """(E,) int64 sorted unique keys user · U + friend, both directions: two in the family and two in the
    city."""
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
    """Keys user · U + other → for each user row the other's ids, at moment 0 (before records began)."""
    rows, others = np.divmod(keys, n_users)
    return Relation.from_pairs(rows, ids[others], n_users, np.zeros(len(keys), np.int64))


def _closeness(people: People, user: NDArray[Any], creator: NDArray[Any]) -> NDArray[Any]:
    match = np.einsum("nd,nd->n", people.taste[user], people.voice[creator])
    return np.asarray(match + 0.3 * (people.city[user] == people.city[creator]))


def _not_self(keys: NDArray[Any], n: int) -> NDArray[Any]:
    return np.asarray(keys // n != keys % n)
