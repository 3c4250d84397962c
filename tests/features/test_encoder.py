"""Model inputs of a user and an item, and their equality in a saved encoder."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.aggregates.advance import advance
from karec.catalog.table import Table
from karec.errors import BundleError
from karec.features.crosses import MAX_EDGES
from karec.features.encoder import Encoder
from karec.features.vocabulary import FIRST_UNSEEN


@pytest.fixture(scope="module")
def later(dataset):
    return advance(dataset.snapshot, dataset.exposures, dataset.train_until_ms)


def test_encoder_inputs_have_their_shapes_and_dtypes(dataset, encoder, later):
    user = encoder.encode_user(later, 3, later.time_ms, 0)
    items = encoder.encode_items(later, np.arange(17), later.time_ms)
    inputs = {**user, **items, **encoder.encode_crosses(user, items)}
    n_columns = len(encoder.names["item_ids"])
    shapes = {name: value.shape for name, value in inputs.items()}
    assert shapes == {
        "user_id": (1, 1),
        "user_ids": (1, 1),
        "user_numbers": (1, len(encoder.names["user_numbers"])),
        "history": (1, 8, n_columns),
        "skipped": (1, 8, n_columns),
        "context": (1, 3),
        "item_ids": (17, n_columns),
        "item_numbers": (17, len(encoder.names["item_numbers"])),
        "crosses": (17, 5 * n_columns + 3),
        "follows": (1, MAX_EDGES),
        "friends": (1, MAX_EDGES),
        "alike": (1, 1),
        "history_cowatch": (1, 8),
        "skipped_cowatch": (1, 8),
        "cowatch": (17,),
        "affinity_history": (1, 100, n_columns),
        "affinity_skipped": (1, 100, n_columns),
    }
    for name, value in inputs.items():
        assert value.dtype == (
            np.float32 if name in ("user_numbers", "item_numbers", "crosses") else np.int64
        ), name
        assert np.isfinite(value).all()
    n_features = sum(len(encoder.names[name]) for name in encoder.names if name != "user_id")
    assert encoder.dense(inputs).shape == (17, n_features)


def test_users_have_codes_from_user_min_count_rows_on(dataset, later):
    train = dataset.split()[0]
    shown = int(np.sort(np.unique(train.user_id, return_counts=True)[1])[len(later.users) // 2])
    encoder = Encoder.fit(dataset.snapshot, train, dataset.tasks, user_min_count=shown)
    for user in later.users.ids:
        code = encoder.encode_user(later, int(user), later.time_ms, 0)["user_id"].item()
        own = 0 < code < encoder.sizes["user_id"][0]
        assert own == ((train.user_id == user).sum() >= shown)
    assert encoder.encode_user(later, 999_999, later.time_ms, 0)["user_id"].item() == 0


def test_encoder_chooses_an_input_for_each_column(encoder):
    assert encoder.names["item_ids"] == ("id", "creator_id", "song_id", "city", "tag", "type")
    assert encoder.names["item_numbers"] == (
        *(
            "log_duration",
            "age_upload",
            "log_exposed",
            "rate_click",
            "rate_follow",
            "rate_like",
            "rate_long_view",
        ),
    )
    assert encoder.names["user_ids"] == ("city",)
    assert encoder.names["user_numbers"] == (
        *(
            "age",
            "log_exposed",
            "rate_click",
            "rate_follow",
            "rate_like",
            "rate_long_view",
            "log_history",
            "log_skipped",
        ),
        *("log_exposed_in_scene", "rate_click_in_scene", "rate_long_view_in_scene", "rate_like_in_scene"),
    )
    assert encoder.names["context"] == ("scene", "hour", "weekday")


@given(
    st.datetimes(datetime(1960, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
    st.sampled_from([0, 1, 9]),
)
def test_context_is_scene_and_hour_and_weekday_in_utc(encoder, later, moment, scene):
    """Hours start at 1; weekdays are 1 (Monday) to 7 (Sunday). A scene that training did not see is 0."""
    time_ms = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    context = encoder.encode_user(later, 3, time_ms, scene)["context"]
    seen = encoder.scenes.keys.tolist()
    code = seen.index(scene) + 1 if scene in seen else 0
    assert context.tolist() == [[code, moment.hour + 1, moment.isoweekday()]] and context.dtype == np.int64


def test_history_is_newest_first_and_padded(dataset, encoder, later):
    row = int(np.argmin(np.diff(later.relations["history"].indptr)))
    works = later.relations["history"].row_values(row)[-8:][::-1]
    user = encoder.encode_user(later, int(later.users.ids[row]), later.time_ms, 0)
    items = encoder.encode_items(later, later.works.lookup(works), later.time_ms)
    np.testing.assert_array_equal(user["history"][0, : len(works)], items["item_ids"])
    assert not user["history"][0, len(works) :].any()


def test_crosses_count_common_values(encoder, later):
    user_id = 2
    user = encoder.encode_user(later, user_id, later.time_ms, 0)
    items = encoder.encode_items(later, np.arange(40), later.time_ms)
    crosses = encoder.encode_crosses(user, items)["crosses"]
    names = encoder.names["crosses"]
    row = int(later.users.lookup(np.array([user_id]))[0])
    for relation, kind in (("history", "in_history"), ("skipped", "in_skipped")):
        rows = later.works.lookup(later.relations[relation].row_values(row)[-8:])
        for column in ("creator_id", "song_id", "tag", "type"):
            values = later.works[column]
            expected = [np.log1p(np.sum(values[rows] == value)) if value >= 0 else 0.0 for value in values]
            np.testing.assert_allclose(crosses[:, names.index(f"{column}_{kind}")], expected, rtol=1e-6)
    follows, friends = (later.relations[name].row_values(row) for name in ("follows", "friends"))
    creators = later.works["creator_id"]
    for name, expected in (
        ("creator_followed", np.isin(creators, follows)),
        ("creator_is_friend", np.isin(creators, friends)),
        ("same_city", later.works["city"] == later.users["city"][row]),
    ):
        assert expected.any(), name
        np.testing.assert_array_equal(crosses[:, names.index(name)], expected)
    latest = later.works.lookup(later.relations["history"].row_values(row)[-8:])[::-1]
    for item in range(40):
        places = np.flatnonzero(later.works["creator_id"][latest] == later.works["creator_id"][item])
        newest = 1 / (1 + places[0]) if len(places) else 0.0
        assert crosses[item, names.index("creator_id_newest_in_history")] == pytest.approx(newest)


def test_crosses_accept_one_user_row_or_one_for_each_item(encoder, later):
    user = encoder.encode_user(later, 2, later.time_ms, 0)
    items = encoder.encode_items(later, np.arange(9), later.time_ms)
    repeated = {name: np.repeat(value, 9, axis=0) for name, value in user.items()}
    once, entry = encoder.encode_crosses(user, items), encoder.encode_crosses(repeated, items)
    np.testing.assert_array_equal(once["crosses"], entry["crosses"])
    np.testing.assert_array_equal(
        encoder.dense({**user, **items, **once}), encoder.dense({**repeated, **items, **entry})
    )


def test_unknown_user_is_encoded_as_zeros_except_for_time(encoder, later):
    user = encoder.encode_user(later, 10**12, later.time_ms, 99)
    assert not user["user_ids"].any() and not user["history"].any() and not user["skipped"].any()
    assert not user["user_numbers"].any() and not user["follows"].any() and not user["alike"].any()
    assert user["context"][0, 0] == 0 and user["context"][0, 1:].all()


def test_unknown_item_is_zero_and_new_item_keeps_its_creator(encoder, later):
    items = encoder.encode_items(later, np.array([-1, 0]), later.time_ms)
    assert not items["item_ids"][0].any() and items["item_ids"][1].any()
    columns = {name: np.concatenate([values, values[:1]]) for name, values in later.works.columns.items()}
    grown = replace(later, works=Table(np.append(later.works.ids, 10**9), columns))
    new = encoder.encode_items(grown, np.array([0, len(later.works)]), later.time_ms)["item_ids"]
    assert new[1, 0] >= FIRST_UNSEEN
    np.testing.assert_array_equal(new[0, 1:], new[1, 1:])


def test_missing_categories_match_nothing(encoder, later):
    items = encoder.encode_items(later, np.arange(40), later.time_ms)["item_ids"]
    song = encoder.names["item_ids"].index("song_id")
    np.testing.assert_array_equal(items[:, song] == 0, later.works["song_id"] < 0)


def test_rates_are_log_odds_relative_to_the_mean(dataset, encoder):
    prior = encoder.works.priors[encoder.works.counted.index("like")]
    counts = np.zeros((2, 5), np.float32)
    counts[1] = [90, 0, 0, 20, 0]
    numbers = encoder.works.scale_counters(counts)
    assert not numbers[0].any()
    like = 1 + encoder.works.counted.index("like")
    expected = np.log((20 + 10 * prior) / (70 + 10 * (1 - prior))) - np.log(prior / (1 - prior))
    assert numbers[1, like] == pytest.approx(expected, rel=1e-5)
    assert prior == pytest.approx(dataset.split()[0].labels["like"].mean())


def in_scene(encoder, snapshot, user_id, scene):
    """Returns the user_numbers of one scene."""
    at = [encoder.names["user_numbers"].index(name) for name in encoder.scene_counters.number_names]
    return encoder.encode_user(snapshot, user_id, snapshot.time_ms, scene)["user_numbers"][0, at]


def test_scene_rates_are_relative_to_the_rate_of_the_scene(dataset, encoder, later):
    train = dataset.split()[0]
    numbers = np.empty((2, 2))
    for scene in (0, 1):
        there = train.scene == scene
        own = there & (train.user_id == 3)
        overall, n = train.labels["click"].mean(), there.sum()
        prior = (train.labels["click"][there].sum() + 10 * overall) / (n + 10)
        clicks, shown = train.labels["click"][own].sum(), own.sum()
        rate = np.log((clicks + 10 * prior) / (shown - clicks + 10 * (1 - prior))) - np.log(
            prior / (1 - prior)
        )
        numbers[scene] = in_scene(encoder, later, 3, scene)[:2]
        np.testing.assert_allclose(numbers[scene], [0.25 * np.log1p(shown), rate], rtol=1e-5)
    assert (np.abs(numbers[0] - numbers[1]) > 1e-3).all()  # the scenes differ, or this test shows nothing


def test_scene_numbers_are_0_without_impressions(dataset, encoder, later):
    assert in_scene(encoder, later, 3, 1).all()
    for user_id, scene in ((10**12, 1), (3, -1), (3, 2)):
        assert not in_scene(encoder, later, user_id, scene).any()
    assert not in_scene(encoder, dataset.snapshot, 3, 1).any()
    assert not in_scene(encoder, replace(later, user_scene_counters=None), 3, 1).any(), (
        "the counters are empty"
    )
    train = dataset.split()[0]
    home = Encoder.fit(dataset.snapshot, train.take(train.scene == 0), dataset.tasks)
    assert in_scene(home, later, 3, 0).all()
    assert not in_scene(home, later, 3, 1).any(), "training did not see the scene"


def test_encoder_without_scenes_has_no_scene_numbers(dataset, tmp_path):
    train = dataset.split()[0]
    nameless = replace(dataset.snapshot, labels={}, user_scene_counters=None)
    nowhere = replace(train, scene=np.full(len(train), -1, np.int32))
    for snapshot, exposures in ((nameless, train), (dataset.snapshot, nowhere)):
        encoder = Encoder.fit(snapshot, exposures, dataset.tasks)
        encoder.save(tmp_path / "encoder.npz")
        for entry in (encoder, Encoder.load(tmp_path / "encoder.npz")):
            assert entry.names["user_numbers"][-1] == "log_skipped"
            user = entry.encode_user(snapshot, 3, snapshot.time_ms, 0)
            assert user["user_numbers"].shape == (1, len(entry.names["user_numbers"]))


def test_loaded_encoder_encodes_the_same_inputs(encoder, later, tmp_path):
    encoder.save(tmp_path / "encoder.npz")
    loaded = Encoder.load(tmp_path / "encoder.npz")
    assert (loaded.tasks, loaded.sizes, loaded.names) == (encoder.tasks, encoder.sizes, encoder.names)
    for user_id in (1, 5, 10**12):
        first, second = (e.encode_user(later, user_id, later.time_ms, 1) for e in (encoder, loaded))
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])


def test_load_refuses_a_file_that_is_not_an_encoder(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"not an archive")
    np.savez(tmp_path / "b.npz", head=np.zeros(3, np.uint8))
    for path in (tmp_path / "a.npz", tmp_path / "b.npz", tmp_path / "absent.npz"):
        with pytest.raises(BundleError, match="is not an encoder"):
            Encoder.load(path)


def test_load_refuses_another_format(encoder, tmp_path):
    encoder.save(tmp_path / "encoder.npz")
    with np.load(tmp_path / "encoder.npz") as arrays:
        older = dict(arrays)
    head = json.loads(older["head"].tobytes()) | {"format": 2}
    np.savez(tmp_path / "older.npz", **{**older, "head": np.frombuffer(json.dumps(head).encode(), np.uint8)})
    with pytest.raises(BundleError, match=r"encoder format 2, expected 1\. Train and publish again"):
        Encoder.load(tmp_path / "older.npz")


def test_fit_refuses_tasks_without_two_classes_and_missing_columns(dataset):
    train = dataset.split()[0]
    with pytest.raises(ValueError, match=r"tasks \['gift'\] have no label"):
        Encoder.fit(dataset.snapshot, train, ("click", "gift"))
    with pytest.raises(ValueError, match="none of the 0 exposures"):
        Encoder.fit(dataset.snapshot, train.take(np.arange(0)), ("click",))
    never = replace(train, labels={**train.labels, "like": np.zeros(len(train), np.uint8)})
    with pytest.raises(ValueError, match=r"task 'like': all \d+ labels are 0, of one class"):
        Encoder.fit(dataset.snapshot, never, ("click", "like"))
    Encoder.fit(dataset.snapshot, never, ("click",))
    encoder = Encoder.fit(dataset.snapshot, train, ("click",))
    lacking = replace(
        dataset.snapshot,
        users=Table(dataset.snapshot.users.ids, {"city": dataset.snapshot.users["city"]}),
    )
    with pytest.raises(ValueError, match=r"lacks the columns \['age'"):
        encoder.encode_user(lacking, 1, dataset.snapshot.time_ms, 0)
    lacking = replace(
        dataset.snapshot,
        user_scene_counters={"count_exposed": dataset.snapshot.user_scene_counters["count_exposed"]},
    )
    with pytest.raises(ValueError, match=r"user_scene_counters lack the columns \['count_click'\]"):
        encoder.encode_user(lacking, 1, dataset.snapshot.time_ms, 0)
