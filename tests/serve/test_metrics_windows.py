"""Exposures of several workers are added up over sliding windows, and measured as the studies measure."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_bundle import live_config
from small_bundle import publish_small_bundle
from small_kinds import rooms_of

from karec import Request
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.config import open_hot_swap
from karec.config.templates import HOME, added_scene_text, home_scene_text
from karec.serve.metrics import Metrics
from karec.serve.metrics.between_workers import Workers
from karec.serve.metrics.exposed import Catalogue, Exposures, Tally
from karec.serve.metrics.windows import Windows, measures_of

HOUR = 3_600_000
NOW = 500_000 * HOUR
WORKS = np.arange(100, 140)
CREATORS = np.where(WORKS == 139, -1, WORKS % 7)
AGES_H = np.arange(40) * 3 + 1


def catalogue(exposed=()):
    columns = {
        "creator_id": CREATORS,
        "type": (WORKS % 3 - 1).astype(np.int32),
        "upload_ms": np.where(WORKS == 138, 0, NOW - AGES_H * HOUR),
        "count_exposed": np.isin(WORKS, exposed).astype(np.float32),
    }
    nobody = Table(np.empty(0, np.int64), {})
    return Catalogue(Snapshot(NOW, Table(WORKS, columns), nobody, {}, {"type": ["audio", "video"]}))


def of(ids):
    ids = np.array(ids, np.int64)
    return catalogue().exposures(ids, np.full(len(ids), NOW))


def oracle_gini(counts):
    """Mean absolute difference of all pairs over twice the mean, in float64."""
    x = np.asarray(counts, np.float64)
    return np.abs(x[:, None] - x[None, :]).mean() / (2 * x.mean())


def told_of(windows, minute, catalogue_=None, **options):
    windows.settle(minute, catalogue_ or catalogue(), **options)
    return windows.told()["windows"]


Ids = st.lists(st.integers(95, 145), max_size=60)


@settings(max_examples=40)
@given(st.lists(Ids, min_size=1, max_size=5), st.randoms())
def test_exposures_added_up_are_those_of_one_worker_in_any_order_and_grouping(parts, random):
    whole = of([work for part in parts for work in part])
    parts = [of(part) for part in parts]
    random.shuffle(parts)
    cut = random.randint(0, len(parts))
    assert Exposures.joined([Exposures.joined(parts[:cut]), Exposures.joined(parts[cut:])]) == whole


@settings(max_examples=40)
@given(Ids)
def test_measures_are_those_that_counting_one_by_one_gives(ids):
    found = measures_of(of(ids), catalogue().creators(), ["audio", "video"])
    known = [work for work in ids if 100 <= work < 140]
    made = [work % 7 for work in known if work != 139]
    dated = [AGES_H[work - 100] for work in known if work != 138]
    typed = [work % 3 - 1 for work in known if work % 3]
    assert (
        found["exposures"] == len(ids)
        and found["works"] == len(set(ids))
        and found["creators"] == len(set(made))
    )
    assert found["creators_known"] == 7
    if made:
        counts = np.bincount(made, minlength=7)
        assert found["creators_gini"] == pytest.approx(oracle_gini(counts), abs=1e-12)
    for hours in (24, 72):
        share = np.mean([age < hours for age in dated]) if dated else None
        assert found[f"young_{hours}h"] == (pytest.approx(share) if dated else None)
    shares = {
        name: typed.count(code) / len(typed) for code, name in ((0, "audio"), (1, "video")) if code in typed
    }
    assert found["types"] == pytest.approx(shares)


def test_a_tally_counts_each_id_and_leaves_out_what_is_none():
    tally = Tally.of(np.array([5, -1, 3, 5]))
    assert tally.keys().tolist() == [3, 5] and tally.counts().tolist() == [1, 2]


def test_windows_slide_over_minutes_and_hours_and_forget(tmp_path):
    windows, start = Windows(tmp_path), 600_000 // 60 * 60
    events = {0: 3, 1: 5, 30: 7, 59: 2, 75: 11, 1439: 1, 1500: 4}
    kept = {}
    for minute in range(0, 3000, 30):
        for each in [each for each in events if minute - 30 < each + 1 <= minute]:
            windows.tell(start + each, "a", of([100] * events[each]))
            kept[each] = events[each]
        if minute:
            told = told_of(windows, start + minute)
            for name, length in (("10m", 10), ("1h", 60)):
                exact = sum(n for each, n in kept.items() if minute - 1 - length < each <= minute - 1)
                assert told[name]["exposures"] == exact, (minute, name)
            least = sum(n for each, n in kept.items() if minute - 1440 + 60 < each <= minute - 1)
            most = sum(n for each, n in kept.items() if minute - 1 - 1440 < each <= minute - 1)
            assert least <= told["24h"]["exposures"] <= most, minute
    assert told["24h"]["exposures"] == 0 and len(list((tmp_path / "minutes").iterdir())) <= 120
    assert len(list((tmp_path / "hours").iterdir())) <= 24


def test_workers_add_up_and_one_of_them_settles_a_minute(tmp_path):
    one, other = Windows(tmp_path), Windows(tmp_path)
    one.tell(1000, "a", of([100, 101]))
    other.tell(1000, "b", of([101, 102]))
    assert one.settle(1001, catalogue()) and not other.settle(1001, catalogue())
    assert other.told()["windows"]["10m"]["works"] == 3 and other.told()["windows"]["10m"]["exposures"] == 4


def test_a_minute_that_comes_late_still_counts(tmp_path):
    windows = Windows(tmp_path)
    windows.tell(6000, "a", of([100]))
    told_of(windows, 6001)
    windows.tell(6000, "b", of([100, 101]))
    windows.tell(5000, "c", of([102]))
    assert told_of(windows, 6002)["10m"]["exposures"] == 4
    assert windows.told()["windows"]["10m"]["works_first"] == 3


def test_a_work_is_exposed_for_the_first_time_once(tmp_path):
    windows = Windows(tmp_path)
    windows.tell(1000, "a", of([100, 100, 101, 102]))
    windows.tell(1000, "b", of([101, 103]))
    told = told_of(windows, 1001, catalogue(exposed=[102]), begun=np.array([103]))
    assert told["10m"]["works_first"] == 2
    windows.tell(1001, "a", of([100, 101, 102, 103, 104]))
    assert told_of(windows, 1002, catalogue(exposed=[102]))["10m"]["works_first"] == 3
    assert told_of(Windows(tmp_path), 1012)["10m"]["works_first"] == 0


def test_curves_end_now_and_stay_short(tmp_path):
    windows = Windows(tmp_path)
    for minute in range(10_000, 10_070):
        told_of(windows, minute)
    history = windows.told()["history"]
    assert all(points[-1]["minute"] == 10_068 and len(points) <= 60 for points in history.values())
    assert np.all(np.diff([point["minute"] for point in history["10m"]]) == 1)


def test_a_damaged_file_of_a_minute_is_passed_over(tmp_path):
    windows = Windows(tmp_path)
    windows.tell(1000, "a", of([100]))
    (tmp_path / "new" / "1000-b").write_bytes(b"\xff broken")
    assert told_of(windows, 1001)["10m"]["exposures"] == 1


def test_items_of_other_kinds_are_no_exposures_of_works(tmp_path):
    bundle = publish_small_bundle(tmp_path, kinds=rooms_of)
    texts = [home_scene_text(HOME, bundle.snapshot, {"click": 1.0})]
    texts += [
        added_scene_text(
            "song_request", HOME, {name: bundle.item_type(name).index.columns for name in bundle.item_types}
        )
    ]
    path = bundle.path.parent.parent / "karec.toml"
    path.write_text("\n".join(texts))
    windows = Windows(tmp_path / "metrics" / "sent")
    with open_hot_swap(path, None) as live:
        metrics = Metrics(tmp_path / "metrics")
        metrics.begin(live)
        for scene, k in ((HOME, 3), ("song_request", 2)):
            feed = live.run(Request(3, k=k, scene=scene, time_ms=bundle.snapshot.time_ms))
            assert len(feed) == k
            metrics.answered(feed, 5.0)
        metrics.close()
    (told,) = windows.folder.joinpath("new").iterdir()
    minute = int(told.name.partition("-")[0])
    found = told_of(windows, minute + 1, Catalogue(bundle.snapshot))
    assert (found["10m"]["exposures"], found["10m"]["works"]) == (3, 3)


def test_of_exposures_that_are_reported_those_in_the_log_count_and_no_answer_does(tmp_path):
    path = live_config(tmp_path)
    moment = NOW + 5 * HOUR
    windows = Windows(tmp_path / "metrics" / "shown")
    with open_hot_swap(path, None) as live:
        snapshot = live.cascades["home"].bundle.snapshot
        works = snapshot.works.ids[:3].tolist()
        metrics = Metrics(tmp_path / "metrics", exposure="shown")
        metrics.begin(live)
        metrics.answered(live.run(Request(3, time_ms=snapshot.time_ms)), 5.0)
        rows = [{"kind": "exposure", "user": 1, "work": work, "scene": "home"} for work in works]
        rows += [
            {"kind": "exposure", "user": 1, "work": works[0]},
            {"kind": "follow", "user": 1, "creator": 2},
        ]
        # of no work of the catalogue
        rows += [{"kind": "exposure", "user": 1, "work": 2**40, "scene": "home"}]
        rows += [
            {"kind": "exposure", "user": 1},
            {"kind": "exposure", "user": 1, "work": works[1], "time_ms": 1},
        ]
        told = live.record(rows, moment)
        assert told.events == 6 and sum(told.refused.values()) == 2
        assert [(each.work, each.scene) for each in told.exposed] == [
            *((work, "home") for work in works),
            (works[0], None),
            (2**40, "home"),
        ]
        assert {each.time_ms for each in told.exposed} == {moment}
        metrics.recorded(told.events, told.refused, told.exposed)
        metrics.close()
        lost = Workers(tmp_path / "metrics", "next").all()[1].named["karec_metrics_lost"]
        assert lost == {("exposures of works that the catalogue lacks",): 1}
    (file,) = windows.folder.joinpath("new").iterdir()
    found = told_of(windows, int(file.name.partition("-")[0]) + 1, Catalogue(snapshot))
    assert (found["10m"]["exposures"], found["10m"]["works"]) == (4, 3)
