"""The truth of the kinds of items: what a user does with a song, a creator, a live room, a song room, as
chances.

Each kind has labels along a funnel, as works have: P(label) = P(label before) · σ(slope · liking +
intercept). What its scene is for is Σ worth · P(label): one label's chance, or the seconds that are watched.
Liking is a weighed sum of causes of about unit variance, the same that works are judged by.
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

SONGS_OF_A_ROOM = 5
WITH_ACCOMPANIMENT = 0.85


@dataclass(frozen=True)
class Label:
    """``rate``: of those that reached the label before, on what was shown; ``worth``: seconds, or 1."""

    name: str
    rate: float
    slope: float = 1.0
    worth: float = 0.0


class KindTastes(ABC):
    """N items: ``weight (N,)`` how widely each is shown, ``owners (N,)`` user rows. ``calibrate`` comes
    first."""

    labels: tuple[Label, ...]
    owned: bool = True

    def __init__(self, truth: Truth, owners: NDArray[Any], weight: NDArray[Any]) -> None:
        self.truth = truth
        self.owners = owners
        self.weight = weight
        self._intercepts: list[float] = []

    def __len__(self) -> int:
        return len(self.weight)

    @abstractmethod
    def liking(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        """(N,) of user rows and item rows."""

    def possible(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        """(N,) bool: nobody does anything with an own item."""
        return np.asarray(self.owners[item] != user)

    def calibrate(self, user: NDArray[Any], item: NDArray[Any]) -> None:
        """Intercepts that give each label its rate on what was shown, by bisection."""
        liking, reached = self.liking(user, item), self.possible(user, item).astype(np.float64)
        self._intercepts = []
        for label in self.labels:
            low, high = -30.0, 30.0
            for _ in range(40):
                middle = 0.5 * (low + high)
                rate = (reached * sigmoid(label.slope * liking + middle)).sum() / max(reached.sum(), 1e-9)
                low, high = (low, middle) if rate > label.rate else (middle, high)
            self._intercepts.append(low)
            reached = reached * sigmoid(label.slope * liking + low)

    def chances(self, user: NDArray[Any], item: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """{label: (N,)}, along the funnel."""
        liking, reached = self.liking(user, item), self.possible(user, item).astype(np.float64)
        found = {}
        for label, intercept in zip(self.labels, self._intercepts, strict=True):
            reached = reached * sigmoid(label.slope * liking + intercept)
            found[label.name] = reached
        return found

    def value(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        """(N,) what the kind's scene is for."""
        chances = self.chances(user, item)
        return np.asarray(sum(label.worth * chances[label.name] for label in self.labels), np.float64)

    def _match(self, left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
        """(N,) inner products of unit rows, of about unit variance."""
        return np.asarray(np.sqrt(DIMENSION) * np.einsum("nd,nd->n", left, right))

    def _edge(self, keys: NDArray[Any], user: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        return contains(keys, user * len(self.truth.people) + other)

    def _near(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        """The own city, by how much a user cares for it."""
        people = self.truth.people
        return np.asarray((people.city[user] == people.city[self.owners[item]]) * people.local[user])


class SongTastes(KindTastes):
    labels = (Label("sing", 0.10, worth=1.0),)
    owned = False

    def __init__(self, truth: Truth, rng: np.random.Generator) -> None:
        super().__init__(truth, np.full(len(truth.songs), -1), truth.songs.weight)
        self.accompaniment = (rng.random(len(truth.songs)) < WITH_ACCOMPANIMENT).astype(np.int32)

    def possible(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        """Only what has an accompaniment can be sung."""
        return np.asarray(self.accompaniment[item] > 0)

    def liking(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        people, songs = self.truth.people, self.truth.songs
        era = 2.0 * np.exp(-0.5 * (people.age_band[user] - songs.era[item]) ** 2) - 1.0
        return np.asarray(
            0.7 * self._match(people.taste[user], songs.vector[item])
            + 0.5 * self._match(people.voice[user], songs.vector[item])
            + 0.4 * pair_normal(user, item, self.truth.salt + 1)
            + 0.4 * era
        )


class CreatorTastes(KindTastes):
    labels = (Label("follow", 0.02, worth=1.0),)

    def __init__(self, truth: Truth, creators: NDArray[Any]) -> None:
        super().__init__(truth, creators, truth.people.fame)

    def possible(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        """Nobody follows oneself, or twice."""
        return np.asarray(
            super().possible(user, item) & ~self._edge(self.truth.follow_keys, user, self.owners[item])
        )

    def liking(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        people, creator = self.truth.people, self.owners[item]
        return np.asarray(
            0.8 * self._match(people.taste[user], people.voice[creator])
            + 0.6 * people.skill[creator]
            + 0.8 * pair_normal(user, creator, self.truth.salt)
            + 0.3 * self._near(user, item)
            + 0.8 * self._edge(self.truth.friend_keys, user, creator)
            + 0.8 * people.biases[user, TASKS.index("follow")]
        )


class LiveTastes(KindTastes):
    """Worth is seconds: one minute, four more, and twenty-five more."""

    labels = (
        Label("watch_1m", 0.25, worth=60.0),
        Label("watch_5m", 0.40, slope=0.7, worth=240.0),
        Label("watch_30m", 0.25, slope=0.7, worth=1500.0),
    )

    def __init__(self, truth: Truth, hosts: NDArray[Any]) -> None:
        super().__init__(truth, hosts, truth.people.fame)

    def liking(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        people, host = self.truth.people, self.owners[item]
        return np.asarray(
            0.7 * self._match(people.taste[user], people.voice[host])
            + 0.5 * people.skill[host]
            + 0.6 * pair_normal(user, host, self.truth.salt)
            + 0.6 * self._edge(self.truth.follow_keys, user, host)
            + 0.5 * self._edge(self.truth.friend_keys, user, host)
            + 0.4 * self._near(user, item)
        )


class RoomTastes(KindTastes):
    """``songs (N, 5)``: rows of the songs of each room, those of more that its owner likes best."""

    labels = (Label("join", 0.05, worth=1.0),)

    def __init__(self, truth: Truth, owners: NDArray[Any], rng: np.random.Generator) -> None:
        super().__init__(truth, owners, zipf_weights(len(owners), 0.5))
        looks = weighted_rows(truth.songs.weight, len(owners) * 4 * SONGS_OF_A_ROOM, rng).reshape(
            len(owners), -1
        )
        liking = np.einsum("od,osd->os", truth.people.taste[owners], truth.songs.vector[looks])
        best = np.argsort(-liking, axis=1, kind="stable")[:, :SONGS_OF_A_ROOM]
        self.songs = np.take_along_axis(looks, best, axis=1)
        mean = truth.songs.vector[self.songs].mean(axis=1)
        self.vector = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)

    def liking(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        people, owner = self.truth.people, self.owners[item]
        family = (people.family[user] == people.family[owner]) & (people.family[user] > 0)
        return np.asarray(
            0.8 * self._match(people.taste[user], self.vector[item])
            + 0.4 * pair_normal(user, owner, self.truth.salt)
            + 1.5 * self._edge(self.truth.friend_keys, user, owner)
            + 1.0 * family
            + 0.3 * self._near(user, item)
        )
