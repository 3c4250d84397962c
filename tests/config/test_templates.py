"""The scene templates of karec: each loads with one bundle, returns pages and satisfies its description."""

import re
from dataclasses import replace

import numpy as np
import pytest
from small_bundle import publish_small_bundle
from small_kinds import FIRST, rooms_of

from karec.config import load_cascade, load_cascades
from karec.config.templates import HOME, OTHERS, added_scene_text, home_scene_text
from karec.errors import ConfigError
from karec.logs.read import read_rank_log
from karec.pipeline.types import Request

OBJECTIVES = {"click": 1.0, "long_view": 1.0, "like": 2.0}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle with songs, creators, live rooms and song rooms. No user of 1 … 12 is a creator."""
    return publish_small_bundle(tmp_path_factory.mktemp("scenes"), kinds=rooms_of)


@pytest.fixture(scope="module")
def config(bundle):
    kinds = {name: bundle.item_type(name).snapshot for name in bundle.item_types}
    texts = [
        home_scene_text(HOME, bundle.snapshot, OBJECTIVES),
        *(added_scene_text(name, HOME, kinds) for name in OTHERS),
    ]
    path = bundle.path.parent.parent / "karec.toml"
    text = "\n".join(texts)
    # the bundle has no comments
    path.write_text(text.replace("weights = { comment = 1.0 }", "weights = { like = 1.0 }"))
    return path


@pytest.fixture
def page_of(config, bundle):
    """Returns a function: (scene, user) → the page at the time of the snapshot."""

    def ask(scene, user=3, **changed):
        cascade = replace(load_cascade(config, scene, bundle), side_effects=())
        return cascade.run(Request(user, scene=scene, time_ms=bundle.snapshot.time_ms, **changed))

    return ask


def test_template_scenes_of_one_config_share_a_bundle_and_return_pages(config, bundle):
    cascades = load_cascades(config, bundle)
    assert list(cascades) == [HOME, *OTHERS]
    for name, cascade in cascades.items():
        with replace(cascade, side_effects=()) as one:
            feed = one.run(Request(3, k=4, scene=name, time_ms=bundle.snapshot.time_ms))
        assert name == "following" or not feed.degraded, name  # two items of one creator
        assert 0 < len(feed) <= 4 or name == "following", name
        assert cascade.bundle.path == bundle.path


def test_each_template_logs_the_candidates_of_its_pages(config, bundle):
    """Scenes of works have the ranker's logits. Shadow requests are logged by the main scene only."""
    log = config.parent / "rank_log"
    for name, cascade in load_cascades(config, bundle).items():
        with cascade:
            page = cascade.run(Request(3, k=4, scene=name, time_ms=bundle.snapshot.time_ms, request_id=name))
        rows = read_rank_log(log, ())
        rows = rows.take((rows.scene == name) & ~rows.shadow)
        on_page = rows.take(np.argsort(rows.page_position)[len(rows) - len(page) :])
        assert on_page.item_id.tolist() == page.candidates.ids.tolist(), name
        assert on_page.page_position.tolist() == [*range(len(page))]
        assert set(rows.item_type) <= {cascade.item_type}
        assert set(rows.model_version) <= {bundle.model_version}
        effects = [queue.name for queue in cascade.side_effects if queue.name != "exposure_counter"]
        assert effects == (["rank_log", "shadow"] if name == HOME else ["rank_log"])
    ranked = set(read_rank_log(log, bundle.ranker.tasks).scene)
    assert ranked <= {HOME, "city", "comment", "following"} and {HOME, "city", "comment"} <= ranked


def test_scenes_with_a_table_exposure_count_their_own_pages(config, bundle):
    counting = {
        name: cascade
        for name, cascade in load_cascades(config, bundle).items()
        if cascade.exposure is not None
    }
    assert list(counting) == [HOME, "city", "comment"]
    for name, cascade in counting.items():
        with cascade:
            feed = cascade.run(Request(3, k=4, scene=name, time_ms=bundle.snapshot.time_ms))
            cascade.close()
            _, of_items = cascade.exposure.snapshot()["fairness"]
            assert of_items["values"] == len(feed), name
    assert all(cascade.exposure.snapshot()["pages"] == 1 for cascade in counting.values())


@pytest.mark.parametrize("scene", [HOME, *OTHERS])
def test_fallbacks_of_a_scene_fill_the_page(config, bundle, scene):
    with replace(load_cascade(config, scene, bundle), side_effects=()) as cascade:
        request = Request(3, scene=scene, k=4, time_ms=bundle.snapshot.time_ms)
        whole = cascade.run(request)
        stages = [stage.name for stage in cascade.stages if stage.fallback is not None]
        for stage in stages * 20:
            cascade.run_times.add(stage, 60_000.0)
        hurried = cascade.run(replace(request, deadline_ms=50))
    fallbacks = [reason for reason in hurried.degraded if "fallback" in reason]
    assert fallbacks == [f"{stage}: fallback" for stage in stages]
    assert scene != HOME or stages == ["rank"]
    assert len(hurried) == len(whole) and len(set(hurried.candidates.ids.tolist())) == len(hurried)


@pytest.mark.parametrize(
    ("scene", "kind"), [("song_request", "song"), ("creators", "creator"), ("live", "live"), ("room", "room")]
)
def test_scene_with_an_item_type_recommends_only_items_of_this_type(page_of, bundle, scene, kind):
    items = set(bundle.item_type(kind).snapshot.works.ids.tolist())
    ids = page_of(scene).candidates.ids.tolist()
    assert ids
    assert set(ids) <= items
    assert not items & set(bundle.snapshot.works.ids.tolist())


def test_following_scene_shows_only_items_of_followed_creators(page_of, bundle):
    works, follows = bundle.snapshot.works, bundle.snapshot.relations["follows"]
    for row, user in enumerate(bundle.snapshot.users.ids.tolist()):
        rows = works.lookup(page_of("following", user).candidates.ids)
        assert set(works["creator_id"][rows].tolist()) <= set(follows.row_values(row).tolist())
    assert any(len(page_of("following", user)) for user in range(1, 5))


def test_city_scene_shows_only_items_of_the_users_city(page_of, bundle):
    works, users = bundle.snapshot.works, bundle.snapshot.users
    for row, user in enumerate(users.ids.tolist()):
        rows = works.lookup(page_of("city", user).candidates.ids)
        assert set(works["city"][rows].tolist()) <= {int(users["city"][row])}


def test_unknown_user_gets_no_items_by_city_or_followed_creators(page_of):
    assert len(page_of("city", 999)) == 0
    assert len(page_of("following", 999)) == 0
    assert len(page_of("creators", 999)) > 0


def test_creators_scene_leaves_out_the_user_and_followed_creators(page_of, bundle):
    follows = bundle.snapshot.relations["follows"]
    for row, user in enumerate(bundle.snapshot.users.ids.tolist()):
        shown = set(page_of("creators", user).candidates.ids.tolist())
        assert not shown & set(follows.row_values(row).tolist())
    creator = int(bundle.item_type("creator").snapshot.works.ids[0])
    shown = page_of("creators", creator).candidates.ids.tolist()
    assert creator not in shown
    assert len(shown) == len(bundle.item_type("creator").index) - 1


@pytest.mark.parametrize(("scene", "kind"), [("live", "live"), ("room", "room")])
def test_room_scenes_show_only_open_rooms_after_each_set_open(page_of, bundle, scene, kind):
    read = bundle.item_type(kind)
    on = FIRST[kind] + np.array([1, 4, 5])
    for ids in (on, on[:1], np.empty(0, np.int64), on):
        read.set_open(ids)
        assert sorted(page_of(scene).candidates.ids.tolist()) == ids.tolist()
    read.set_open(read.snapshot.works.ids)


def test_live_scene_orders_by_expected_watch_time_if_share_is_1(page_of, config, bundle):
    text = config.read_text()
    blind = config.parent / "blind.toml"
    blind.write_text(text.replace("share = 0.25, weights = { watch_1m", "share = 1.0, weights = { watch_1m"))
    cascade = load_cascade(blind, "live", bundle)
    feed = cascade.run(Request(3, k=3, scene="live", time_ms=bundle.snapshot.time_ms))
    last = (
        FIRST["live"] + len(bundle.item_type("live").snapshot.works) - 1
    )  # the more watched, the higher the id
    assert feed.items[0].item_id == last


def test_comment_scene_shows_items_of_different_creators(page_of, bundle):
    works = bundle.snapshot.works
    creators = works["creator_id"][works.lookup(page_of("comment", k=5).candidates.ids)].tolist()
    assert len(creators) == len(set(creators)) == 5
    first = tuple(page_of("comment", k=5).candidates.ids.tolist())
    second = page_of("comment", k=3, shown=first).candidates.ids
    assert not set(works["creator_id"][works.lookup(second)].tolist()) & set(creators), (
        "the next page repeats a creator"
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            ('item_type = "song"', 'item_type = "sogn"'),
            r"scenes\.song_request: item_type = 'sogn': .*did you mean 'song'\?",
        ),
        (
            ('item_type = "live"', 'item_type = "podcast"'),
            r"item_type = 'podcast': the bundle has no such item type; it has works and",
        ),
        (
            ('{ use = "blend", share = 0.25 },', '{ use = "ranker" },'),
            r"the bundle's ranker has not learned items of the type",
        ),
        (
            ("watch_30m = 1500.0", "watch_2h = 1.0"),
            r"works count \['exposed', 'watch_1m', 'watch_30m', 'watch_5m'\]",
        ),
        (("share = 0.5 }", "share = 1.3 }"), r"share must be in \[0, 1\], got 1\.3"),
        (('column = "city"', 'column = "town"'), r"the item index has no column 'town'; it has"),
    ],
)
def test_load_cascades_refuses_a_wrong_template_scene_by_name(config, bundle, changed, message):
    text = config.read_text()
    assert changed[0] in text
    wrong = config.parent / "wrong.toml"
    wrong.write_text(text.replace(*changed))
    with pytest.raises(ConfigError, match=message):
        load_cascades(wrong, bundle)


def test_added_scene_text_refuses_unknown_templates_and_item_types(bundle):
    with pytest.raises(ConfigError, match=r"no template of a scene 'lives' \(did you mean 'live'\?\)"):
        added_scene_text("lives", HOME, {})
    with pytest.raises(
        ConfigError, match="live recommends items of the type 'live', and the bundle has only"
    ):
        added_scene_text("live", HOME, {"song": bundle.snapshot})


def test_template_leaves_out_a_step_if_its_column_is_missing(bundle):
    step = 'column = "accompaniment"'
    songs = bundle.item_type("song").snapshot
    columns = {**songs.works.columns, "accompaniment": np.ones(len(songs.works), np.float32)}
    sung = replace(songs, works=replace(songs.works, columns=columns))
    assert step in added_scene_text("song_request", HOME, {"song": sung})
    assert step not in added_scene_text("song_request", HOME, {"song": songs})


def test_template_leaves_out_sources_and_weights_if_their_data_are_missing(bundle):
    rooms = bundle.item_type("live").snapshot
    bare = replace(
        rooms,
        users=replace(rooms.users, columns={}),
        works=replace(rooms.works, columns={"count_exposed": rooms.works["count_exposed"]}),
        relations={},
    )
    text = added_scene_text("live", HOME, {"live": bare})
    assert "watch_1m" not in text and 'use = "follow"' not in text and 'use = "open_now"' in text
    sources = re.findall(
        'use = "(social|community|open_now)"', added_scene_text("room", HOME, {"room": bare})
    )
    assert sources == ["open_now"]


@pytest.mark.parametrize(
    ("labels", "weights"),
    [
        (("watch_1m", "watch_5m", "watch_30m"), "watch_1m = 60.0, watch_5m = 240.0, watch_30m = 1500.0"),
        (("enter", "gift"), "gift = 1.0"),
    ],
)
def test_template_orders_by_the_ranker_if_it_has_learned_the_type(bundle, labels, weights):
    rooms = {"live": bundle.item_type("live").snapshot}
    text = added_scene_text("live", HOME, rooms, {"live": labels})
    assert f'{{ use = "ranker" }},\n    {{ use = "fusion", weights = {{ {weights} }}, share = ' in text
    assert 'use = "blend"' in text
    without = added_scene_text("live", HOME, rooms)
    assert 'use = "blend"' in without and not re.search('use = "(ranker|fusion)"', without)


def test_template_inherits_the_main_scene_of_its_config():
    assert 'inherits = "feed"' in added_scene_text("city", "feed", {})


def test_plain_page_ends_with_consumed_items_if_others_are_too_few(tmp_path):
    bundle = publish_small_bundle(tmp_path, consumed=("click", "long_view"))
    works = bundle.snapshot.works
    columns = {
        name: values for name, values in works.columns.items() if name not in ("creator_id", "song_id")
    }
    without_creators = replace(bundle.snapshot, works=replace(works, columns=columns))
    path = tmp_path / "karec.toml"
    path.write_text(home_scene_text(HOME, without_creators, OBJECTIVES))
    cascade = replace(load_cascade(path, HOME, bundle), side_effects=())
    consumed = {*bundle.snapshot.relations["consumed"].row_values(2).tolist()}
    user, n_others = int(bundle.snapshot.users.ids[2]), len(works) - len(consumed)
    assert consumed and n_others > 3
    page = cascade.run(Request(user, k=n_others + 2))
    is_consumed = [item.item_id in consumed for item in page]
    assert is_consumed == [False] * n_others + [True, True]
    assert (page.shortfall.reason, page.shortfall.got) == ("filled", n_others)
    page = cascade.run(Request(user, k=n_others))
    assert not consumed & {item.item_id for item in page} and page.shortfall is None
