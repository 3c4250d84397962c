"""The main job from the command line, on a world small enough for a test: what it leaves behind, and that it serves."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from karec import cli
from karec.bundle import Bundle
from karec.cascade import Cascade
from karec.rank.log import read_rank_log
from karec.types import Request

TASKS = ("click", "long_view", "like")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The folder of a finished `karec demo` on 4,000 works."""
    out = tmp_path_factory.mktemp("job")
    settings = out / "train.toml"
    settings.write_text("epochs = 1\n")
    arguments = ["--works", "4000", "--users", "400", "--exposures", "12000", "--requests", "12"]
    code = cli.main(
        ["demo", *arguments, "--out", str(out), "--report", str(out / "report"), "--settings", str(settings)]
    )
    assert code == 0
    return out


@pytest.fixture(scope="module")
def report(job):
    return json.loads((job / "report" / "report.json").read_text())


@pytest.fixture(scope="module")
def bundle(job):
    return Bundle.open(job / "bundles")


@pytest.fixture(scope="module")
def cascade(job):
    with Cascade.from_config(job / "karec.toml", scene="home") as cascade:
        yield cascade


def test_the_report_has_its_documented_keys(report):
    documented = {"data", "tasks", "requests", "funnel", "timings_ms", "quality", "reach", "diversity_curve"}
    assert report.keys() == documented | {"versions", "feed"}
    sizes = [report["funnel"][stage] for stage in ("catalogue", "recall", "prerank", "rank", "rerank")]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 10
    assert report["timings_ms"]["total"] > 0
    for model in ("teacher", "towers", "lr", "popularity"):
        for task in TASKS:
            measures = report["quality"][model][task]
            assert measures["auc_ci"][0] <= measures["auc"] <= measures["auc_ci"][1]
            assert {"gauc", "gauc_ci", "ece", "ece_ci"} <= measures.keys()


def test_the_page_is_one_file_with_its_pictures_inside(job):
    page = (job / "report" / "report.html").read_text()
    assert page.count("<svg") == 3
    for reference in ("src=", 'href="http', "@import", "url(http"):
        assert reference not in page


def test_every_request_of_the_demo_is_in_the_rank_log(job, bundle):
    log = read_rank_log(job / "rank_log", TASKS)
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


def test_a_feed_keeps_the_rules(cascade, bundle):
    for user in bundle.snapshot.users.ids[:20]:
        feed = cascade.run(Request(int(user), time_ms=bundle.snapshot.time_ms))
        assert len(feed) == 10
        assert not feed.cold_start
        assert feed.degraded == ()
        for column in ("song_id", "creator_id"):
            values = bundle.snapshot.works[column][bundle.snapshot.works.lookup(feed.candidates.ids)]
            assert (values[1:] != values[:-1]).all()


def test_the_same_request_gives_the_same_feed(cascade, bundle):
    request = Request(int(bundle.snapshot.users.ids[3]), time_ms=bundle.snapshot.time_ms)
    first, second = cascade.run(request), cascade.run(request)
    np.testing.assert_array_equal(first.candidates.ids, second.candidates.ids)
    np.testing.assert_array_equal(first.candidates.scores, second.candidates.scores)


def test_threads_share_one_cascade(cascade, bundle):
    requests = [Request(int(user), time_ms=bundle.snapshot.time_ms) for user in bundle.snapshot.users.ids[:40]]
    alone = [cascade.run(request) for request in requests]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(cascade.run, requests))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.candidates.ids, other.candidates.ids)
        np.testing.assert_array_equal(one.candidates.scores, other.candidates.scores)


def test_a_look_does_not_enter_the_rank_log(job, capsys):
    before = sorted((job / "rank_log").iterdir())
    assert cli.main(["recommend", "--config", str(job / "karec.toml"), "--user", "10000001", "--json"]) == 0
    assert sorted((job / "rank_log").iterdir()) == before


def test_what_was_shown_does_not_come_again(cascade, bundle):
    request = Request(int(bundle.snapshot.users.ids[3]), time_ms=bundle.snapshot.time_ms)
    shown = tuple(cascade.run(request).candidates.ids.tolist())
    again = cascade.run(Request(request.user_id, time_ms=request.time_ms, shown=shown))
    assert not set(shown) & set(again.candidates.ids.tolist())


def test_a_user_never_seen_is_served_and_told_so(cascade, bundle):
    feed = cascade.run(Request(10**15, time_ms=bundle.snapshot.time_ms))
    assert feed.cold_start
    assert len(feed) == 10


def test_the_user_vector_is_computed_once_a_request(cascade, bundle):
    feed = cascade.run(Request(int(bundle.snapshot.users.ids[0]), time_ms=bundle.snapshot.time_ms))
    assert [step.step for step in feed.trace.steps].count("user_tower") == 1


def test_recommend_prints_json_that_a_program_can_read(job, capsys):
    config = str(job / "karec.toml")
    assert cli.main(["recommend", "--config", config, "--user", "999", "--k", "3", "--json"]) == 0
    feed = json.loads(capsys.readouterr().out)
    assert len(feed["items"]) == 3
    assert feed["cold_start"] is True
    assert feed["trace"][0]["step"] == "user_features"


def test_recommend_shows_people_the_feed_and_its_trace(job, capsys):
    assert cli.main(["recommend", "--config", str(job / "karec.toml"), "--user", "999", "--trace"]) == 0
    out = capsys.readouterr().out
    for words in ("Feed for user 999", "cold start", "Trace", "inner_product"):
        assert words in out


def test_recommend_explains_what_both_dpp_steps_chose(job, capsys):
    config = str(job / "karec.toml")
    assert cli.main(["recommend", "--config", config, "--user", "999", "--explain", "--trace"]) == 0
    out = capsys.readouterr().out
    for words in ("prerank.dpp: ", "rerank.dpp: ", "closest before", "in top-k"):
        assert words in out
    assert cli.main(["recommend", "--config", config, "--user", "999", "--explain", "--json"]) == 0
    feed = json.loads(capsys.readouterr().out)
    told = {step["stage"]: step["notes"].get("explanation") for step in feed["trace"] if step["step"] == "dpp"}
    assert told.keys() == {"prerank", "rerank"}
    for explained in told.values():
        ids = [work["id"] for work in explained["works"]]
        assert {item["id"] for item in feed["items"]} <= set(ids) and len(explained["top_k"]) == len(ids)
        for place, work in enumerate(explained["works"]):
            assert work["closest"] is None if place == 0 else work["closest"] in ids[:place]


def test_evaluate_diversity_draws_its_curves(job, capsys):
    arguments = [
        "--config",
        str(job / "karec.toml"),
        "--requests",
        "4",
        "--k",
        "20",
        "--report",
        str(job / "diversity"),
    ]
    assert cli.main(["evaluate", "diversity", *arguments]) == 0
    out = capsys.readouterr().out
    for words in ("20 works of each of 4 pools", "top_k", "dpp", "mmr", "ssd", "scatter", "report: "):
        assert words in out
    report = json.loads((job / "diversity" / "diversity.json").read_text())
    assert report["pools"] == 4 and report["k"] == 20
    assert (job / "diversity" / "diversity.html").read_text().count("<svg") == 5
    assert cli.main(["evaluate", "diversity", *arguments, "--stage", "rnk"]) == 2
    assert "no stage 'rnk'; it has ['prerank', 'rank', 'rerank']" in capsys.readouterr().err
    assert cli.main(["evaluate"]) == 2
    assert "--run DIR is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "words"),
    [("bundles", "verified"), ("bundles/current/index.karec", "dimensions"), ("rank_log", "requests")],
)
def test_inspect_says_what_a_thing_holds(job, capsys, what, words):
    assert cli.main(["inspect", str(job / what)]) == 0
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recommend", "--config", "nowhere.toml", "--user", "1"], "nowhere.toml cannot be read"),
        (["inspect", "nowhere"], "neither a bundle, nor an index file"),
        (["demo", "--data", "kuairand"], "--root"),
        (["demo", "--data", "kuairand", "--root", "nowhere"], "log_standard_4_22_to_5_08_pure.csv"),
        (["demo", "--works", "0"], "works"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(arguments, message, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("command", ["demo", "train", "recommend", "evaluate", "inspect"])
def test_help_teaches_by_example(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert f"  karec {command} " in capsys.readouterr().out


def test_serving_never_loads_torch(job):
    program = f"""
import sys
import karec
feed = karec.Cascade.from_config({str(job / "karec.toml")!r}).run(karec.Request(1, time_ms=1))
heavy = {{"torch", "onnx", "lightgbm", "numba", "karec.learn"}} & set(sys.modules)
assert not heavy, heavy
assert len(feed) == 10
"""
    subprocess.run([sys.executable, "-c", program], check=True)
