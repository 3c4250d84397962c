"""The main job, `karec demo`, on a world small enough for a test: what it leaves behind."""

import numpy as np
import pytest
from small_job import TASKS, WORLD

from karec.cli.arguments import parser
from karec.cli.inputs import train_settings
from karec.cli.preflight import bytes_of_run
from karec.features.crosses import MAX_EDGES, SOCIAL_EDGES
from karec.features.encoder import Encoder
from karec.lab.simulate.world import make_world
from karec.learn.settings.settings import TrainSettings
from karec.logs.read import read_rank_log
from karec.pipeline.types import Request

RELATIONS = ("history", "skipped", *SOCIAL_EDGES)


def test_the_report_has_its_documented_keys(report):
    documented = {
        "format",
        "data",
        "tasks",
        "requests",
        "funnel",
        "timings_ms",
        "funnel_loss",
        "quality",
    }
    documented |= {
        "quality_by_history",
        "reach",
        "feed_channels",
        "observers",
        "versions",
        "feed",
    }
    documented |= {"rounds", "loop", "scenes"}
    assert report.keys() == documented
    sizes = [report["funnel"][stage] for stage in ("catalogue", "recall", "prerank", "rank", "rerank")]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 10
    assert report["timings_ms"]["total"] > 0
    for model in ("mmoe", "towers", "lr", "rates", "popularity"):
        for task in TASKS:
            measures = report["quality"][model][task]
            assert measures["auc_ci"][0] <= measures["auc"] <= measures["auc_ci"][1]
            assert {"gauc", "gauc_ci", "ece", "ece_ci"} <= measures.keys()


def test_demo_of_the_world_has_both_rankers_unless_settings_say_otherwise(tmp_path):
    arguments = parser("").parse_args(["demo"])
    assert train_settings(arguments).ranker.kind == "both"
    assert train_settings(parser("").parse_args(["demo", "--data", "mine"])).ranker.kind == "mmoe"
    assert train_settings(parser("").parse_args(["train", "--out", "run"])) == TrainSettings()
    (tmp_path / "own.toml").write_text("evaluation.baselines = []")
    own = parser("").parse_args(["demo", "--settings", str(tmp_path / "own.toml")])
    assert train_settings(own).evaluation.baselines == ()
    assert train_settings(own).ranker.kind == "mmoe"


def test_every_table_of_the_report_is_told_by_how_much_is_known_of_the_user(report):
    groups = report["quality_by_history"]
    assert list(groups) == ["0", "1-10", "11-50", "51+"]
    assert sum(group["users"] > 0 for group in groups.values()) >= 3
    for group in groups.values():
        assert group["users"] <= group["exposures"]
        for by_task in group["models"].values():
            assert list(by_task) == list(TASKS)


def test_the_report_says_what_the_observers_wrote(report, job):
    log = read_rank_log(job / "rank_log", TASKS)
    exposures, ranked, shadow = report["observers"]
    assert [each["name"] for each in report["observers"]] == ["exposure_counter", "rank_log", "shadow"]
    assert exposures["done"] == ranked["seen"]
    assert ranked["seen"] == ranked["done"] == 12 + 5  # and the first five once more, before they are timed
    assert ranked["rows_lost"] == shadow["rows_lost"] == 0
    own = np.array([name.startswith("demo-") for name in log.request_id])  # other tests ask the same cascade
    # what was served twice is read once
    assert ranked["rows_written"] >= np.count_nonzero(own & ~log.shadow) > 0
    assert shadow["rows_written"] >= np.count_nonzero(own & log.shadow)


def test_the_report_says_what_prerank_loses(report):
    loss = report["funnel_loss"]
    assert loss["requests"] == 12 and loss["pool"] >= loss["passed"]
    for part in ("inner_product", "prerank"):
        for top in ("top10", "top100"):
            low, high = loss[part][f"{top}_ci"]
            assert 0 <= low <= loss[part][top] <= high <= 1


def test_the_report_says_what_feeds_gave_by_the_world_s_own_chances_and_whom_they_reached(report):
    reach = report["reach"]
    assert reach.keys() == {"library", "cascade", "top_k", "change"}
    true = [name for name in reach["cascade"] if name.startswith("true ")]
    assert true == ["true play of a work, s", "true long views of a work", "true likes of a work"]
    for name, change in reach["change"].items():
        assert change["value"] == pytest.approx(
            reach["cascade"][name]["value"] - reach["top_k"][name]["value"]
        )
        assert change["ci"][0] <= change["ci"][1]
    assert 0 < reach["cascade"]["creators reached"]["value"] < reach["library"]["creators"]


def test_the_report_says_what_three_days_of_the_starting_feed_gave(report, job):
    loop = report["loop"]
    assert [*loop["arms"]] == ["no diversity", "starting"] and loop["days"] == 3 and loop["users"] == 60
    for arm in loop["arms"].values():
        assert arm["measures"]["play_s"]["value"] > 0
    page = (job / "report" / "report.html").read_text()
    assert "Three days on this platform" in page


def test_the_run_folder_holds_training_curves(job):
    assert (job / "run" / "curves.svg").read_text().startswith("<svg")


def test_the_page_is_one_file_with_its_pictures_inside(job):
    page = (job / "report" / "report.html").read_text()
    assert page.count("<svg") == 2
    for reference in ("src=", 'href="http', "@import", "url(http"):
        assert reference not in page


def test_every_request_of_the_demo_is_in_the_rank_log(job, bundle):
    log = read_rank_log(job / "rank_log", TASKS)
    log = log.take(~log.shadow)
    assert len(set(log.request_id)) >= 12
    assert set(log.model_version) == {bundle.model_version}
    first = log.request_id == log.request_id[0]
    np.testing.assert_array_equal(np.sort(log.position[first]), np.arange(first.sum()))
    by_position = log.fused[first][np.argsort(log.position[first])]
    assert (np.diff(by_position) <= 0).all()


def test_the_index_holds_the_item_towers_vectors(bundle):
    rows = np.arange(0, len(bundle.index), 37)
    items = bundle.encoder.encode_items(bundle.snapshot, rows, bundle.snapshot.time_ms)
    (vectors,) = bundle.item_tower.run(items, "item_vector")
    np.testing.assert_allclose(bundle.index.embeddings(rows), vectors, atol=1e-3)
    np.testing.assert_array_equal(bundle.index.ids, bundle.snapshot.works.ids)


def newest_first(ids):
    """Padded beyond what any model sees."""
    return np.pad(ids[::-1], (0, 1000), constant_values=-1)


def test_serving_reads_the_encoder_that_training_wrote_and_encodes_the_same(job, bundle, cascade):
    """One file: the bytes that training wrote; and what a request is given is what training would have made
    of it."""
    assert (bundle.path / "encoder.npz").read_bytes() == (job / "run" / "encoder.npz").read_bytes()
    trained = Encoder.load(job / "run" / "encoder.npz")
    assert trained.cowatch is not None  # the whole job knows who watched what
    users = bundle.snapshot.users.ids[:5]
    at_home = bundle.snapshot.labels["scene"].index("home")
    for user in users:
        feed = cascade.run(Request(int(user), time_ms=bundle.snapshot.time_ms))
        row = bundle.snapshot.users.lookup(np.array([user]))
        lists = {
            name: newest_first(bundle.snapshot.relations[name].row_values(int(row[0]))) for name in RELATIONS
        }
        expected = trained.encode_users(
            bundle.snapshot,
            row,
            np.array([bundle.snapshot.time_ms]),
            np.array([at_home]),
            history=bundle.snapshot.works.lookup(lists["history"][: trained.history_length])[None],
            skipped=bundle.snapshot.works.lookup(lists["skipped"][: trained.history_length])[None],
            edges={name: lists[name][None, :MAX_EDGES] for name in SOCIAL_EDGES},
        )
        for name, value in expected.items():
            np.testing.assert_array_equal(feed.request.features[name], value, err_msg=name)


def test_what_a_run_takes_is_at_least_what_is_foretold(job):
    """Of the files without models and checkpoints."""
    sizes = [int(WORLD[at]) for at in (1, 3, 5)]
    foretold = bytes_of_run(make_world(*sizes).dataset, TrainSettings())
    folders = [job / "run" / "rank_log", (job / "bundles" / "current").resolve()]
    taken = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
    assert 0.2 * taken < foretold < 1.5 * taken
