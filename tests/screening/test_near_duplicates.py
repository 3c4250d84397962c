"""Tests that of near-duplicates the best stays, and nothing else is dropped."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karec.lab.simulate.uploads_library import Library
from karec.screening.near_duplicates import near_duplicates


def unit(vectors):
    vectors = vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def better(quality, one, other):
    return quality[one] > quality[other] or (quality[one] == quality[other] and one < other)


@given(st.integers(0, 2**32 - 1), st.integers(1, 80), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=40)
def test_dropped_work_has_a_better_near_one_that_stays(seed, n, cosine):
    rng = np.random.default_rng(seed)
    songs, quality = rng.integers(-1, 4, n), rng.integers(0, 5, n).astype(np.float32)
    vectors = rng.standard_normal((n, 6))[rng.integers(0, n, n)] + 0.1 * rng.standard_normal((n, 6))
    dropped = near_duplicates(songs, vectors.astype(np.float32), quality, cosine)
    near = unit(vectors) @ unit(vectors).T >= cosine - 1e-5
    for work in np.flatnonzero(dropped):
        others = np.flatnonzero(near[work] & ~dropped & (songs == songs[work]))
        assert any(better(quality, other, work) for other in others)


@pytest.mark.parametrize("n", [2, 30, 5000])
def test_near_duplicates_keeps_the_best_of_equal_vectors(n):
    quality = np.random.default_rng(n).random(n).astype(np.float32)
    dropped = near_duplicates(np.zeros(n, np.int64), np.ones((n, 8), np.int8), quality, 0.95)
    assert np.flatnonzero(~dropped).tolist() == [quality.argmax()]


def test_near_duplicates_keeps_the_earlier_row_of_equal_quality():
    dropped = near_duplicates(np.zeros(3, np.int64), np.ones((3, 4), np.int8), np.zeros(3, np.float32), 0.95)
    assert dropped.tolist() == [False, True, True]


def test_works_of_other_or_no_song_are_not_compared():
    songs = np.array([0, 1, -1, -1])
    assert not near_duplicates(songs, np.ones((4, 4), np.int8), np.arange(4, dtype=np.float32), 0.95).any()


def test_zero_vector_is_near_to_none():
    assert not near_duplicates(
        np.zeros(3, np.int64), np.zeros((3, 4), np.int8), np.zeros(3, np.float32), 0.5
    ).any()


def test_work_stays_if_its_better_near_work_was_dropped():
    """The second of a chain is dropped for the first; then the third has no near duplicate."""
    angle = np.radians([0.0, 15.0, 30.0])
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    dropped = near_duplicates(np.zeros(3, np.int64), vectors, np.array([3.0, 2.0, 1.0], np.float32), 0.96)
    assert dropped.tolist() == [False, True, False]


def test_near_duplicates_finds_almost_only_copies():
    """5% of 60,000 works are copies, in songs of one to hundreds of works."""
    drawn = Library(60_000, date(2026, 10, 1)).day(0)
    song = drawn.columns["song_id"].astype(np.int64)
    dropped = near_duplicates(song, drawn.vectors, drawn.quality, 0.95)
    unlike = 0
    result = expected = 0
    order = np.argsort(song, kind="stable")
    for works in np.split(order, np.flatnonzero(np.diff(song[order])) + 1):
        if len(works) == 1:
            continue
        vectors = unit(drawn.vectors[works])
        near = vectors @ vectors.T >= 0.95
        alone = near.sum(axis=1) == 1
        unlike += dropped[works][alone].sum()
        stays = []
        for at in np.argsort(-drawn.quality[works], kind="stable"):  # greedy, exact
            if not near[at][stays].any():
                stays.append(at)
        expected += len(works) - len(stays)
        result += dropped[works].sum()
    assert unlike == 0
    assert 0.98 * expected <= result <= expected and expected > 2000
