"""What the platform showed before any model: sessions of users, and in each a feed drawn from plain channels.

A session has a scene, and a scene mixes channels: popular works, fresh ones, works of a tag the user likes
(the best of three by a noisy look at the taste), works of followed creators, of friends, of the own city,
other singers of a liked song, and random ones. Feedback does not steer it, so exposures are drawn first and
feedback after.
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

CHANNELS = ("popular", "fresh", "taste", "followed", "friends", "city", "song", "random")
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
N_LOOKS = 3


@dataclass(frozen=True, eq=False)
class Shown:
    """M works shown, in order of time: ``user``, ``work`` rows int64, ``time_ms`` int64, ``scene`` int32.

    ``repeats``: what was shown to the user just before, as ``Satiation.repeats`` counts it.
    """

    user: NDArray[Any]
    work: NDArray[Any]
    time_ms: NDArray[Any]
    scene: NDArray[Any]
    repeats: Repeats

    def __len__(self) -> int:
        return len(self.user)


class _SocialEdges:
    """A graph of users, from its sorted keys user · U + other."""

    def __init__(self, keys: NDArray[Any], n_users: int) -> None:
        users, self._others = np.divmod(keys, n_users)
        self._counts = np.bincount(users, minlength=n_users)
        self._starts = np.cumsum(self._counts) - self._counts

    def draw(self, user: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """(M,) int64: the row of a random neighbour of each user; −1 for a user without one."""
        count = self._counts[user]
        at = self._starts[user] + (rng.random(len(user)) * count).astype(np.int64)
        return np.where(count > 0, np.append(self._others, -1)[np.minimum(at, len(self._others))], -1)


class Policy:
    """The channels over one world. Building costs O(W log W + U · tags)."""

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
        everyone = np.zeros(len(works), np.int64)
        self._all = PrefixSampler(everyone, works.weight, 1)
        self._by_tag = PrefixSampler(self._tag, works.weight, len(TAGS))
        self._by_city = PrefixSampler(people.city[works.creator], works.weight, N_CITIES)
        self._by_song = PrefixSampler(works.song, works.weight, len(songs))
        self._by_creator = PrefixSampler(works.creator, np.ones(len(works)), len(people))
        self._follows = _SocialEdges(follow_keys, len(people))
        self._friends = _SocialEdges(friend_keys, len(people))
        self._liked_tags = _liked_tags(people, songs, tag_vectors)

    def show(self, n: int, first_ms: int, last_ms: int, rng: np.random.Generator) -> Shown:
        """``n`` works shown over [first_ms, last_ms), each after its upload.

        A user sees no work twice and no own work, as far as five attempts get it: where works are few some
        do.
        """
        user, time_ms, scene = _sessions(self._people, self._joined_ms, n, first_ms, last_ms, rng)
        limit = np.searchsorted(self._works.upload_ms, time_ms, side="right")
        work = self._draw(user, scene, limit, rng)
        for _ in range(5):
            again = np.flatnonzero(self._unwanted(user, work))
            if not len(again):
                break
            work[again] = self._random(user[again], limit[again], rng)
        repeats = self._satiation.repeats(user, self._works.creator[work], self._tag[work])
        return Shown(user, work, time_ms, scene, repeats)

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
        channel = (np.cumsum(MIXTURE, axis=1)[scene] < rng.random(len(user))[:, None]).sum(axis=1)
        work = np.empty(len(user), np.int64)
        for code, name in enumerate(CHANNELS):
            rows = np.flatnonzero(channel == code)
            work[rows] = draws[name](user[rows], limit[rows], rng)
        empty = np.flatnonzero(work < 0)
        work[empty] = self._popular(user[empty], limit[empty], rng)
        return work

    def _popular(self, user: NDArray[Any], limit: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        return self._all.draw(np.zeros(len(user), np.int64), limit, rng)

    def _random(self, user: NDArray[Any], limit: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        return np.asarray(rng.integers(0, limit))

    def _fresh(self, user: NDArray[Any], limit: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        ago = rng.exponential(FRESH_WORKS * len(self._works), len(user)).astype(np.int64)
        return np.asarray(limit - 1 - ago % limit)

    def _taste(self, user: NDArray[Any], limit: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        looks = np.stack(
            [self._by_tag.draw(self._some_liked_tag(user, rng), limit, rng) for _ in range(N_LOOKS)]
        )
        liking = np.stack([self._noisy_liking(user, look, rng) for look in looks])
        return np.asarray(looks[np.argmax(liking, axis=0), np.arange(len(user))])

    def _by_neighbour(
        self, edges: _SocialEdges, user: NDArray[Any], limit: NDArray[Any], rng: np.random.Generator
    ) -> NDArray[Any]:
        other = edges.draw(user, rng)
        return np.where(other < 0, -1, self._by_creator.draw(np.maximum(other, 0), limit, rng))

    def _same_song(self, user: NDArray[Any], limit: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        liked = self._by_tag.draw(self._some_liked_tag(user, rng), limit, rng)
        return np.where(liked < 0, -1, self._by_song.draw(self._works.song[liked], limit, rng))

    def _some_liked_tag(self, user: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        tag = (self._liked_tags[user] < rng.random(len(user), np.float32)[:, None]).sum(axis=1)
        return np.asarray(np.minimum(tag, len(TAGS) - 1))

    def _noisy_liking(self, user: NDArray[Any], work: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        taste = self._people.taste[user]
        song = np.einsum("nd,nd->n", taste, self._songs.vector[self._works.song[work]])
        voice = np.einsum("nd,nd->n", taste, self._people.voice[self._works.creator[work]])
        noisy = np.sqrt(DIMENSION) * (song + 0.6 * voice) + 1.5 * rng.standard_normal(len(user))
        return np.where(work < 0, -np.inf, noisy)

    def _unwanted(self, user: NDArray[Any], work: NDArray[Any]) -> NDArray[Any]:
        """(M,) bool: a creator's own work, or a work that was shown to the user in an earlier row."""
        repeated = np.ones(len(user), bool)
        repeated[np.unique(user * len(self._works) + work, return_index=True)[1]] = False
        return np.asarray(repeated | (self._works.creator[work] == user))


def _liked_tags(people: People, songs: Songs, tag_vectors: NDArray[Any]) -> NDArray[Any]:
    """(U, tags) float32 cumulative chances of a user's tags: softmax of taste · tag, weighed by the tag's
    songs."""
    supply = np.bincount(songs.tag, weights=songs.weight, minlength=len(TAGS))
    liking = np.einsum("ud,td->ut", people.taste, tag_vectors)
    chance = supply.astype(np.float32) ** 0.5 * np.exp(1.2 * np.sqrt(np.float32(DIMENSION)) * liking)
    return np.asarray(np.cumsum(chance / chance.sum(axis=1, keepdims=True), axis=1), np.float32)


def _sessions(
    people: People, joined_ms: NDArray[Any], n: int, first_ms: int, last_ms: int, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(user, time_ms, scene) of ``n`` works shown, in order of time: sessions of geometric length, most at
    night.

    Who joins in [first_ms, last_ms) does so with a session, and has none before.
    """
    lengths = rng.geometric(1.0 / MEAN_SESSION, n)
    session = np.repeat(np.arange(n), lengths)[:n] if n else np.empty(0, np.int64)
    n_sessions = int(session[-1]) + 1
    user, start = _visits(people.activity, joined_ms, n_sessions, first_ms, last_ms, rng)
    passed = np.cumsum(rng.exponential(45_000.0, n).astype(np.int64) + 2_000)
    first = np.searchsorted(session, np.arange(n_sessions))
    time_ms = np.minimum(start[session] + passed - passed[first][session], last_ms - 1)
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
    """(user, start_ms) of ``n`` sessions, none before its user joined; the first ones are those of
    joining."""
    user, start = np.empty(n, np.int64), np.empty(n, np.int64)
    joining = np.flatnonzero((joined_ms >= first_ms) & (joined_ms < last_ms))[:n]
    user[: len(joining)], start[: len(joining)] = joining, joined_ms[joining]
    wanted = np.arange(len(joining), n)
    while len(wanted):
        user[wanted] = weighted_rows(activity, len(wanted), rng)
        day = rng.integers(0, (last_ms - first_ms) // DAY_MS, len(wanted))
        hour = weighted_rows(np.array(HOURS, float), len(wanted), rng)
        start[wanted] = first_ms + (24 * day + hour) * HOUR_MS + rng.integers(0, HOUR_MS, len(wanted))
        wanted = wanted[start[wanted] < joined_ms[user[wanted]]]
    return user, start
