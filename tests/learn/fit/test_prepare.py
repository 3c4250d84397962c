"""Tests that the encoder depends only on data from before and during the training days."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small_settings import SMALL

from karec.features.cowatch import AlsFactors, CowatchVectors
from karec.lab.simulate.world import make_world
from karec.learn.fit import als as als_settings
from karec.learn.fit.als import MIN_WATCHERS
from karec.learn.fit.cowatch import MIN_DIMENSIONS, fit_cowatch
from karec.learn.fit.prepare import count_items_without_id, prepare
from karec.samples.examples import build_examples

SETTINGS = SMALL.replace(seed=5)
SHOWN = ("user_id", "work_id", "scene")


@pytest.fixture(scope="module")
def world():
    """A small platform with more watched items than a vector has dimensions."""
    dataset = make_world(150, 100, 6000, seed=2).dataset
    history = dataset.snapshot.relations["history"]
    pairs = {(user, work) for user in range(len(history)) for work in history.row_values(user).tolist()}
    _, watchers = np.unique([work for _, work in pairs], return_counts=True)
    assert (watchers >= MIN_WATCHERS).sum() > MIN_DIMENSIONS
    return dataset


def with_inverted_outcomes(dataset, from_ms):
    """Returns the dataset with all outcomes from ``from_ms`` on inverted."""
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


def saved_content(encoder, folder):
    """Returns (head, arrays): everything that the encoder saves."""
    encoder.save(folder / "encoder.npz")
    arrays = dict(np.load(folder / "encoder.npz"))
    return json.loads(arrays.pop("head").tobytes()), arrays


def without_priors(head):
    return {name: {**part, "priors": None} if isinstance(part, dict) else part for name, part in head.items()}


def test_encoder_does_not_depend_on_days_after_training(world, prepared, tmp_path):
    exposures = with_inverted_outcomes(world, world.train_until_ms).exposures
    later = exposures.time_ms >= world.train_until_ms
    reversed_columns = {
        name: np.where(later, getattr(exposures, name)[::-1], getattr(exposures, name)) for name in SHOWN
    }
    assert all((reversed_columns[name] != getattr(exposures, name)).any() for name in SHOWN)
    other = prepare(replace(world, exposures=replace(exposures, **reversed_columns)), SETTINGS, tmp_path)
    head, arrays = saved_content(prepared.encoder, tmp_path)
    other_head, other_arrays = saved_content(other.encoder, tmp_path)
    assert head == other_head
    np.testing.assert_equal(other_arrays, arrays)


def test_encoder_reads_only_rates_of_training_outcomes(world, prepared, tmp_path):
    head, arrays = saved_content(prepared.encoder, tmp_path)
    other_head, other_arrays = saved_content(
        prepare(with_inverted_outcomes(world, from_ms=0), SETTINGS, tmp_path).encoder, tmp_path
    )
    outcomes = {"affinities.rates"} | {name for name in arrays if name.startswith("cowatch.")}
    assert (arrays["affinities.rates"] != other_arrays["affinities.rates"]).any()
    for name in arrays.keys() - outcomes:
        np.testing.assert_equal(other_arrays[name], arrays[name])
    assert without_priors(other_head) == without_priors(head)
    assert other_head != head


def test_cowatch_input_of_a_row_does_not_contain_its_own_event(world, prepared, monkeypatch):
    """Its outcome and all later ones are inverted. Without moments, that changes the input."""
    monkeypatch.setattr(als_settings, "SETTINGS", als_settings.SETTINGS[:1])  # else later events choose one
    encoder, times = prepared.encoder, world.exposures.time_ms
    columns = [encoder.names["crosses"].index(name) for name in encoder.cowatch.crosses]

    def crosses_of(data, row, *, has_moments):
        cowatch = fit_cowatch(data, SETTINGS.seed)
        if not has_moments:
            als = AlsFactors(cowatch.als.vectors[:1], cowatch.als.grams[:1])
            cowatch = CowatchVectors(cowatch.works, cowatch.vectors, als=als)
        examples = build_examples(replace(encoder, cowatch=cowatch), data.snapshot, data.exposures)
        return examples.inputs(np.arange(row, row + 30))["crosses"][:, columns]

    for row in np.searchsorted(times, encoder.cowatch.times_ms[1:-1]).tolist():
        inverted = with_inverted_outcomes(world, int(times[row]))
        until = times[row : row + 30] == times[row]
        result, other = (crosses_of(data, row, has_moments=True)[until] for data in (world, inverted))
        np.testing.assert_array_equal(other, result)
        assert result.any()
        leaking, other = (crosses_of(data, row, has_moments=False)[until] for data in (world, inverted))
        assert (leaking != other).any(axis=0)[[1, -1]].all()  # the mean cosine and ALS


def test_notes_count_items_without_an_embedding(world, prepared, tmp_path):
    """Counts items with fewer than min_count training rows; no note unless they are the majority."""
    reversed_columns, counts = np.unique(prepared.train.exposures.work_id, return_counts=True)
    assert count_items_without_id(prepared.train) == (
        (counts < SETTINGS.features.min_count).sum(),
        len(reversed_columns),
    )
    assert prepared.notes(SETTINGS.features.min_count) == ()
    rare = SETTINGS.replace(features={"min_count": int(np.sort(counts)[len(counts) * 3 // 4]) + 1})
    (note,) = prepare(world, rare, tmp_path).notes(rare.features.min_count)
    without = (counts < rare.features.min_count).sum()
    assert (
        f"{without:,} of the {len(reversed_columns):,} items" in note
        and f"min_count = {rare.features.min_count}" in note
    )
