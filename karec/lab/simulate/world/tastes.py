"""The truth of the world: the probabilities of a user's feedback to a work.

Feedback is a funnel. A work is clicked; a clicked work may be viewed long; a work viewed long may be
finished, liked, commented on, given a gift, or its creator followed. Each stage is a logistic model of the
same causes, of about unit variance each, with the weights of WEIGHTS. The probability of a task is the
product along its funnel.

Inner products of two towers can model: song, voice, quality, appeal, era, medium. They cannot model exactly:
pair effects (a fixed preference of this user for this creator or song, of full rank and visible only in the
user's own history); city, follow and friend (equality of ids); hour and satiation (the moment, and the works
shown before).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.lab.simulate.world.catalogue import Songs, Works
from karec.lab.simulate.world.people import DIMENSION, People
from karec.lab.simulate.world.satiation import KUAIRAND, Repeats, Satiation
from karec.times import DAY_MS, HOUR_MS

TASKS = ("click", "long_view", "finish", "like", "follow", "comment", "gift")
PARENT_TASKS = {"click": None, "long_view": "click", **dict.fromkeys(TASKS[2:], "long_view")}
TASK_RATES = {
    "click": 0.40,
    "long_view": 0.30,
    "finish": 0.17,
    "like": 0.03,
    "follow": 0.003,
    "comment": 0.005,
    "gift": 0.002,
}
SCENES = ["home", "following", "city", "song_request"]

# Weight of each cause for each task, in the order of TASKS.
WEIGHTS: Mapping[str, tuple[float, ...]] = {
    # cause         click  long   finish like   follow comment gift
    "song": (0.60, 0.50, 0.30, 0.30, 0.00, 0.00, 0.00),
    "voice": (0.35, 0.45, 0.30, 0.50, 0.80, 0.30, 0.50),
    "quality": (0.25, 0.60, 0.40, 0.50, 0.60, 0.00, 0.60),
    "appeal": (0.35, -0.25, 0.00, 0.00, 0.00, 0.00, 0.00),
    "era": (0.35, 0.25, 0.00, 0.00, 0.00, 0.00, 0.00),
    "medium": (0.25, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00),
    "short": (0.00, 0.40, 0.80, 0.00, 0.00, 0.00, 0.00),
    "user": (0.35, 0.35, 0.30, 0.90, 0.80, 1.00, 1.30),
    "creator_pair": (0.40, 0.40, 0.00, 0.50, 0.80, 0.40, 0.70),
    "song_pair": (0.30, 0.25, 0.00, 0.00, 0.00, 0.00, 0.00),
    "city": (0.45, 0.00, 0.00, 0.20, 0.30, 0.40, 0.00),
    "follow": (0.50, 0.30, 0.00, 0.50, 0.00, 0.60, 0.80),
    "friend": (0.40, 0.30, 0.00, 1.00, 0.80, 1.50, 0.80),
    "fresh": (0.30, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00),
    "hour": (0.25, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00),
    "scene": (1.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00),
}
SCENE_MOOD = np.array([0.0, 0.1, -0.2, 0.2], np.float32)
UTC_OFFSET_MS = 8 * HOUR_MS
EVENING = 21.0
NO_REPEATS: Repeats = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Truth:
    """Hidden tastes of one world. ``time_ms`` is its last moment: every work is uploaded by then.

    ``follow_keys``, ``friend_keys``: sorted keys user row · U + user row at the beginning of the world; later
    follows change no taste. ``intercepts``: {task: b}.
    """

    people: People
    songs: Songs
    works: Works
    follow_keys: NDArray[Any]
    friend_keys: NDArray[Any]
    salt: int
    time_ms: int
    intercepts: Mapping[str, float]
    satiation: Satiation = KUAIRAND

    def probabilities(
        self,
        user_rows: NDArray[Any],
        work_rows: NDArray[Any],
        *,
        time_ms: NDArray[Any] | int | None = None,
        scene: NDArray[Any] | int = 0,
        repeats: Repeats = NO_REPEATS,
    ) -> dict[str, NDArray[Any]]:
        """Returns {task: (N,) float32} for user row i and work row i, not conditional on a click.

        Args:
            time_ms: default: the last moment of the world.
            scene: code, default: home.
            repeats: similar works shown to this user just before, as ``Satiation.repeats`` counts them.

        Raises:
            ValueError: shapes differ, or a row is out of range.

        A user never follows a creator twice. Cost: O(N).
        """
        user = _check_rows("user_rows", user_rows, len(self.people))
        work = _check_rows("work_rows", work_rows, len(self.works))
        if user.shape != work.shape:
            raise ValueError(
                f"user_rows has shape {user.shape}, work_rows has shape {work.shape}, expected equal shapes"
            )
        moment = np.broadcast_to(self.time_ms if time_ms is None else time_ms, user.shape)
        causes = self.causes(user, work, moment, np.broadcast_to(scene, user.shape))
        probabilities: dict[str, NDArray[Any]] = {}
        for task in TASKS:
            chance = sigmoid(self.logits(task, user, causes, repeats) + self.intercepts[task])
            if task == "follow":
                chance = np.where(causes["follow"] > 0, 0.0, chance)
            parent = PARENT_TASKS[task]
            if parent is not None:
                chance = chance * probabilities[parent]
            probabilities[task] = np.asarray(chance, np.float32)
        return probabilities

    def repeats(self, user: NDArray[Any], work: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Counts the similar works shown to ``user`` (M,) before each of ``work`` (M,), in display order."""
        works = self.works
        return self.satiation.repeats(user, works.creator[work], self.songs.tag[works.song[work]])

    def causes(
        self, user: NDArray[Any], work: NDArray[Any], time_ms: NDArray[Any], scene: NDArray[Any]
    ) -> dict[str, NDArray[Any]]:
        """Returns {cause: (N,) float32} of WEIGHTS without "user", which ``logits`` adds for each task."""
        people, works = self.people, self.works
        creator, song = works.creator[work], works.song[work]
        pair = user * len(people) + creator
        age_days = np.maximum(time_ms - works.upload_ms[work], 0) / DAY_MS
        hour = ((time_ms + UTC_OFFSET_MS) / HOUR_MS) % 24
        sign = 2.0 * works.type[work] - 1.0
        gap = people.age_band[user] - self.songs.era[song]
        same_city = people.city[user] == people.city[creator]
        causes = {
            "song": np.sqrt(DIMENSION) * np.einsum("nd,nd->n", people.taste[user], self.songs.vector[song]),
            "voice": np.sqrt(DIMENSION) * np.einsum("nd,nd->n", people.taste[user], people.voice[creator]),
            "era": 2.0 * np.exp(-0.5 * gap**2) - 1.0,
            "medium": sign * people.medium[user],
            "quality": works.quality[work],
            "appeal": works.appeal[work],
            "creator_pair": pair_normal(user, creator, self.salt),
            "song_pair": pair_normal(user, song, self.salt + 1),
            "city": same_city * people.local[user],
            "follow": contains(self.follow_keys, pair),
            "friend": contains(self.friend_keys, pair),
            "fresh": -0.5 * np.log1p(age_days) * people.novelty[user],
            "hour": sign * np.cos(2.0 * np.pi * (hour - EVENING) / 24.0),
            "scene": SCENE_MOOD[scene],
            "short": -np.log(works.duration_ms[work] / 180_000.0),
        }
        return {name: np.asarray(cause, np.float32) for name, cause in causes.items()}

    def logits(
        self, task: str, user: NDArray[Any], causes: Mapping[str, NDArray[Any]], repeats: Repeats
    ) -> NDArray[Any]:
        """Returns (N,) float32 Σ weight · cause minus the effect of ``repeats``, without the intercept."""
        column = TASKS.index(task)
        total = np.zeros(len(user), np.float32)
        for cause, weights in WEIGHTS.items():
            if weights[column]:
                value = self.people.biases[user, column] if cause == "user" else causes[cause]
                total += np.float32(weights[column]) * value
        return self.satiation.apply(task, total, repeats)


def sigmoid(logits: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0))))


def pair_normal(a: NDArray[Any], b: NDArray[Any], salt: int) -> NDArray[Any]:
    """Returns (N,) float32, about N(0, 1), a fixed function of (a, b, salt).

    The sum of the four 16-bit parts of a pair's 64 bits is close enough to a normal variable.
    """
    parts = pair_bits(a, b, salt).view(np.uint16).reshape(-1, 4)
    return np.asarray((parts.sum(axis=1, dtype=np.float64) / 65536.0 - 2.0) * np.sqrt(3.0), np.float32)


def pair_uniform(a: NDArray[Any], b: NDArray[Any], salt: int) -> NDArray[Any]:
    """Returns (N,) float64 in [0, 1), a fixed function of (a, b, salt)."""
    return np.asarray((pair_bits(a, b, salt) >> np.uint64(11)) * 2.0**-53)


def pair_bits(a: NDArray[Any], b: NDArray[Any], salt: int) -> NDArray[Any]:
    """Returns (N,) uint64 of a pair, by SplitMix64's finaliser (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        x = np.asarray(a, np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.asarray(b, np.uint64)
        x = x * np.uint64(0xD1342543DE82EF95) + np.uint64(salt)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return np.ascontiguousarray(x)


def contains(keys: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Returns (N,) bool: True if the sorted ``keys`` contain the key."""
    if not len(keys):
        return np.zeros(len(values), bool)
    places = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
    return np.asarray(keys[places] == values)


def _check_rows(name: str, rows: NDArray[Any], n: int) -> NDArray[Any]:
    rows = np.asarray(rows, np.int64)
    for place in np.flatnonzero((rows < 0) | (rows >= n))[:1]:
        raise ValueError(f"{name}[{place}] is {rows[place]}, expected 0 … {n - 1}")
    return rows
