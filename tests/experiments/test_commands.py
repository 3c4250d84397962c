"""`karec experiment` plans, looks at and reports an experiment of drawn logs."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from experiment_logs import write_drawn_logs, write_requests
from live_bundle import live_config
from two_experiments import EXPERIMENTS

from karec.cli import main
from karec.errors import ConfigError
from karec.experiments.settings import end_experiment, read_experiments
from karec.times import HOUR_MS

END = "end = 2090-01-01T00:00:00Z"
DAYS = {"before": 14, "n_users": 4_000}


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    write_drawn_logs(
        folder, salt="ranking-2026", name="fusion", arms=("control", "likes"), effect=0.5, **DAYS
    )
    return ["--log", str(folder / "rank_log"), "--events", str(folder / "events")]


@pytest.fixture
def config(write_experiments):
    table = '[experiments.fusion.metrics]\nprimary = "like"\nothers = ["like/impression"]\ndays = 3\n'
    table += "guardrails = { impression = 0.2, like = 0.05 }\n\n[experiments.popular]"
    return write_experiments({"[experiments.popular]": table})


def test_status_prints_a_look_and_exits_with_3_if_an_arm_must_stop(config, logs, capsys):
    command = ["experiment", "status", str(config), "fusion", *logs]
    assert main([*command, "--json"]) == 3
    look = json.loads(capsys.readouterr().out)
    (primary,) = look["primary"]
    assert (primary["metric"], primary["arm"]) == ("like", "likes")
    assert primary["ci"][0] < 0.5 < primary["ci"][1] and primary["always_valid"][0] > 0
    assert look["stops"] == [["likes", "like"]] and not look["has_mismatch"]
    assert main(command) == 3
    text = capsys.readouterr().out
    assert "Guardrails" in text and "beyond the guardrail of like" in text


def test_status_exits_with_3_if_the_sample_ratio_is_wrong(config, logs, capsys):
    path = config.with_name("experiments.toml")
    path.write_text(
        path.read_text()
        .replace("weight = 0.5", "weight = 0.8", 1)
        .replace("likes = { weight = 0.5", "likes = { weight = 0.2")
    )
    command = ["experiment", "status", str(config), "fusion", *logs, "--assigned-by-caller", "--json"]
    assert main(command) == 3
    look = json.loads(capsys.readouterr().out)
    assert look["has_mismatch"] and not look["stops"]


def test_status_stops_the_experiment_in_its_file_if_asked_to(config, logs):
    path = config.with_name("experiments.toml")
    before = path.read_text()
    assert main(["experiment", "status", str(config), "fusion", *logs]) == 3 and path.read_text() == before
    assert main(["experiment", "status", str(config), "fusion", *logs, "--stop"]) == 3
    experiments = read_experiments(path).experiments
    assert abs(experiments["fusion"].end - datetime.now(UTC)) < timedelta(minutes=5)
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), path.read_text().splitlines(), strict=True)
        if old != new
    ]
    assert [old for old, _ in changed] == [END] and "popular" in experiments
    after = path.read_text()
    assert main(["experiment", "status", str(config), "fusion", *logs, "--stop"]) == 3  # the units until then
    assert path.read_text() == after  # its end stays


@pytest.mark.parametrize(
    "line",
    [
        "  end=2090-01-01 00:00:00Z",
        "end = 2090-01-01 00:00:00.5+08:00  # two weeks, perhaps more",
        "end = 2090-01-01T00:00:00Z # a=1, b=2",
    ],
)
def test_end_is_replaced_in_each_way_to_write_a_time(config, line):
    path = config.with_name("experiments.toml")
    path.write_text(path.read_text().replace(END, line, 1))
    now = datetime(2026, 12, 1, 4, tzinfo=UTC)
    end_experiment(path, "fusion", now)
    assert read_experiments(path).experiments["fusion"].end == now
    assert line.partition("#")[2] in path.read_text()


def test_end_that_shares_its_line_is_not_edited(tmp_path):
    path = tmp_path / "experiments.toml"
    times = "start = 2020-01-01T00:00:00Z, end = 2090-01-01T00:00:00Z"
    arms = 'arms = { a = { weight = 1.0, patches = { "scenes.home.rerank.dpp.diversity" = 0.8 } } }'
    text = f"""[layers.x]\nsalt = "x"\npaths = ["scenes.home.rerank"]
        [experiments]\nx = {{ layer = "x", {times}, {arms} }}\n"""
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"experiments\.toml:5: end is not alone on its line"):
        end_experiment(path, "x", datetime.now(UTC))
    assert path.read_text() == text


def test_report_is_one_page_and_json(config, logs, tmp_path, capsys):
    out = tmp_path / "report"
    assert main(["experiment", "report", str(config), "fusion", *logs, "--out", str(out)]) == 0
    page = (out / "fusion.html").read_text()
    assert json.loads((out / "fusion.json").read_text())["name"] == "fusion"
    assert page.count("<svg") == 1 and "like/impression" in page and "<script" not in page


def test_until_reads_only_logs_before_the_day(config, logs, capsys):
    command = ["experiment", "status", str(config), "fusion", *logs, "--json"]
    looks = []
    for until in ("2026-01-09", "2026-01-13"):
        main([*command, "--until", until])
        looks.append(json.loads(capsys.readouterr().out))
    complete = [sum(facts["complete"] for facts in look["facts"]) for look in looks]
    assert 0 < complete[0] < complete[1]


def test_plan_names_units_and_days(config, logs, capsys):
    command = ["experiment", "plan", str(config), "fusion", *logs, "--until", "2026-01-05", "--history", "7"]
    assert main([*command, "--effect", "0.2", "--json"]) == 0
    like, ratio = json.loads(capsys.readouterr().out)
    assert (like["metric"], ratio["metric"]) == ("like", "like/impression")
    assert 0 < like["units"] < like["units_without_cuped"] and like["days"] == like["exposure_days"] + 3
    assert main([*command, "--effect", "0.001"]) == 0
    assert "more than 7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "replacements", "message"),
    [
        ("fuson", {}, "no experiment 'fuson' (did you mean 'fusion'?), expected one of ['fusion', "),
        ("popular", {}, "the experiment 'popular' has no metrics"),
        ("fusion", {"layer = \"ranking\"": "layer = \"ranking\"\nversion = 2"}, "than version 2 assigns"),
    ],
)  # fmt: skip
def test_wrong_experiment_is_refused(config, logs, capsys, name, replacements, message):
    path = config.with_name("experiments.toml")
    text = path.read_text()
    for old, new in replacements.items():
        text = text.replace(old, new, 1)
    path.write_text(text)
    assert main(["experiment", "status", str(config), name, *logs]) == 2
    assert message in capsys.readouterr().err


def test_arms_of_a_caller_are_not_compared_with_the_assignment(config, logs):
    path = config.with_name("experiments.toml")
    path.write_text(path.read_text().replace('salt = "ranking-2026"', 'salt = "other"'))
    command = ["experiment", "status", str(config), "fusion", *logs]
    assert main(command) == 2 and main([*command, "--assigned-by-caller"]) == 3


def test_config_without_a_store_and_events_is_refused(config, logs, capsys):
    assert main(["experiment", "status", str(config), "fusion", *logs[:2]]) == 2
    assert "has no table [online]" in capsys.readouterr().err


def test_events_of_the_online_store_are_read(tmp_path, capsys):
    config = live_config(tmp_path)
    config.write_text(f'experiments = "experiments.toml"\n{config.read_text()}')
    text = EXPERIMENTS.replace("coverage = 0.8", 'metrics = { primary = "like", days = 1 }\ncoverage = 0.8')
    (tmp_path / "experiments.toml").write_text(text)
    now_ms = int(time.time() * 1e3)
    arms = {user: ("control", "likes")[user % 2] for user in range(1, 5)}
    write_requests(
        tmp_path / "log",
        [(f"r{user}", user, now_ms - 30 * HOUR_MS, {"fusion": arm}, ()) for user, arm in arms.items()],
    )
    rows = [
        {"event": "impression", "user_id": user, "item_id": 100, "labels": ["like"], "scene": "home",
         "time_ms": now_ms - hours * HOUR_MS}
        for user, hours in ((1, 29), (2, 28), (3, 5))
    ]  # fmt: skip
    lines = tmp_path / "rows.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)))
    assert main(["ingest", str(config), str(lines)]) == 0
    capsys.readouterr()
    command = ["experiment", "status", str(config), "fusion", "--log", str(tmp_path / "log")]
    assert main([*command, "--json", "--assigned-by-caller"]) == 0
    look = json.loads(capsys.readouterr().out)
    assert [facts["complete"] for facts in look["facts"]] == [2, 2] and look["left_out"] == {}
    assert abs(look["until_ms"] - (now_ms - 5 * HOUR_MS)) < 1_000
