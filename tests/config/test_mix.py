"""Scenes of several item types: wrong tables are refused, and logs keep the types of a page apart."""

import json
from dataclasses import replace

import numpy as np
import pytest
from live_bundle import named
from mixed_scene import CALIBRATIONS, MIX, TEXT, mixed_config

import karec
from karec.cli.recommend import page_table
from karec.config.check import config_mistakes
from karec.config.show import effective_config
from karec.errors import ConfigError
from karec.logs.read import read_rank_log
from karec.pipeline.types import Candidates, Request
from karec.serve.messages import PageRequest, encode
from karec.serve.responses import to_response

USER = 3


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return mixed_config(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module")
def feed(config):
    with karec.open(config, scene="feed").without_side_effects() as cascade:
        yield cascade


def types_of(page):
    return [item.item_type for item in page]


def ids_of(page, item_type):
    return [item.item_id for item in page if item.item_type == item_type]


def mistakes_of(config, tmp_path, mix, calibrations=CALIBRATIONS):
    path = tmp_path / "karec.toml"
    path.write_text(TEXT.format(online="") + mix)
    if calibrations is not None:
        (tmp_path / "calibration.json").write_text(json.dumps({"feed": calibrations}))
    return "\n".join(config_mistakes(path))


def test_mixed_page_holds_positions_caps_and_guarantees(feed):
    for k in (5, 10):
        page = feed.run(Request(USER, k, "feed"))
        types = types_of(page)
        assert (len(types), types[1], page.degraded, page.shortfall) == (k, "live", (), None)
        assert types.count("live") <= 0.3 * k and types.count("song") >= 0.2 * k


def test_items_of_a_type_keep_the_order_of_their_scene(feed):
    page = feed.run(Request(USER, 10, "feed"))
    for cascade in (replace(feed, mix={}), *feed.parts):
        own = cascade.run(Request(USER, 10, cascade.scene, page.request.time_ms))
        ids = ids_of(page, own.item_type)
        assert ids and ids == [item.item_id for item in own][: len(ids)]


def test_scores_of_a_mixed_page_are_calibrated_and_positions_count_up(feed):
    page = feed.run(Request(USER, 10, "feed"))
    assert [item.position for item in page] == list(range(10))
    scores = {name: [item.score for item in page if item.item_type == name] for name in CALIBRATIONS}
    assert max(scores["song"]) < 0.05 < min(scores["live"]) and 0.4 < max(scores["work"]) < 1
    rows = json.loads(encode(to_response(page, PageRequest(USER), 1.0)))["items"]
    assert [(row["position"], row["item_id"], row["item_type"]) for row in rows] == [
        (item.position, item.item_id, item.item_type) for item in page
    ]
    assert [row["item_type"] for row in page.to_dict()["items"]] == types_of(page)


def test_printed_page_has_item_types_and_facts_of_the_own_type_only(feed):
    page = feed.run(Request(USER, 5, "feed"))
    work = np.full(5, feed.bundle.snapshot.works.ids[0])  # also an id of other item types
    table = page_table(replace(page, candidates=Candidates.from_ids(work)), feed.bundle)
    cells = {str(column.header): list(column.cells) for column in table.columns}
    assert cells["item type"] == types_of(page)
    assert [cell != "–" for cell in cells["creator"]] == [name == "work" for name in types_of(page)]


def test_page_without_a_type_is_full_and_names_the_constraints(config, feed):
    rooms = feed.parts[0].bundle
    rooms.set_open(np.empty(0, np.int64))
    try:
        page = feed.run(Request(USER, 10, "feed"))
    finally:
        rooms.set_open(np.asarray(rooms.snapshot.works.ids))
    assert (len(page), types_of(page).count("live")) == (10, 0)
    assert page.degraded == ("mix.item_types: position 1 of live",)


def test_pool_smaller_than_the_page_gives_all_items_and_says_so(feed):
    page = feed.run(Request(USER, 10, "feed", only_ids=[70_000, 70_001, 70_002, 70_003, 70_004]))
    assert types_of(page) == ["live"] * 5
    assert {*page.degraded} == {"mix.item_types: cap of live", "mix.item_types: guarantee of song"}
    assert "live 5, song 0" in str(page.shortfall)


def test_small_page_names_positions_beyond_it(feed):
    page = feed.run(Request(USER, 1, "feed"))
    assert len(page) == 1 and "mix.item_types: position 1 of live" in page.degraded


def test_shown_items_of_every_type_are_left_out(feed):
    first = feed.run(Request(USER, 10, "feed"))
    second = feed.run(Request(USER, 10, "feed", shown=first.item_ids))
    assert not {(item.item_type, item.item_id) for item in first} & {
        (item.item_type, item.item_id) for item in second
    }


def test_rank_of_a_mixed_scene_orders_items_of_its_own_type(feed):
    ids = feed.bundle.snapshot.works.ids[:3].tolist()
    page = feed.rank(USER, ids)
    assert {*types_of(page)} == {"work"} and {item.item_id for item in page} == {*ids}


def test_parts_read_the_ids_of_their_kind(tmp_path):
    path = mixed_config(tmp_path, ids=named(tmp_path), online="")
    with karec.open(path, scene="feed").without_side_effects() as feed:
        first = feed.run(Request("u3", 10, "feed"))
        works, rooms = ids_of(first, "work"), ids_of(first, "live")
        assert all(isinstance(work, str) for work in works) and min(rooms) >= 70_000
        second = feed.run(Request("u3", 10, "feed", shown=(*works, *rooms)))
        assert not {*works, *rooms} & {*second.item_ids}


def test_rank_log_has_the_place_on_the_mixed_page_by_type(tmp_path):
    path = mixed_config(tmp_path)
    with karec.open(path, scene="feed") as feed:
        page = feed.run(Request(USER, 10, "feed"))
    log = read_rank_log(tmp_path / "rank_log", ())
    log = log.take(log.page_position >= 0)
    logged = sorted(
        zip(log.page_position.tolist(), log.item_id.tolist(), log.item_type.tolist(), strict=True)
    )
    assert {*log.scene} == {"feed"} and {*log.request_id} == {page.request.request_id}
    assert logged == [
        (item.position, item.item_id, "" if item.item_type == "work" else item.item_type) for item in page
    ]


def test_scene_without_side_effects_logs_no_part(tmp_path):
    path = mixed_config(tmp_path)
    with karec.open(path, scene="feed") as feed:
        feed.without_side_effects().run(Request(USER, 10, "feed"))
    assert not list((tmp_path / "rank_log").glob("*.parquet"))


def test_failed_stage_of_a_part_is_named_with_its_scene(tmp_path):
    text = MIX + '\n[scenes.live.stages.rank]\nfallback = [{ use = "top_k", k = 20 }]\n'
    path = mixed_config(tmp_path, mix=text)
    with karec.open(path, scene="feed").without_side_effects() as feed:
        for _ in range(25):  # fallbacks need run times
            feed.run(Request(USER, 10, "feed"))
        page = feed.run(Request(USER, 10, "feed", deadline_ms=1e-6))
    assert "live.rank: fallback" in page.degraded
    rooms = [item.score for item in page if item.item_type == "live"]
    assert rooms == pytest.approx([CALIBRATIONS["live"]["rate"]] * len(rooms)), (
        "prerank's scores are not calibrated"
    )


def test_new_calibration_is_taken_by_a_reload(tmp_path):
    path = mixed_config(tmp_path)
    with karec.open(path, scene="feed", reload=True) as swap:
        assert not swap.reload()
        low = {name: {**entry, "scale": 0.0, "bias": -9.0} for name, entry in CALIBRATIONS.items()}
        (tmp_path / "calibration.json").write_text(json.dumps({"feed": low}))
        swap.reload()  # or the watcher did
        page = swap.run(Request(USER, 10, "feed"))
        assert max(item.score for item in page) <= 0.001
        assert {*swap.cascades} == {"feed", "live", "songs"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('live = "live", song', 'live = "feed", song', "this scene is mixed itself"),
        ('live = "live", song', 'live = "lve", song', "no such scene (did you mean 'live'?)"),
        ('live = "live", song', 'live = "songs", song', "this scene recommends the item type 'song'"),
        ('live = "live", song', 'work = "home", song', "is the own item type of the scene 'feed'"),
        ("guarantees = { song", "guarantees = { room", "'room' has no scene here"),
        ("caps = { live = 0.3 }", "caps = { song = 0.1 }", "song = 0.2, expected at most its cap 0.1"),
        ("song = 0.2 }", "song = 0.5, work = 0.6 }", "the guarantees add up to 1.1"),
        ("live = 0.3 }", "live = 0.3, work = 0.2, song = 0.3 }", "the caps add up to 0.8"),
        ("live = [1] }", "live = [1], song = [1] }", "position 1 is reserved for live already"),
        ("live = [1] }", "live = [-1] }", "expected"),
        ("song = 0.2 }", "song = 1.2 }", "expected"),
        ('song = "songs" }', 'song = "songs" }\ntypes = 3', "unknown key"),
    ],
)
def test_wrong_table_is_refused_with_its_mistake(config, tmp_path, old, new, message):
    assert old in MIX
    assert message in mistakes_of(config, tmp_path, MIX.replace(old, new))


def test_mixed_scene_as_a_part_is_refused(config, tmp_path):
    other = '\n[scenes.page]\ninherits = "home"\nmix = { scenes = { live = "live" } }\n'
    mix = MIX.replace('song = "songs"', 'song = "page"') + other
    assert "this scene is mixed itself" in mistakes_of(config, tmp_path, mix)


@pytest.mark.parametrize(
    ("calibrations", "message"),
    [
        (None, "cannot be read"),
        ({name: CALIBRATIONS[name] for name in ("work", "live")}, "no calibration of the item type 'song'"),
        (
            CALIBRATIONS | {"live": {**CALIBRATIONS["live"], "stage": "blend"}},
            "no calibration of the item type 'live' in a stage of 'live'",
        ),
        (CALIBRATIONS | {"live": {**CALIBRATIONS["live"], "scale": -1.0}}, "expected scale ≥ 0"),
        (CALIBRATIONS | {"live": 7}, "cannot be read"),
    ],
)
def test_type_without_calibration_is_refused_with_the_command(config, tmp_path, calibrations, message):
    text = mistakes_of(config, tmp_path, MIX, calibrations)
    assert message in text and f"karec calibrate {tmp_path / 'karec.toml'} --scene feed" in text


def test_open_refuses_a_type_without_calibration(tmp_path):
    path = mixed_config(tmp_path, calibrations=None)
    with pytest.raises(ConfigError, match="karec calibrate"):
        karec.open(path, scene="feed")
    assert karec.open(path, scene="home").mix == {}


def test_shown_configuration_of_a_mixed_scene_loads_to_the_same(config, tmp_path):
    text = effective_config(config, "feed")
    assert "caps = { live = 0.3 }" in text or "caps" in text
    assert "[scenes.feed.mix]" in text


def test_child_scene_changes_or_removes_the_mix(config, tmp_path):
    child = '\n[scenes.child]\ninherits = "feed"\nmix.caps = false\n'
    child += '[scenes.plain]\ninherits = "feed"\nmix = false\n'
    path = tmp_path / "karec.toml"
    path.write_text(TEXT.format(online="") + MIX + child)
    scenes = karec.config.scenes.Config.read(path)
    assert "caps" not in scenes.scene("child").mix and scenes.scene("plain").mix is None
