"""Synthetic library of uploads for screening, of any size, by day, with later outcomes of each work.

A day is drawn from (seed, day), so days may be made in any order. The hidden truth of a work is its quality:
half the creator's skill, half its own. Uploads have forty columns, one of them a content vector; half of the
columns depend on the quality, none completely. Outcomes:

    long view   logit p = −1 + 0.9 · quality + 0.5 · preference for the tag − 0.4 · (log(seconds / 180) /
                0.6)² − 2 · clipping
    shown       Poisson, mean 25 · followers^0.12 · e^(0.7 · quality + 0.7 · noise)

A fraction COPIED of a day's works are copies of another work of that day and song by another creator: nearly
the same vector, the same recording and quality. Nothing here is fitted to data.

Cost: O(works of a day).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.lab.simulate.world.catalogue import ERAS, TAGS, TYPES
from karec.lab.simulate.world.sampling import unit_rows, weighted_rows, zipf_weights
from karec.times import DAY_MS

DIMENSION = 32
SONGS = 100_000
COPIED = 0.05
LANGUAGES = ["Mandarin", "Cantonese", "English", "Japanese", "Korean", "other"]
DEVICES = ["phone", "tablet", "microphone", "sound card"]
HEIGHTS = np.array([240, 360, 480, 720, 1080], np.int32)
Named = tuple[NDArray[Any], list[str]]
"""A column of texts: (N,) int32 codes, and the text of each code."""


@dataclass(frozen=True, eq=False)
class UploadedDay:
    """N works of one day.

    columns     uploaded columns by name
    vectors     (N, DIMENSION) int8
    exposures   (N,) int32 impressions of the week after
    long_views  (N,) int32 of the week after
    quality     (N,), hidden
    """

    columns: dict[str, NDArray[Any] | Named]
    vectors: NDArray[Any]
    exposures: NDArray[Any]
    long_views: NDArray[Any]
    quality: NDArray[Any]


class Library:
    """Songs and creators of a library, one creator for every four works of a day."""

    def __init__(self, works_per_day: int, first_day: date, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 0])
        self.works_per_day = works_per_day
        self.first_day = first_day
        self.seed = seed
        self.songs = zipf_weights(SONGS, 0.8)
        self.song_vectors = unit_rows(rng.standard_normal((SONGS, DIMENSION)))
        self.song_tag = weighted_rows(zipf_weights(len(TAGS), 0.7), SONGS, rng).astype(np.int32)
        self.tag_preference = rng.standard_normal(len(TAGS))
        n = max(works_per_day // 4, 100)
        self.skill = rng.standard_normal(n).astype(np.float32)
        self.followers = np.exp(4.0 + 0.8 * self.skill + 2.0 * rng.standard_normal(n)).astype(np.int32)
        # Days since the first upload, at the first day.
        self.creator_days = rng.integers(-60, 2000, n).astype(np.int32)

    def day(self, number: int) -> UploadedDay:
        """Returns the uploads of the day ``first_day + number``; their ids occur on no other day."""
        n, rng = self.works_per_day, np.random.default_rng([self.seed, 1, number])
        creator = rng.integers(0, len(self.skill), n)
        source = self._source_rows(n, rng)
        song = weighted_rows(self.songs, n, rng).astype(np.int32)[source]
        quality = _mix(self.skill[creator], 0.7, rng)[source]
        is_video = (rng.random(n, np.float32) < 0.4)[source]
        columns: dict[str, NDArray[Any] | Named] = {
            "work_id": number * 1_000_000_000 + rng.permutation(n),
            "creator_id": creator.astype(np.int64),
            "song_id": song,
            "upload_ms": _unix_ms(self.first_day + timedelta(number)) + np.sort(rng.integers(0, DAY_MS, n)),
            "type": (is_video.astype(np.int32), TYPES),
            "tag": (self.song_tag[song], TAGS),
            "era": ((song % len(ERAS)).astype(np.int32), ERAS),
            "language": ((song % 17 % len(LANGUAGES)).astype(np.int32), LANGUAGES),
            "device": (rng.integers(0, len(DEVICES), n).astype(np.int32), DEVICES),
            "city": rng.integers(0, 300, n).astype(np.int32),
            "app_version": rng.integers(700, 780, n).astype(np.int32),
            "creator_followers": self.followers[creator],
            "creator_days": np.maximum(self.creator_days[creator] + number, 0),
            "is_duet": rng.random(n, np.float32) < 0.15,
        }
        measures = self._measures(quality, is_video, rng, source)
        columns |= {name: v if v.dtype == np.int32 else _rounded(v) for name, v in measures.items()}
        logit = -1.0 + 0.9 * quality + 0.5 * self.tag_preference[self.song_tag[song]]
        logit -= 0.4 * (np.log(measures["duration_s"] / 180.0) / 0.6) ** 2 + 2.0 * measures["clipping_share"]
        reach = self.followers[creator].astype(np.float32) ** 0.12
        exposures = rng.poisson(
            25.0 * reach * np.exp(0.7 * quality + 0.7 * rng.standard_normal(n, np.float32))
        )
        long_views = rng.binomial(exposures, 1.0 / (1.0 + np.exp(-logit)))
        vectors = self._vectors(song, source, rng)
        return UploadedDay(columns, vectors, exposures.astype(np.int32), long_views.astype(np.int32), quality)

    def _source_rows(self, n: int, rng: np.random.Generator) -> NDArray[Any]:
        """Returns (N,) rows: the own row of each work, or that of the work it copies."""
        rows = np.arange(n)
        if n > 1:
            copies = np.flatnonzero(rng.random(n, np.float32) < COPIED)
            source = rng.integers(0, n, len(copies))
            rows[copies] = source
            rows = rows[rows]  # A copy of a copy is a copy of its source.
            rows[source] = source
        return rows

    def _measures(
        self, quality: NDArray[Any], is_video: NDArray[Any], rng: np.random.Generator, source: NDArray[Any]
    ) -> dict[str, NDArray[Any]]:
        """Returns the platform's measurements of each recording."""
        n = len(quality)

        def noisy(correlation: float) -> NDArray[Any]:
            return np.asarray(_mix(quality, correlation, rng)[source])

        def noise() -> NDArray[Any]:
            return np.asarray(rng.standard_normal(n, np.float32)[source])

        height = HEIGHTS[np.clip(2.6 + 0.5 * noisy(0.3) + 0.7 * noise(), 0, 4).astype(np.int64)]
        return {
            "duration_s": np.exp(5.0 + 0.6 * noise()),
            "height": np.where(is_video, height, 0).astype(np.int32),
            "width": np.where(is_video, height * 16 // 9, 0).astype(np.int32),
            "frame_rate": np.where(
                is_video, np.int32(24) + rng.integers(0, 2, n).astype(np.int32) * 6, 0
            ).astype(np.int32),
            "bitrate_kbps": np.exp(6.0 + 0.5 * noise()),
            "silence_share": _sigmoid(-1.6 - 0.5 * noisy(0.3) + 0.9 * noise()),
            "clipping_share": _sigmoid(-3.0 - 0.6 * noisy(0.4) + 0.8 * noise()),
            "pitch_score": _sigmoid(0.5 + 0.9 * noisy(0.55)),
            "rhythm_score": _sigmoid(0.8 + 0.8 * noisy(0.45)),
            "timbre_score": _sigmoid(0.2 + 0.9 * noisy(0.5)),
            "breath_score": _sigmoid(0.4 + 0.7 * noisy(0.3)),
            "loudness_db": -14.0 - 2.5 * np.abs(noisy(-0.3)) + noise(),
            "peak_db": -1.0 - np.abs(noise()),
            "noise_db": -50.0 - 5.0 * noisy(0.35) + 3.0 * noise(),
            "reverb": _sigmoid(-0.5 + noise()),
            "vocal_share": _sigmoid(0.9 + 0.4 * noisy(0.25)),
            "dynamic_range_db": 8.0 + 2.0 * noisy(0.2) + noise(),
            "tempo_bpm": 110.0 + 20.0 * noise(),
            "brightness": _sigmoid(0.3 * noisy(0.2) + noise()),
            "sharpness": _sigmoid(0.4 * noisy(0.35) + noise()),
            "face_share": np.where(is_video, _sigmoid(noise()), 0.0),
            "motion": np.where(is_video, _sigmoid(-1.0 + noise()), 0.0),
            "cover_text_share": _sigmoid(-2.0 + noise()),
            "title_letters": rng.integers(0, 40, n).astype(np.int32),
            "tags_given": rng.integers(0, 6, n).astype(np.int32),
        }

    def _vectors(self, song: NDArray[Any], source: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        n = len(song)
        own = rng.standard_normal((n, DIMENSION), np.float32)
        vectors = (0.6 * self.song_vectors[song] + (0.8 / DIMENSION**0.5) * own)[source]
        vectors += (0.09 / DIMENSION**0.5) * rng.standard_normal((n, DIMENSION), np.float32)
        return np.asarray(np.clip(np.rint(vectors * 127.0), -127, 127), np.int8)


def _mix(values: NDArray[Any], correlation: float, rng: np.random.Generator) -> NDArray[Any]:
    """Returns N(0, 1) numbers with this correlation to ``values``."""
    own = rng.standard_normal(len(values), np.float32)
    return np.asarray(correlation * values + (1.0 - correlation * correlation) ** 0.5 * own, np.float32)


def _sigmoid(logit: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(1.0 / (1.0 + np.exp(-logit)), np.float32)


def _rounded(values: NDArray[Any]) -> NDArray[Any]:
    """Rounds to three decimals, as such measurements are stored."""
    return np.round(values, 3).astype(np.float32)


def _unix_ms(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY_MS
