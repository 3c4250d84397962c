"""Songs, and the works that creators upload: a creator sings a song, as audio or video.

Songs and creators follow a Zipf distribution: a few songs have thousands of works, most have a handful. Rows
of works are in upload order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.lab.simulate.world.people import DIMENSION, People
from karec.lab.simulate.world.sampling import unit_rows, weighted_rows, zipf_weights

TYPES = ["audio", "video"]
ERAS = ["2020s", "2010s", "2000s", "1990s", "1980s", "before 1980"]
TAGS = [
    "pop",
    "ballad",
    "folk",
    "rock",
    "rap",
    "electronic",
    "jazz",
    "R&B",
    "opera",
    "children",
    "anime",
    "film",
    "game",
    "Cantonese",
    "Hokkien",
    "Sichuanese",
    "English",
    "Japanese",
    "Korean",
    "duet",
    "choir",
    "instrument",
    "a cappella",
    "humour",
]


@dataclass(frozen=True, eq=False)
class Songs:
    """S songs, most popular first. ``tag``, ``era``: codes; ``vector`` (S, DIMENSION) float32 unit rows."""

    tag: NDArray[Any]
    era: NDArray[Any]
    vector: NDArray[Any]
    weight: NDArray[Any]
    seconds: NDArray[Any]

    def __len__(self) -> int:
        return len(self.tag)


@dataclass(frozen=True, eq=False)
class Works:
    """W works. ``creator``: user row, ``song``: song row, ``weight``: how widely the platform shows it.

    ``quality`` and ``appeal`` (of cover and title) are N(0, 1) and hidden. ``voice_score`` in (0, 1) is the
    platform's noisy measurement of the quality.
    """

    creator: NDArray[Any]
    song: NDArray[Any]
    type: NDArray[Any]
    upload_ms: NDArray[Any]
    quality: NDArray[Any]
    appeal: NDArray[Any]
    voice_score: NDArray[Any]
    duration_ms: NDArray[Any]
    weight: NDArray[Any]

    def __len__(self) -> int:
        return len(self.creator)


def make_tag_vectors(rng: np.random.Generator) -> NDArray[Any]:
    """Returns (len(TAGS), DIMENSION) float32 unit rows in the space of tastes."""
    return unit_rows(rng.standard_normal((len(TAGS), DIMENSION)))


def make_songs(n_works: int, tag_vectors: NDArray[Any], rng: np.random.Generator) -> Songs:
    """Draws one song for every 20 works, at least 50."""
    n = max(n_works // 20, 50)
    tag = weighted_rows(zipf_weights(len(TAGS), 0.7), n, rng)
    return Songs(
        tag=tag.astype(np.int32),
        era=rng.choice(len(ERAS), n, p=[0.22, 0.30, 0.22, 0.14, 0.08, 0.04]).astype(np.int32),
        vector=unit_rows(tag_vectors[tag] + 0.9 * unit_rows(rng.standard_normal((n, DIMENSION)))),
        weight=zipf_weights(n, 0.9),
        seconds=np.clip(np.exp(np.log(200.0) + 0.25 * rng.standard_normal(n)), 75.0, 420.0),
    )


def make_works(
    n_works: int, people: People, songs: Songs, first_ms: int, last_ms: int, rng: np.random.Generator
) -> Works:
    """Draws works uploaded uniformly over [first_ms, last_ms), by creators in proportion to their fame.

    A creator sings the preferred one of two popular songs.
    """
    rank = weighted_rows(people.fame, n_works, rng)
    creator = people.creators[rank]
    candidates = [weighted_rows(songs.weight, n_works, rng) for _ in range(2)]
    preference = [np.einsum("nd,nd->n", people.taste[creator], songs.vector[song]) for song in candidates]
    song = np.where(preference[0] >= preference[1], candidates[0], candidates[1])
    video_share = rng.beta(1.0, 1.2, len(people.creators))[rank]
    is_video = rng.random(n_works) < video_share
    quality = (0.6 * people.skill[creator] + 0.8 * rng.standard_normal(n_works)).astype(np.float32)
    measured_quality = quality + 0.7 * rng.standard_normal(n_works)
    duration_fraction = np.where(is_video, rng.uniform(0.3, 1.0, n_works), 1.0)
    log_fame = np.log(people.fame * len(people.fame))[rank]
    return Works(
        creator=creator,
        song=song,
        type=is_video.astype(np.int32),
        upload_ms=np.sort(rng.integers(first_ms, last_ms, n_works)),
        quality=quality,
        appeal=rng.standard_normal(n_works).astype(np.float32),
        voice_score=(1.0 / (1.0 + np.exp(-1.0 - 0.8 * measured_quality))).astype(np.float32),
        duration_ms=(1000.0 * songs.seconds[song] * duration_fraction).astype(np.int64),
        weight=np.exp(0.5 * quality + 0.4 * log_fame + 1.0 * rng.standard_normal(n_works)),
    )
