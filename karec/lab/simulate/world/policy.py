"""What the platform showed before any model: sessions of users, with pages from simple sources.

A session has a scene, and a scene mixes sources: popular works, fresh ones, works of a preferred tag (the
best of three by a noisy estimate of the taste), works of followed creators, of friends, of the own city,
other versions of a preferred song, and random works. Feedback has no influence, so impressions are drawn
first and feedback later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.lab.simulate.world.catalogue import TAGS, Songs, Works
from karec.lab.simulate.world.people import DIMENSION, N_CITIES, People
from karec.lab.simulate.world.sampling import PrefixSampler, weighted_rows
from karec.lab.simulate.world.satiation import Repeats, Satiation
from karec.times import DAY_MS, HOUR_MS

SOURCES = ("popular", "fresh", "taste", "followed", "friends", "city", "song", "random")
SCENE_SHARES = [0.70, 0.12, 0.10, 0.08]
MIXTURE = np.array(
    [
        [0.25, 0.15, 0.40, 0.06, 0.04, 0.00, 0.00, 0.10],  # home
        [0.05, 0.05, 0.00, 0.70, 0.20, 0.00, 0.00, 0.00],  # following
        [0.00, 0.10, 0.00, 0.00, 0.00, 0.85, 0.00, 0.05],  # city
        [0.00, 0.00, 0.20, 0.00, 0.00, 0.00, 0.80, 0.00],  # song_request
    ]
)
HOURS = [5, 3, 2, 1, 1, 1, 2, 4, 5, 5, 5, 6, 8, 7, 5, 5, 5, 6, 8, 10, 12, 13, 12, 9]
MEAN_SESSION = 9
FRESH_WORKS = 0.02
N_CANDIDATES = 3


@dataclass(frozen=True, eq=False)
class ShownWorks:
    """M works in display order: ``user``, ``work`` rows int64, ``time_ms`` int64, ``scene`` int32.

    ``repeats``: similar works shown to the user just before, as ``Satiation.repeats`` counts them.
    """

    user: NDArray[Any]
    work: NDArray[Any]
    time_ms: NDArray[Any]
    scene: NDArray[Any]
    repeats: Repeats

    def __len__(self) -> int:
        return len(self.user)


class _SocialEdges:
    """Graph of users, from its sorted keys user · U + other."""

    def __init__(self, keys: NDArray[Any], n_users: int) -> None:
        users, self._neighbours = np.divmod(keys, n_users)
        self._counts = np.bincount(users, minlength=n_users)
        self._starts = np.cumsum(self._counts) - self._counts

    def draw(self, user: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Returns (M,) int64 rows of random neighbours; −1 for a user without one."""
        count = self._counts[user]
        place = self._starts[user] + (rng.random(len(user)) * count).astype(np.int64)
        return np.where(
            count > 0, np.append(self._neighbours, -1)[np.minimum(place, len(self._neighbours))], -1
        )


class Policy:
    """Sources of one world. Cost to build: O(W log W + U · tags)."""

    def __init__(
        self,
        people: People,
        songs: Songs,
        works: Works,
        snapshot_ms: int,
        *,
        tag_vectors: NDArray[Any],
        follow_keys: NDArray[Any],
        friend_keys: NDArray[Any],
        satiation: Satiation,
    ) -> None:
        self._people, self._songs, self._works = people, songs, works
        self._satiation = satiation
        self._joined_ms = (snapshot_ms - DAY_MS * people.register_days).astype(np.int64)
        self._tag = songs.tag[works.song]
        one_group = np.zeros(len(works), np.int64)
        self._all = PrefixSampler(one_group, works.weight, 1)
        self._by_tag = PrefixSampler(self._tag, works.weight, len(TAGS))
        self._by_city = PrefixSampler(people.city[works.creator], works.weight, N_CITIES)
        self._by_song = PrefixSampler(works.song, works.weight, len(songs))
        self._by_creator = PrefixSampler(works.creator, np.ones(len(works)), len(people))
        self._follows = _SocialEdges(follow_keys, len(people))
        self._friends = _SocialEdges(friend_keys, len(people))
        self._liked_tags = _liked_tags(people, songs, tag_vectors)

    def show(self, n: int, first_ms: int, last_ms: int, rng: np.random.Generator) -> ShownWorks:
        """Draws ``n`` impressions over [first_ms, last_ms), each after the work's upload.

        No user sees a work twice or an own work, except where five attempts find no other.
        """
        user, time_ms, scene = _sessions(self._people, self._joined_ms, n, first_ms, last_ms, rng)
        limit = np.searchsorted(self._works.upload_ms, time_ms, side="right")
        work = self._draw(user, scene, limit, rng)
        for _ in range(5):
            rows = np.flatnonzero(self._is_unwanted(user, work))
            if not len(rows):
                break
            work[rows] = self._random(user[rows], limit[rows], rng)
        repeats = self._satiation.repeats(user, self._works.creator[work], self._tag[work])
        return ShownWorks(user, work, time_ms, scene, repeats)

    def _draw(
        self, user: NDArray[Any], scene: NDArray[Any], limit: NDArray[Any], rng: np.random.Generator
    ) -> NDArray[Any]:
        draws: dict[str, Callable[[NDArray[Any], NDArray[Any], np.random.Generator], NDArray[Any]]] = {
            "popular": self._popular,
            "fresh": self._fresh,
            "taste": self._taste,
            "followed": lambda u, m, r: self._by_neighbour(self._follows, u, m, r),
            "friends": lambda u, m, r: self._by_neighbour(self._friends, u, m, r),
            "city": lambda u, m, r: self._by_city.draw(self._people.city[u], m, r),
            "song": self._same_song,
            "random": self._random,
        }
        source = (np.cumsum(MIXTURE, axis=1)[scene] < rng.random(len(user))[:, None]).sum(axis=1)
        work = np.empty(len(user), np.int64)
        for code, name in enumerate(SOURCES):
            rows = np.flatnonzero(source == code)
            work[rows] = draws[name](user[rows], limit[rows], rng)
        missing = np.flatnonzero(work < 0)
        work[missing] = self._popular(user[missing], limit[missing], rng)
        return work

    def _popular(self, user: NDArray[Any], limit: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        return self._all.draw(np.zeros(len(user), np.int64), limit, rng)

    def _random(self, user: NDArray[Any], limit: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        return np.asarray(rng.integers(0, limit))

    def _fresh(self, user: NDArray[Any], limit: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        ago = rng.exponential(FRESH_WORKS * len(self._works), len(user)).astype(np.int64)
        return np.asarray(limit - 1 - ago % limit)

    def _taste(self, user: NDArray[Any], limit: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        candidates = np.stack(
            [self._by_tag.draw(self._draw_tag(user, rng), limit, rng) for _ in range(N_CANDIDATES)]
        )
        preference = np.stack([self._noisy_preference(user, candidate, rng) for candidate in candidates])
        return np.asarray(candidates[np.argmax(preference, axis=0), np.arange(len(user))])

    def _by_neighbour(
        self, edges: _SocialEdges, user: NDArray[Any], limit: NDArray[Any], rng: np.random.Generator
    ) -> NDArray[Any]:
        neighbour = edges.draw(user, rng)
        return np.where(neighbour < 0, -1, self._by_creator.draw(np.maximum(neighbour, 0), limit, rng))

    def _same_song(self, user: NDArray[Any], limit: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        liked = self._by_tag.draw(self._draw_tag(user, rng), limit, rng)
        return np.where(liked < 0, -1, self._by_song.draw(self._works.song[liked], limit, rng))

    def _draw_tag(self, user: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        tag = (self._liked_tags[user] < rng.random(len(user), np.float32)[:, None]).sum(axis=1)
        return np.asarray(np.minimum(tag, len(TAGS) - 1))

    def _noisy_preference(
        self, user: NDArray[Any], work: NDArray[Any], rng: np.random.Generator
    ) -> NDArray[Any]:
        taste = self._people.taste[user]
        song = np.einsum("nd,nd->n", taste, self._songs.vector[self._works.song[work]])
        voice = np.einsum("nd,nd->n", taste, self._people.voice[self._works.creator[work]])
        preference = np.sqrt(DIMENSION) * (song + 0.6 * voice) + 1.5 * rng.standard_normal(len(user))
        return np.where(work < 0, -np.inf, preference)

    def _is_unwanted(self, user: NDArray[Any], work: NDArray[Any]) -> NDArray[Any]:
        """Returns (M,) bool: the user's own work, or a work of an earlier row of the user."""
        is_repeated = np.ones(len(user), bool)
        is_repeated[np.unique(user * len(self._works) + work, return_index=True)[1]] = False
        return np.asarray(is_repeated | (self._works.creator[work] == user))


def _liked_tags(people: People, songs: Songs, tag_vectors: NDArray[Any]) -> NDArray[Any]:
    """Returns (U, tags) float32 cumulative probabilities: softmax of taste · tag, weighted by songs of a
    tag."""
    supply = np.bincount(songs.tag, weights=songs.weight, minlength=len(TAGS))
    preference = np.einsum("ud,td->ut", people.taste, tag_vectors)
    probability = supply.astype(np.float32) ** 0.5 * np.exp(1.2 * np.sqrt(np.float32(DIMENSION)) * preference)
    return np.asarray(np.cumsum(probability / probability.sum(axis=1, keepdims=True), axis=1), np.float32)


def _sessions(
    people: People, joined_ms: NDArray[Any], n: int, first_ms: int, last_ms: int, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Returns (user, time_ms, scene) of ``n`` impressions in time order.

    Sessions have geometric length and are most frequent at night. A user who joins in [first_ms, last_ms)
    does so with a session and has none before.
    """
    lengths = rng.geometric(1.0 / MEAN_SESSION, n)
    session = np.repeat(np.arange(n), lengths)[:n] if n else np.empty(0, np.int64)
    n_sessions = int(session[-1]) + 1
    user, start = _visits(people.activity, joined_ms, n_sessions, first_ms, last_ms, rng)
    elapsed = np.cumsum(rng.exponential(45_000.0, n).astype(np.int64) + 2_000)
    first_rows = np.searchsorted(session, np.arange(n_sessions))
    time_ms = np.minimum(start[session] + elapsed - elapsed[first_rows][session], last_ms - 1)
    scene = weighted_rows(np.array(SCENE_SHARES), n_sessions, rng).astype(np.int32)
    order = np.argsort(time_ms, kind="stable")
    return user[session[order]], time_ms[order], scene[session[order]]


def _visits(
    activity: NDArray[Any],
    joined_ms: NDArray[Any],
    n: int,
    first_ms: int,
    last_ms: int,
    rng: np.random.Generator,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns (user, start_ms) of ``n`` sessions, those of joining users first; none before its user
    joined."""
    user, start = np.empty(n, np.int64), np.empty(n, np.int64)
    joiners = np.flatnonzero((joined_ms >= first_ms) & (joined_ms < last_ms))[:n]
    user[: len(joiners)], start[: len(joiners)] = joiners, joined_ms[joiners]
    missing = np.arange(len(joiners), n)
    while len(missing):
        user[missing] = weighted_rows(activity, len(missing), rng)
        day = rng.integers(0, (last_ms - first_ms) // DAY_MS, len(missing))
        hour = weighted_rows(np.array(HOURS, float), len(missing), rng)
        start[missing] = first_ms + (24 * day + hour) * HOUR_MS + rng.integers(0, HOUR_MS, len(missing))
        missing = missing[start[missing] < joined_ms[user[missing]]]
    return user, start
