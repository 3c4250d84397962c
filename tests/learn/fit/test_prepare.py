"""What a run freezes into its encoder before it trains comes from before training days, or from these
alone."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small_settings import SMALL, changed

from karec.lab.simulate.world import make_world
from karec.learn.fit.cowatch import DIMENSIONS, FEWEST, fit_cowatch
from karec.learn.fit.prepare import prepare, works_without_id

SETTINGS = changed(SMALL, seed=5)
SHOWN = ("user_id", "work_id", "scene")


@pytest.fixture(scope="module")
def world():
    """A small platform of which more works have been watched before training days than a vector has
    dimensions."""
    dataset = make_world(150, 100, 6000, seed=2).dataset
    history = dataset.snapshot.relations["history"]
    pairs = {(user, work) for user in range(len(history)) for work in history.of(user).tolist()}
    _, watchers = np.unique([work for _, work in pairs], return_counts=True)
    assert (watchers >= FEWEST).sum() > DIMENSIONS
    return dataset


def turned(dataset, from_ms):
    """The same dataset with all outcomes from a moment on turned around."""
    exposures = dataset.exposures
    later = exposures.time_ms >= from_ms
    labels = {
        task: np.where(later, 1 - label, label).astype(np.uint8) for task, label in exposures.labels.items()
    }
    play_ms = np.where(later, 600_000 - exposures.play_ms, exposures.play_ms)
    return replace(dataset, exposures=replace(exposures, labels=labels, play_ms=play_ms))


@pytest.fixture(scope="module")
def prepared(world, tmp_path_factory):
    return prepare(world, SETTINGS, tmp_path_factory.mktemp("prepared"))


def frozen(encoder, folder):
    """(head, arrays): all that the encoder saves."""
    encoder.save(folder / "encoder.npz")
    arrays = dict(np.load(folder / "encoder.npz"))
    return json.loads(arrays.pop("head").tobytes()), arrays


def without_priors(head):
    return {name: {**part, "priors": None} if isinstance(part, dict) else part for name, part in head.items()}


def test_who_watched_what_is_known_from_the_snapshot_alone(world, prepared, tmp_path):
    """Whatever the outcomes of all exposures, those of training days too."""
    expected = fit_cowatch(world.snapshot, SETTINGS.seed)
    other = prepare(turned(world, from_ms=0), SETTINGS, tmp_path).encoder.cowatch
    for cowatch in (prepared.encoder.cowatch, other):
        np.testing.assert_array_equal(cowatch.works.keys, expected.works.keys)
        np.testing.assert_array_equal(cowatch.vectors, expected.vectors)


def test_nothing_in_the_encoder_knows_what_came_after_training_days(world, prepared, tmp_path):
    """Neither what users did later, nor what they were shown."""
    exposures = turned(world, world.train_until_ms).exposures
    later = exposures.time_ms >= world.train_until_ms
    shown = {
        name: np.where(later, getattr(exposures, name)[::-1], getattr(exposures, name)) for name in SHOWN
    }
    assert all((shown[name] != getattr(exposures, name)).any() for name in SHOWN)
    other = prepare(replace(world, exposures=replace(exposures, **shown)), SETTINGS, tmp_path)
    head, arrays = frozen(prepared.encoder, tmp_path)
    other_head, other_arrays = frozen(other.encoder, tmp_path)
    assert head == other_head
    np.testing.assert_equal(other_arrays, arrays)


def test_of_outcomes_on_training_days_the_encoder_knows_their_rates_alone(world, prepared, tmp_path):
    head, arrays = frozen(prepared.encoder, tmp_path)
    other_head, other_arrays = frozen(prepare(turned(world, from_ms=0), SETTINGS, tmp_path).encoder, tmp_path)
    np.testing.assert_equal(other_arrays, arrays)
    assert without_priors(other_head) == without_priors(head)
    assert other_head != head


def test_a_training_says_how_many_works_have_no_id_of_their_own(world, prepared, tmp_path):
    """Of the works that training rows show, those that fewer than min_count rows hold; silent unless they are
    most."""
    shown, counts = np.unique(prepared.train.exposures.work_id, return_counts=True)
    assert works_without_id(prepared.train) == ((counts < SETTINGS.features.min_count).sum(), len(shown))
    assert prepared.notes(SETTINGS.features.min_count) == ()
    rare = changed(SETTINGS, features={"min_count": int(np.sort(counts)[len(counts) * 3 // 4]) + 1})
    (note,) = prepare(world, rare, tmp_path).notes(rare.features.min_count)
    without = (counts < rare.features.min_count).sum()
    assert (
        f"{without:,} of the {len(shown):,} works" in note
        and f"min_count = {rare.features.min_count}" in note
    )
