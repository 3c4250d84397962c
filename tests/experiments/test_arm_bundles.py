"""Pages of arms that name a bundle: two models of the same users and works, in one service."""

import pytest
from mixed_scene import mixed_config
from small_bundle import write_next_run
from small_kinds import rooms_of
from two_models import EXPERIMENTS, EXPOSURE, HOUR_MS, USERS, ask, expected_pages, ids_of, write_config

import karec
from karec.bundle import Bundle
from karec.config.open import open_hot_swap
from karec.logs.contents import read_log_contents
from karec.logs.read import read_rank_log
from karec.pipeline.types import Request
from karec.refresh.publish_run import publish

NEW_WORK = "w9001"


def test_each_arm_has_the_pages_of_its_own_bundle(live, folder_of_models, now):
    lists = []
    for arm, bundles, version in (("control", "bundles", 1), ("new", "other", 2)):
        expected = expected_pages(folder_of_models, bundles, now)
        for user, page in zip(USERS, expected, strict=True):
            found = ask(live, arm, user, time_ms=now, request_id=user)
            assert ids_of(found) == ids_of(page) and not found.degraded
            assert found.candidates.scores.tolist() == page.candidates.scores.tolist()
            assert (found.versions["model"], found.arms) == (version, {"models": arm})
            assert found.versions["bundle"] == page.versions["bundle"]
        lists.append([ids_of(page) for page in expected])
    assert lists[0] != lists[1]


@pytest.mark.parametrize("layers", [1, 2])
def test_arm_of_a_bundle_can_have_patches_and_arms_of_other_layers(folder_of_models, layers):
    patches = 'patches = { "scenes.home.rank.fusion.weights" = { like = 5.0 } }'
    text = EXPERIMENTS.replace('bundle = "other"', f'bundle = "other", {patches}')
    arms = {"models": "new"}
    if layers == 2:
        layer = EXPERIMENTS.replace("models", "weights").replace('"bundle", ', "")
        text = EXPERIMENTS.replace(', "scenes.home.rank.fusion"', "")
        text += layer.replace('bundle = "other"', patches)
        arms["weights"] = "new"
    with open_hot_swap(write_config(folder_of_models, text), None) as live:
        now = live.cascades["home"].bundle.snapshot.time_ms + HOUR_MS
        requests = [Request(user, 20, time_ms=now, request_id=user, arms=arms) for user in USERS]
        pages = [live.run(request) for request in requests]
        assert live.cascades["home"].experiments.missing == {}
    expected = expected_pages(folder_of_models, "other", now, "like = 5.0")
    assert [page.candidates.scores.tolist() for page in pages] == [
        page.candidates.scores.tolist() for page in expected
    ]


def test_arm_of_a_bundle_acts_in_every_scene(live):
    page = live.run(Request("u1", 5, "city", arms={"models": "new"}))
    assert (page.versions["model"], dict(page.arms)) == (2, {"models": "new"})
    items = tuple(ids_of(page))
    ranked = live.cascades["home"].run(Request("u1", 5, item_ids=items, arms={"models": "new"}))
    assert ranked.versions["model"] == 2 and {*ids_of(ranked)} == {*items}


def test_each_part_of_the_rank_log_has_rows_of_one_model(live, folder_of_models):
    for arm in ("control", "new"):
        for user in USERS:
            ask(live, arm, user, request_id=f"{arm}-{user}")
    live.close()
    for name in ("log", "shadow"):
        log = read_rank_log(folder_of_models / name, ())
        versions = {*zip(log.arms, log.model_version.tolist(), strict=True)}
        assert versions == {("models=control", 1), ("models=new", 2)}
        contents = read_log_contents(folder_of_models / name)
        assert all(len(part.rows) == 1 for part in contents) and len(contents) > 1


def test_side_effects_of_both_bundles_are_closed_and_counted_once(live):
    for arm in ("control", "new", "new"):
        ask(live, arm)
    counts = live.close()
    seen = [one.seen for one in counts if one.name == "rank_log" and one.seen]
    assert sorted(seen) == [1, 2] and all(one.done == one.seen for one in counts)
    (total,) = [one for key, one in live.closed_side_effects.items() if key == ("home", "rank_log")]
    assert total.done == 3


@pytest.mark.parametrize("event", ["block", "delete"])
def test_blocked_or_deleted_work_is_on_no_page_of_either_arm(live, event):
    before = {arm: ids_of(ask(live, arm, k=50)) for arm in ("control", "new")}
    work = next(work for work in before["control"] if work in before["new"])
    live.record([{"event": event, "item_id": work}])
    for arm in before:
        assert work not in ids_of(ask(live, arm, k=50))
        ranked = live.run(Request("u1", 5, item_ids=(work,), arms={"models": arm}))
        assert ids_of(ranked) == [] and {*ranked.dropped} == {work}


def test_uploaded_work_is_on_pages_of_both_arms(live, now):
    upload = {"event": "upload", "item_id": NEW_WORK, "creator_id": "u4", "columns": {"song_id": 3}}
    live.record([upload], now_ms=now)
    for arm in ("control", "new"):
        assert NEW_WORK in ids_of(ask(live, arm, k=50, time_ms=now))


def test_shown_and_liked_works_act_in_both_arms(live):
    pages = {arm: ids_of(ask(live, arm, k=50)) for arm in ("control", "new")}
    seen = next(work for work in pages["control"] if work in pages["new"])
    live.record([{"event": "impression", "user_id": "u1", "item_id": seen, "scene": "home"}])
    for arm in pages:
        assert seen not in ids_of(ask(live, arm, k=50))


@pytest.mark.parametrize(("failing", "other"), [("control", "new"), ("new", "control")])
def test_events_act_in_the_bundle_whose_follower_reads_the_store(live, monkeypatch, failing, other):
    key = {"control": ("",), "new": ("new",)}
    follower = live.cascades["home"].experiments.pipelines[key[failing]].online
    work = ids_of(ask(live, other, k=50))[0]

    def fail():
        raise OSError("the disk is gone")

    monkeypatch.setattr(follower, "poll", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        live.record([{"event": "block", "item_id": work}])
    assert work not in ids_of(ask(live, other, k=50))


def test_arms_share_the_exposure_counters(folder_of_models):
    path = write_config(folder_of_models, exposure=EXPOSURE)
    with open_hot_swap(path, None) as live:
        control = live.cascades["home"]
        for user in USERS[:4]:
            for arm in ("control", "new"):
                assert len(ask(live, arm, user, k=5)) == 5
        pipelines = control.experiments.pipelines
        assert pipelines[("new",)].exposure is control.exposure
        assert pipelines[("new",)].masks is not control.masks  # rows of another index
        live.cascades["home"].side_effects[0].flush()
        assert control.exposure.snapshot()["pages"] == 8


def test_open_without_reload_builds_the_arms(folder_of_models):
    path = folder_of_models / "karec.toml"
    text = path.read_text()
    path.write_text(text[: text.index("[online]")] + text[text.index("[scenes.home]") :])
    with karec.open(path) as cascade:
        page = cascade.run(Request("u1", 5, arms={"models": "new"}))
        assert page.versions["model"] == 2 and len(page) == 5


def test_parts_of_a_mixed_page_are_of_the_bundle_of_the_arm(tmp_path):
    path = mixed_config(tmp_path)
    bundle = Bundle.open(tmp_path / "bundles")
    publish(
        write_next_run(bundle, tmp_path / "run-2", 2),
        bundle.snapshot,
        tmp_path / "other",
        item_types=rooms_of(bundle.snapshot),
    )
    (tmp_path / "experiments.toml").write_text(EXPERIMENTS.replace(', "scenes.home.rank.fusion"', ""))
    path.write_text('experiments = "experiments.toml"\n' + path.read_text())
    with karec.open(path, scene="feed") as feed:
        pages = {arm: feed.run(Request(1, 9, "feed", arms={"models": arm})) for arm in ("control", "new")}
        for page, version in zip(pages.values(), (1, 2), strict=True):
            assert {part.versions["model"] for part in page.parts.values()} == {version}
            assert len(page.parts) == 3 and len(page) == 9
        assert feed.experiments.missing == {}
