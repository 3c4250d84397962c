"""The truth of songs, creators, live rooms and song rooms: probabilities of a user's feedback.

Each item type has labels along a funnel, like works: P(label) = P(previous label) · σ(slope · preference +
intercept). The objective of its scene is Σ worth · P(label): the probability of one label, or seconds
watched. The preference is a weighted sum of the causes of feedback to works, of about unit variance each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.lab.simulate.world.people import DIMENSION
from karec.lab.simulate.world.sampling import weighted_rows, zipf_weights
from karec.lab.simulate.world.tastes import TASKS, Truth, contains, pair_normal, sigmoid

SONGS_PER_ROOM = 5
ACCOMPANIMENT_FRACTION = 0.85


@dataclass(frozen=True)
class Label:
    """``rate``: fraction of the impressions with the previous label; ``worth``: seconds, or 1."""

    name: str
    rate: float
    slope: float = 1.0
    worth: float = 0.0


class ItemTypeTastes(ABC):
    """N items. ``weight`` (N,): how widely each is shown, ``owners`` (N,): user rows. Calibrate first."""

    labels: tuple[Label, ...]
    has_owners: bool = True

    def __init__(self, truth: Truth, owners: NDArray[Any], weight: NDArray[Any]) -> None:
        self.truth = truth
        self.owners = owners
        self.weight = weight
        self._intercepts: list[float] = []

    def __len__(self) -> int:
        return len(self.weight)

    @abstractmethod
    def preference(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) preferences for user rows and item rows."""

    def is_possible(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) bool: False for an own item."""
        return np.asarray(self.owners[item] != user)

    def calibrate(self, user: NDArray[Any], item: NDArray[Any]) -> None:
        """Sets intercepts that give each label its rate on these impressions, by bisection."""
        preference, reach = self.preference(user, item), self.is_possible(user, item).astype(np.float64)
        self._intercepts = []
        for label in self.labels:
            low, high = -30.0, 30.0
            for _ in range(40):
                middle = 0.5 * (low + high)
                rate = (reach * sigmoid(label.slope * preference + middle)).sum() / max(reach.sum(), 1e-9)
                low, high = (low, middle) if rate > label.rate else (middle, high)
            self._intercepts.append(low)
            reach = reach * sigmoid(label.slope * preference + low)

    def probabilities(self, user: NDArray[Any], item: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Returns {label: (N,) probability}, along the funnel."""
        preference, reach = self.preference(user, item), self.is_possible(user, item).astype(np.float64)
        probabilities = {}
        for label, intercept in zip(self.labels, self._intercepts, strict=True):
            reach = reach * sigmoid(label.slope * preference + intercept)
            probabilities[label.name] = reach
        return probabilities

    def value(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) the expected value of the scene's objective."""
        probabilities = self.probabilities(user, item)
        return np.asarray(sum(label.worth * probabilities[label.name] for label in self.labels), np.float64)

    def _match(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) inner products of unit rows, scaled to about unit variance."""
        return np.asarray(np.sqrt(DIMENSION) * np.einsum("nd,nd->n", a, b))

    def _edge(self, keys: NDArray[Any], user: NDArray[Any], neighbour: NDArray[Any]) -> NDArray[Any]:
        return contains(keys, user * len(self.truth.people) + neighbour)

    def _city_preference(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) the preference for the own city if the owner lives there, else 0."""
        people = self.truth.people
        return np.asarray((people.city[user] == people.city[self.owners[item]]) * people.local[user])


class SongTastes(ItemTypeTastes):
    labels = (Label("sing", 0.10, worth=1.0),)
    has_owners = False

    def __init__(self, truth: Truth, rng: np.random.Generator) -> None:
        super().__init__(truth, np.full(len(truth.songs), -1), truth.songs.weight)
        self.accompaniment = (rng.random(len(truth.songs)) < ACCOMPANIMENT_FRACTION).astype(np.int32)

    def is_possible(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) bool: False for a song without accompaniment."""
        return np.asarray(self.accompaniment[item] > 0)

    def preference(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        people, songs = self.truth.people, self.truth.songs
        era = 2.0 * np.exp(-0.5 * (people.age_band[user] - songs.era[item]) ** 2) - 1.0
        return np.asarray(
            0.7 * self._match(people.taste[user], songs.vector[item])
            + 0.5 * self._match(people.voice[user], songs.vector[item])
            + 0.4 * pair_normal(user, item, self.truth.salt + 1)
            + 0.4 * era
        )


class CreatorTastes(ItemTypeTastes):
    labels = (Label("follow", 0.02, worth=1.0),)

    def __init__(self, truth: Truth, creators: NDArray[Any]) -> None:
        super().__init__(truth, creators, truth.people.fame)

    def is_possible(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) bool: False if the user is the creator or follows them already."""
        return np.asarray(
            super().is_possible(user, item) & ~self._edge(self.truth.follow_keys, user, self.owners[item])
        )

    def preference(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        people, creator = self.truth.people, self.owners[item]
        return np.asarray(
            0.8 * self._match(people.taste[user], people.voice[creator])
            + 0.6 * people.skill[creator]
            + 0.8 * pair_normal(user, creator, self.truth.salt)
            + 0.3 * self._city_preference(user, item)
            + 0.8 * self._edge(self.truth.friend_keys, user, creator)
            + 0.8 * people.biases[user, TASKS.index("follow")]
        )


class LiveTastes(ItemTypeTastes):
    """The worth is seconds: one minute, four more, and 25 more."""

    labels = (
        Label("watch_1m", 0.25, worth=60.0),
        Label("watch_5m", 0.40, slope=0.7, worth=240.0),
        Label("watch_30m", 0.25, slope=0.7, worth=1500.0),
    )

    def __init__(self, truth: Truth, hosts: NDArray[Any]) -> None:
        super().__init__(truth, hosts, truth.people.fame)

    def preference(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        people, host = self.truth.people, self.owners[item]
        return np.asarray(
            0.7 * self._match(people.taste[user], people.voice[host])
            + 0.5 * people.skill[host]
            + 0.6 * pair_normal(user, host, self.truth.salt)
            + 0.6 * self._edge(self.truth.follow_keys, user, host)
            + 0.5 * self._edge(self.truth.friend_keys, user, host)
            + 0.4 * self._city_preference(user, item)
        )


class RoomTastes(ItemTypeTastes):
    """``songs`` (N, 5): song rows of each room, the ones its owner prefers among four times as many."""

    labels = (Label("join", 0.05, worth=1.0),)

    def __init__(self, truth: Truth, owners: NDArray[Any], rng: np.random.Generator) -> None:
        super().__init__(truth, owners, zipf_weights(len(owners), 0.5))
        candidates = weighted_rows(truth.songs.weight, len(owners) * 4 * SONGS_PER_ROOM, rng).reshape(
            len(owners), -1
        )
        preference = np.einsum("od,osd->os", truth.people.taste[owners], truth.songs.vector[candidates])
        best = np.argsort(-preference, axis=1, kind="stable")[:, :SONGS_PER_ROOM]
        self.songs = np.take_along_axis(candidates, best, axis=1)
        mean = truth.songs.vector[self.songs].mean(axis=1)
        self.vector = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)

    def preference(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        people, owner = self.truth.people, self.owners[item]
        family = (people.family[user] == people.family[owner]) & (people.family[user] > 0)
        return np.asarray(
            0.8 * self._match(people.taste[user], self.vector[item])
            + 0.4 * pair_normal(user, owner, self.truth.salt)
            + 1.5 * self._edge(self.truth.friend_keys, user, owner)
            + 1.0 * family
            + 0.3 * self._city_preference(user, item)
        )
