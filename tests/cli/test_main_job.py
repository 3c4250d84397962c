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
from karec.errors import ConfigError
from karec.features.encoder import MOST_TIES, TIES, Encoder
from karec.logs.rank_log import read_rank_log
from karec.types import Request

TASKS = ("click", "long_view", "like")
RELATIONS = ("history", "skipped", *TIES)
WORLD = ["--works", "2000", "--users", "400", "--exposures", "12000"]  # enough watched works for vectors of who did


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The folder of a finished `karec demo` on 2,000 works."""
    out = tmp_path_factory.mktemp("job")
    settings = out / "train.toml"
    settings.write_text("[ranker]\nepochs = 1\n")
    arguments = [*WORLD, "--requests", "12", "--out", str(out), "--report", str(out / "report")]
    code = cli.main(["demo", *arguments, "--settings", str(settings)])
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
    for model in ("mmoe", "towers", "lr", "popularity"):
        for task in TASKS:
            measures = report["quality"][model][task]
            assert measures["auc_ci"][0] <= measures["auc"] <= measures["auc_ci"][1]
            assert {"gauc", "gauc_ci", "ece", "ece_ci"} <= measures.keys()


def test_a_run_leaves_its_curves(job):
    assert (job / "run" / "curves.svg").read_text().startswith("<svg")


def test_the_page_is_one_file_with_its_pictures_inside(job):
    page = (job / "report" / "report.html").read_text()
    assert page.count("<svg") == 3
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


def test_the_encoder_that_trained_serves(job, bundle, cascade):
    """One file: the bytes that training wrote; and what a request is given is what training would have made of it."""
    assert (bundle.path / "encoder.npz").read_bytes() == (job / "run" / "encoder.npz").read_bytes()
    trained = Encoder.load(job / "run" / "encoder.npz")
    assert trained.cowatch is not None  # the whole job knows who watched what
    users = bundle.snapshot.users.ids[:5]
    at_home = bundle.snapshot.labels["scene"].index("home")
    for user in users:
        feed = cascade.run(Request(int(user), time_ms=bundle.snapshot.time_ms))
        row = bundle.snapshot.users.lookup(np.array([user]))
        lists = {name: newest_first(bundle.snapshot.relations[name].of(int(row[0]))) for name in RELATIONS}
        expected = trained.encode_users(
            bundle.snapshot,
            row,
            np.array([bundle.snapshot.time_ms]),
            np.array([at_home]),
            history=bundle.snapshot.works.lookup(lists["history"][: trained.history_length])[None],
            skipped=bundle.snapshot.works.lookup(lists["skipped"][: trained.history_length])[None],
            ties={name: lists[name][None, :MOST_TIES] for name in TIES},
        )
        for name, value in expected.items():
            np.testing.assert_array_equal(feed.request.features[name], value, err_msg=name)


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


@pytest.fixture(scope="module")
def shadowed(job, bundle):
    """(config, feeds): every request is a shadow request, logged to a folder of its own."""
    config = job / "shadowed.toml"
    text = (job / "karec.toml").read_text()
    assert "share = 0.02, at_most = 10_000" in text
    config.write_text(
        text.replace("share = 0.02", "share = 1.0").replace('folder = "rank_log"', 'folder = "shadow_log"')
    )
    with Cascade.from_config(config, scene="home") as cascade:
        users = bundle.snapshot.users.ids[:6]
        feeds = [cascade.run(Request(int(user), time_ms=bundle.snapshot.time_ms)) for user in users]
    return config, feeds


def test_a_shadow_request_logs_its_whole_pool_and_changes_nothing(cascade, bundle, job, shadowed):
    log = read_rank_log(job / "shadow_log", TASKS, [bundle.model_version])
    for feed in shadowed[1]:
        rows = log.take(log.shadow & (log.request_id == feed.request.request_id))
        pool = feed.scored["prerank"]
        np.testing.assert_array_equal(rows.item_id, np.sort(pool.ids))
        scores = bundle.index.scores(feed.request.features["user_vector"][0], ids=rows.item_id)
        np.testing.assert_array_equal(rows.prerank, scores)
        ranked = feed.scored["rank"]
        np.testing.assert_allclose(rows.fused[np.searchsorted(rows.item_id, ranked.ids)], ranked.scores, atol=1e-6)
        assert feed.trace.steps[-1].notes == {"pool": len(pool), "scored": len(pool)}
        assert feed.degraded == ()
        plain = cascade.run(Request(feed.request.user_id, time_ms=feed.request.time_ms))
        np.testing.assert_array_equal(plain.candidates.ids, feed.candidates.ids)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ('pool = "nowhere"', "shadow watches the stage 'nowhere'"),
        ('stage = "nowhere"', "no stage 'nowhere'"),
        ("share = 2.0", "share must be above 0 and at most 1"),
    ],
)
def test_a_shadow_of_nothing_is_refused_with_its_place(job, key, message):
    config = job / "wrong.toml"
    share = "" if key.startswith("share") else "share = 0.02, "
    config.write_text((job / "karec.toml").read_text().replace("share = 0.02, ", f"{share}{key}, "))
    with pytest.raises(ConfigError, match=f"scenes.home.observers.*{message}"):
        Cascade.from_config(config, scene="home")


def test_consistency_is_told_of_drawn_and_of_logged_pools(job, shadowed, capsys):
    out = job / "consistency"
    arguments = ["--config", str(shadowed[0]), "--pools", "20", "--size", "300", "--log", str(job / "shadow_log")]
    assert cli.main(["evaluate", "consistency", *arguments, "--report", str(out)]) == 0
    assert "ranker's top 10 in 50" in capsys.readouterr().out
    report = json.loads((out / "consistency.json").read_text())
    assert (report["drawn"]["pools"], report["drawn"]["pool_size"]["most"]) == (20, 300)
    assert report["logged"]["pools"] == 6
    for measured in report.values():
        assert measured["measures"]["NDCG@50"]["value"] > 0
    assert cli.main(["evaluate", "consistency", *arguments[:6]]) == 0
    again = capsys.readouterr().out
    assert again and "logged" not in again


def test_export_tells_what_int8_costs(job, capsys):
    costs = job / "int8.json"
    assert cli.main(["export", "models", *WORLD, "--run", str(job / "run"), "--json", str(costs)]) == 0
    out = capsys.readouterr().out
    for words in ("towers, click", "ranker, like", "behind float32, paired", "Bytes"):
        assert words in out
    assert json.loads(costs.read_text())["quality"].keys() == {"towers", "ranker"}
    for name in ("user_tower", "item_tower", "ranker"):
        assert {f"{name}.int8.onnx", f"{name}.golden"} <= {path.name for path in (job / "run").iterdir()}


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
        (["evaluate", "--data", "world"], "--run DIR is missing"),
        (["evaluate", "consistency"], "--log DIR"),
        (["evaluate", "consistency", "--log", "nowhere"], "holds no rank log"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(arguments, message, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "command",
    ["demo", "train", "recommend", "evaluate", "evaluate ablation", "evaluate consistency", "export", "inspect"],
)
def test_help_teaches_by_example(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command.split(), "--help"])
    assert stopped.value.code == 0
    assert f"  karec {command} " in capsys.readouterr().out


def test_the_ablation_prints_its_tables_and_leaves_them(tmp_path, capsys):
    settings = tmp_path / "train.toml"
    settings.write_text("[ranker]\nepochs = 1\n[towers]\nepochs = 1\n[evaluation]\nresamples = 10\n")
    sizes = ["--works", "600", "--users", "60", "--exposures", "3000", "--pools", "5", "--size", "100"]
    rows = ["--rows", "popularity", "list-static", "teacher", "--seeds", "4"]
    arguments = ["evaluate", "ablation", *sizes, *rows, "--settings", str(settings), "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "static: + list" in shown and "NDCG of truth" in shown
    report = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["popularity", "list-static", "teacher"]
    assert report["seeds"] == [4] and report["measured_on"] == "test"
    assert (tmp_path / "out" / "ablation.md").read_text().startswith("world, measured on test")


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
