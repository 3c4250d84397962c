"""`karec demo` on a small world: its report, run folder, log and bundle."""

import re
from itertools import pairwise

import numpy as np
import pytest
from small_job import TASKS

from karec.cli.demo import training_settings
from karec.features.crosses import MAX_EDGES, SOCIAL_EDGES
from karec.features.encoder import Encoder
from karec.lab.demo import report as report_module
from karec.lab.demo.policy import PAGE_POLICY, RANKER_ORDER, policy_effects
from karec.lab.demo.serve import WHOLE_POOLS
from karec.learn.settings.settings import TrainSettings
from karec.logs.read import read_rank_log
from karec.pipeline.types import Request
from karec.times import HOUR_MS

RELATIONS = ("history", "skipped", *SOCIAL_EDGES)


def test_report_has_the_documented_keys(report):
    documented = set(re.findall(r"^    ([a-z_]+)  ", report_module.__doc__, re.MULTILINE))
    assert report.keys() == documented | {"format"}
    assert report["format"] == report_module.FORMAT


def test_funnel_has_the_items_and_the_time_of_each_stage(report):
    query, *stages = report["funnel"]
    assert query.keys() == {"stage", "ms"} and query["ms"] > 0
    assert [row["stage"] for row in stages] == ["recall", "prerank", "rank", "rerank"]
    assert stages[0]["items_in"] == report["data"]["items"] and stages[-1]["items_out"] == 10
    for row, later in pairwise(stages):
        assert row["items_in"] >= row["items_out"] == later["items_in"] and row["ms"] > 0
    assert report["total_ms"] > 0


def test_report_has_the_quality_of_each_model(report):
    assert list(report["quality"])[-1] == "mmoe"
    for model in ("mmoe", "towers", "lr"):
        for task in TASKS:
            measures = report["quality"][model][task]
            assert measures["auc_ci"][0] <= measures["auc"] <= measures["auc_ci"][1]


def test_demo_of_the_world_trains_the_mmoe_by_default(tmp_path):
    assert training_settings(None, None, is_world=True).ranker.kind == "mmoe"
    assert training_settings(None, None, is_world=False) == TrainSettings().replace(run={"final_fit": False})
    (tmp_path / "own.toml").write_text("evaluation.baselines = []")
    own = training_settings(tmp_path / "own.toml", 7, is_world=True)
    assert (own.evaluation.baselines, own.ranker.kind, own.seed) == ((), "auto", 7)


def test_report_counts_what_side_effects_wrote(report, job):
    log = read_rank_log(job / "rank_log", TASKS)
    exposures, ranked, shadow = report["side_effects"]
    assert [counts["name"] for counts in report["side_effects"]] == ["exposure_counter", "rank_log", "shadow"]
    assert exposures["done"] == ranked["seen"]
    assert ranked["seen"] == ranked["done"] == 12 + 5  # the first five were served before, as a warm-up
    assert ranked["rows_lost"] == shadow["rows_lost"] == 0
    is_demo = np.array([name.startswith("demo-") for name in log.request_id])  # other tests log there too
    # the log has a request once that was served twice
    assert ranked["rows_written"] >= np.count_nonzero(is_demo & ~log.shadow) > 0
    assert shadow["rows_written"] >= np.count_nonzero(is_demo & log.shadow)


def test_report_has_the_loss_of_prerank_on_whole_pools(report):
    loss = report["funnel_loss"]
    assert loss["requests"] == WHOLE_POOLS < 12 and loss["pool"] >= loss["passed"]
    for part in ("inner_product", "prerank"):
        for top in ("top10", "top100"):
            low, high = loss[part][f"{top}_ci"]
            assert 0 <= low <= loss[part][top] <= high <= 1


def test_report_has_three_days_with_and_without_the_page_policy(report):
    days = report["three_days"]
    assert [*days["arms"]] == [RANKER_ORDER, PAGE_POLICY] and days["days"] == 3 and days["users"] == 60
    assert days["baseline"] == RANKER_ORDER
    for arm in days["arms"].values():
        assert arm["measures"]["play_s"]["value"] > 0


def test_effects_of_the_policy_are_the_measures_of_the_days(report):
    creators = report["three_days"]["arms"][PAGE_POLICY]["measures"]["creators_1_a_day"]
    effect = policy_effects(report)["creators_1_a_day"]
    assert (effect.after, effect.change) == (creators["value"], creators["relative"])
    assert effect.after - effect.before == pytest.approx(creators["change"])
    assert effect.change == pytest.approx(100 * (effect.after / effect.before - 1))


def test_sample_page_has_the_columns_of_its_items(report, job, bundle):
    page, works = report["page"], bundle.snapshot.works
    assert len(page["items"]) == 10 and page["scene"] == "home"
    rows = works.lookup(np.array([item["item_id"] for item in page["items"]]))
    for item, row in zip(page["items"], rows.tolist(), strict=True):
        assert item["creator"] == str(works["creator_id"][row]) and item["song"] == str(works["song_id"][row])
        assert item["tags"][0] == bundle.snapshot.labels["tag"][works["tag"][row]]
        assert item["sources"] and 1 <= item["place_by_ranker"] <= page["candidates"]
        assert item["age_h"] == pytest.approx((bundle.snapshot.time_ms - works["upload_ms"][row]) / HOUR_MS)


def test_every_request_of_the_demo_is_in_the_rank_log(job, bundle):
    log = read_rank_log(job / "rank_log", TASKS)
    is_demo = np.array([name.startswith("demo-") for name in log.request_id])
    log = log.take(is_demo & ~log.shadow)
    assert len(set(log.request_id)) == 12
    assert set(log.model_version) == {bundle.model_version}
    first = log.request_id == log.request_id[0]
    np.testing.assert_array_equal(np.sort(log.position[first]), np.arange(first.sum()))
    by_position = log.fused[first][np.argsort(log.position[first])]
    assert (np.diff(by_position) <= 0).all()


def test_index_has_the_vectors_of_the_item_tower(bundle):
    rows = np.arange(0, len(bundle.index), 37)
    items = bundle.encoder.encode_items(bundle.snapshot, rows, bundle.snapshot.time_ms)
    (vectors,) = bundle.item_tower.run(items, "item_vector")
    np.testing.assert_allclose(bundle.index.embeddings(rows), vectors, atol=1e-3)
    np.testing.assert_array_equal(bundle.index.ids, bundle.snapshot.works.ids)


def newest_first(ids):
    """Pads beyond the longest list that a model reads."""
    return np.pad(ids[::-1], (0, 1000), constant_values=-1)


def test_serving_encodes_users_as_training_does(job, bundle, cascade, tmp_path):
    """The bundle has the run's encoder for serving, and a request has the inputs of training."""
    trained = Encoder.load(job / "run" / "encoder.npz")
    trained.for_serving().save(tmp_path / "encoder.npz")
    assert (bundle.path / "encoder.npz").read_bytes() == (tmp_path / "encoder.npz").read_bytes()
    assert trained.cowatch is not None  # the demo trains with co-watch vectors
    users = bundle.snapshot.users.ids[:5]
    at_home = bundle.snapshot.labels["scene"].index("home")
    for user in users:
        page = cascade.run(Request(int(user), time_ms=bundle.snapshot.time_ms))
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
            np.testing.assert_array_equal(page.request.features[name], value, err_msg=name)
