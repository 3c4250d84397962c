"""Tests that training rows have the inputs of serving at their time, and nothing later."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from karec.aggregates.advance import advance
from karec.catalog.impressions import Impressions
from karec.catalog.item_types import ItemTable
from karec.catalog.table import Table
from karec.features.cowatch import AlsFactors, CowatchVectors
from karec.features.encoder import Encoder
from karec.features.item_types import ItemTypeHead
from karec.features.vocabulary import Vocabulary
from karec.refresh.item_types import derive_item_type
from karec.samples.examples import build_examples, refresh_times
from karec.times import HOUR_MS


@pytest.fixture(scope="module")
def with_cowatch(dataset):
    """``encoder`` with random co-watch vectors, which every fifth item lacks."""
    works = np.delete(np.asarray(dataset.snapshot.works.ids), np.s_[::5])
    vectors = np.random.default_rng(6).normal(size=(len(works) + 1, 16)).astype(np.float32)
    vectors[0] = 0
    als = AlsFactors(vectors[None, :, 4:], 3.0 * np.eye(12)[None])
    cowatch = CowatchVectors(Vocabulary(works), vectors, als=als)
    return Encoder.fit(
        dataset.snapshot, dataset.split()[0], dataset.tasks, history_length=8, min_count=3, cowatch=cowatch
    )


@pytest.mark.parametrize("every_hours", [None, 24])
def test_examples_of_an_item_type_equal_serving_inputs(dataset, with_cowatch, every_hours):
    """Users know of impressions of works, songs of their own impressions."""
    snapshot, works = dataset.snapshot, dataset.exposures
    encoder = replace(with_cowatch, item_types=(ItemTypeHead("song", ("sing",), (0.3,)),))
    songs = derive_item_type(
        ItemTable(Table(np.arange(6), {"song_id": np.arange(6)}), {}, "song", ("sing",)), snapshot
    ).item_type.to_snapshot(snapshot, "song")
    generator = np.random.default_rng(3)
    rows = Impressions(
        works.user_id[::3],
        generator.integers(0, 6, 200),
        works.time_ms[::3],
        works.scene[::3],
        {"sing": (generator.random(200) < 0.3).astype(np.uint8)},
    )
    time = rows.time_ms
    as_of = time if every_hours is None else refresh_times(time, every_hours * HOUR_MS, snapshot.time_ms)
    examples = build_examples(encoder, snapshot, rows, as_of, happened=works, items=songs)
    np.testing.assert_array_equal(examples.labels, np.repeat(rows.labels["sing"][:, None], 3, axis=1))
    for row in (0, 50, 120, 199):
        works_then, songs_then = (
            advance(base, log, int(as_of[row])) for base, log in ((snapshot, works), (songs, rows))
        )
        user = encoder.encode_user(works_then, int(rows.user_id[row]), int(time[row]), int(rows.scene[row]))
        items = encoder.encode_items(songs_then, rows.work_id[[row]], int(time[row]))
        served = {**user, **items, **encoder.encode_crosses(user, items)}
        trained = examples.inputs(np.array([row]))
        assert set(served) == set(trained) and (row < 199 or served["item_numbers"].any())
        for name, value in served.items():
            np.testing.assert_array_equal(trained[name], value, err_msg=name)


@pytest.mark.parametrize("every_hours", [None, 24])
@pytest.mark.parametrize("kind", ["encoder", "with_cowatch"])
def test_examples_equal_serving_inputs_at_the_rows_time(dataset, kind, every_hours, request):
    """Rows have equal bits if they are encoded one by one or in a batch. Serving encodes many candidates."""
    encoder = request.getfixturevalue(kind)
    time = dataset.exposures.time_ms
    as_of = (
        time if every_hours is None else refresh_times(time, every_hours * HOUR_MS, dataset.snapshot.time_ms)
    )
    examples = build_examples(encoder, dataset.snapshot, dataset.exposures, as_of)
    rows = np.array([0, 1, 7, 100, 333, 480, 599])
    batch = examples.inputs(rows)
    for position, row in enumerate(rows):
        moment = int(time[row])
        snapshot_then = advance(dataset.snapshot, dataset.exposures, int(as_of[row]))
        user_id, scene = int(dataset.exposures.user_id[row]), int(dataset.exposures.scene[row])
        user = encoder.encode_user(snapshot_then, user_id, moment, scene)
        candidates = np.append(snapshot_then.works.lookup(dataset.exposures.work_id[[row]]), np.arange(20))
        items = encoder.encode_items(snapshot_then, candidates, moment)
        served = {**user, **items, **encoder.encode_crosses(user, items)}
        trained = examples.inputs(rows[[position]])
        assert set(served) == set(trained)
        for name, value in served.items():
            np.testing.assert_array_equal(trained[name], value[:1], err_msg=f"row {row}, {name}")
            np.testing.assert_array_equal(
                batch[name][position], value[0], err_msg=f"row {row} of many, {name}"
            )
    if kind == "with_cowatch":
        columns = [encoder.names["crosses"].index(name) for name in encoder.cowatch.crosses]
        crosses = batch["crosses"][:, columns]
        assert (crosses != 0).any(axis=0).all()  # or their equality says nothing


@pytest.mark.parametrize("has_moments", [False, True])
@pytest.mark.parametrize("every_hours", [None, 24])
def test_rows_of_a_user_side_have_equal_user_inputs(dataset, with_cowatch, every_hours, has_moments):
    log, snapshot = dataset.exposures, dataset.snapshot
    if has_moments:
        joined = log.time_ms[0] - np.arange(len(snapshot.users)) * 7_001
        users = replace(snapshot.users, columns={**snapshot.users.columns, "joined_ms": joined})
        snapshot = replace(snapshot, users=users)
    encoder = Encoder.fit(snapshot, dataset.split()[0], dataset.tasks, history_length=8, min_count=3)
    assert bool(encoder.users.moments) == has_moments
    as_of = None if every_hours is None else refresh_times(log.time_ms, every_hours * HOUR_MS, log.time_ms[0])
    examples = build_examples(encoder, snapshot, log, as_of)
    first, side = examples.user_sides()
    of_rows, of_sides = examples.users(np.arange(len(log))), examples.users(first)
    for name, values in of_rows.items():
        np.testing.assert_array_equal(of_sides[name][side], values, err_msg=name)
    rows = np.array([5, 2, 5])
    firsts, places = examples.user_sides(rows)
    np.testing.assert_array_equal(side[rows[firsts]][places], side[rows])
    assert len(firsts) == len(np.unique(side[rows]))
    inputs = examples.inputs(np.arange(len(log)))
    for row in range(0, len(log), 37):
        for name, value in examples.inputs(np.array([row])).items():
            np.testing.assert_array_equal(inputs[name][row], value[0], err_msg=name)
    assert examples.inputs(np.arange(0))["crosses"].shape == (0, inputs["crosses"].shape[1])
    has_one_time = np.array_equal(log.time_ms[first][side], log.time_ms)
    assert has_one_time == (every_hours is None or has_moments)


def test_user_sides_of_few_rows_read_only_these(dataset, encoder):
    """Encoding in parts took a time quadratic in the number of examples."""
    examples = build_examples(encoder, dataset.snapshot, dataset.exposures)
    examples = examples.take(np.arange(100_000) % len(examples))
    rows = np.arange(99_999, 99_990, -1)
    examples.user_sides(rows)
    tracemalloc.start()
    try:
        examples.user_sides(rows)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < len(examples)


def test_scene_counters_continue_those_of_the_snapshot(dataset, encoder):
    """The snapshot is of the start, of the middle, or an older one without scene counters."""
    start, exposures = dataset.snapshot, dataset.exposures
    middle = int(exposures.time_ms[300])
    rest = exposures.take(exposures.time_ms >= middle)
    position = [encoder.names["user_numbers"].index(name) for name in encoder.scene_counters.number_names]
    for snapshot in (
        advance(start, exposures, middle),
        replace(advance(start, exposures, middle), user_scene_counters=None),
    ):
        trained = build_examples(encoder, snapshot, rest).inputs(np.arange(len(rest)))["user_numbers"][
            :, position
        ]
        assert len(np.unique(trained[:, 1])) > 20
        for row in (0, 1, 50, 120, len(rest) - 1):
            moment = int(rest.time_ms[row])
            snapshot_then = advance(snapshot, rest, moment)
            served = encoder.encode_user(snapshot_then, int(rest.user_id[row]), moment, int(rest.scene[row]))[
                "user_numbers"
            ]
            np.testing.assert_array_equal(trained[row], served[0, position], err_msg=f"row {row}")


def test_exposures_in_unknown_scenes_count_in_no_scene(dataset, encoder):
    """They do not count in each other's scene either."""
    scene = dataset.exposures.scene.copy()
    scene[::3], scene[1::3] = -1, 2
    exposures = replace(dataset.exposures, scene=scene)
    examples = build_examples(encoder, dataset.snapshot, exposures)
    named = (scene == 0) | (scene == 1)
    assert not examples.scene_counts[~named].any()
    assert examples.scene_counts[named].any()
    rows = dataset.snapshot.users.lookup(exposures.user_id)
    served = encoder.scene_counters.read_counts(
        advance(dataset.snapshot, exposures, int(exposures.time_ms[-1])), rows, scene
    )
    np.testing.assert_array_equal(examples.scene_counts[-1], served[-1])


def test_rows_of_one_time_do_not_contain_each_other(dataset, encoder):
    time = dataset.exposures.time_ms
    assert (np.diff(time) == 0).sum() > 50  # or this test shows nothing
    examples = build_examples(encoder, dataset.snapshot, dataset.exposures)
    for row in range(0, len(time), 17):
        same_user = (dataset.exposures.user_id == dataset.exposures.user_id[row]) & (time < time[row])
        assert examples.user_counts[row, 0] == same_user.sum()
        same_scene = same_user & (dataset.exposures.scene == dataset.exposures.scene[row])
        assert examples.scene_counts[row, 0] == same_scene.sum()
        same_work = (dataset.exposures.work_id == dataset.exposures.work_id[row]) & (time < time[row])
        assert examples.item_counts[row, 0] == same_work.sum()


def test_inputs_do_not_depend_on_later_outcomes(dataset, encoder):
    """Inverted outcomes from a time on do not change the inputs of rows until that time."""
    position = 400
    moment = dataset.exposures.time_ms[position]
    later = dataset.exposures.time_ms >= moment
    inverted = {
        task: np.where(later, 1 - label, label).astype(np.uint8)
        for task, label in dataset.exposures.labels.items()
    }
    examples, other = (
        build_examples(encoder, dataset.snapshot, exposures)
        for exposures in (dataset.exposures, replace(dataset.exposures, labels=inverted))
    )
    until = np.flatnonzero(dataset.exposures.time_ms <= moment)
    assert until[-1] >= position
    inputs_before, other_inputs = examples.inputs(until), other.inputs(until)
    for name in inputs_before:
        np.testing.assert_array_equal(inputs_before[name], other_inputs[name], err_msg=name)
    after = np.flatnonzero(dataset.exposures.time_ms > moment)
    inputs_before, other_inputs = examples.inputs(after), other.inputs(after)
    changed = [name for name in inputs_before if (inputs_before[name] != other_inputs[name]).any()]
    assert {"user_numbers", "item_numbers", "history", "skipped", "follows", "crosses"} <= set(changed)
    names = encoder.names["user_numbers"]
    rates = [
        position
        for position, name in enumerate(names)
        if name.startswith("rate_") and name.endswith("_in_scene")
    ]
    assert len(rates) == len(encoder.tasks)
    assert (
        (inputs_before["user_numbers"][:, rates] != other_inputs["user_numbers"][:, rates]).any(axis=0).all()
    )


def test_early_unordered_unlabelled_or_unknown_rows_are_refused(dataset, encoder):
    exposures = dataset.exposures
    with pytest.raises(ValueError, match="row 0 is before the snapshot"):
        build_examples(encoder, replace(dataset.snapshot, time_ms=int(exposures.time_ms[0]) + 1), exposures)
    swapped = exposures.time_ms.copy()
    swapped[3] = exposures.time_ms[0] - 1
    with pytest.raises(ValueError, match=r"row 3 is before .*, expected order of time"):
        build_examples(encoder, replace(dataset.snapshot, time_ms=0), replace(exposures, time_ms=swapped))
    with pytest.raises(ValueError, match=r"as_of_ms\[0\] is after the row's own time"):
        build_examples(encoder, dataset.snapshot, exposures, exposures.time_ms + 1)
    labels = {task: label for task, label in exposures.labels.items() if task != "like"}
    with pytest.raises(ValueError, match=r"tasks \['like'\] have no label"):
        build_examples(encoder, dataset.snapshot, replace(exposures, labels=labels))
    holes = exposures.labels["follow"].astype(np.float32)
    holes[9] = np.nan
    with pytest.raises(ValueError, match="label 'follow', exposure 9: nan, expected 0 or 1"):
        build_examples(
            encoder, dataset.snapshot, replace(exposures, labels={**exposures.labels, "follow": holes})
        )
    strangers = exposures.user_id.copy()
    strangers[5] = 999
    with pytest.raises(ValueError, match="exposure 5 names user 999"):
        build_examples(encoder, dataset.snapshot, replace(exposures, user_id=strangers))
