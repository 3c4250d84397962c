"""Output of recommend, evaluate and inspect, for people and for programs."""

import json

import pytest

from karec import cli
from karec.cli.output import make_console, text_table


def test_console_prints_brackets_and_colons_unchanged(capsys):
    names = "karec[cli]", "a song [/live]", ":smile:"
    console = make_console()
    console.print(f"note: {', '.join(names)}")
    console.print(text_table("[of] works", ["work"], [[name] for name in names]))
    note, title, *rows = capsys.readouterr().out.splitlines()
    assert note == f"note: {', '.join(names)}" and title.strip() == "[of] works"
    assert all(any(name in row for row in rows) for name in names)


def test_recommend_does_not_write_to_the_rank_log(job, capsys):
    before = sorted((job / "rank_log").iterdir())
    assert cli.main(["recommend", str(job / "karec.toml"), "--user", "10000001", "--json"]) == 0
    assert sorted((job / "rank_log").iterdir()) == before


def test_evaluate_consistency_reports_drawn_and_logged_pools(job, shadowed, capsys):
    arguments = [
        str(shadowed[0]),
        "--pools",
        "20",
        "--size",
        "300",
        "--log",
        str(job / "shadow_log"),
    ]
    arguments += ["--recalled", "3"]
    assert cli.main(["evaluate", "consistency", *arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    drawn, logged = report["consistency"]["drawn"], report["consistency"]["logged"]
    assert (drawn["pools"], drawn["pool_size"]["max"], logged["pools"]) == (20, 300, 6)
    for measured in (drawn, logged):
        assert measured["measures"]["NDCG@50"]["value"] > 0
    recalled, logged = report["funnel_loss"]["recalled"], report["funnel_loss"]["logged"]
    assert (recalled["requests"], logged["requests"]) == (3, 6)
    for loss in (recalled, logged):
        assert 0 < loss["prerank"]["top10"] <= 1 and 0 < loss["inner_product"]["top100"] <= 1
    assert cli.main(["evaluate", "consistency", *arguments[:5], "--recalled", "0"]) == 0
    again = capsys.readouterr().out
    assert "ranker's top 10 in 50" in again and "logged" not in again


def test_recommend_prints_one_json_document(job, capsys):
    config = str(job / "karec.toml")
    assert cli.main(["recommend", config, "--user", "999", "--k", "3", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert len(page["items"]) == 3
    assert page["is_cold_start"] is True
    assert page["trace"][0]["step"] == "user_features"


def test_recommend_prints_the_page_and_its_trace(job, capsys):
    assert cli.main(["recommend", str(job / "karec.toml"), "--user", "999", "--trace"]) == 0
    out = capsys.readouterr().out
    for words in ("Page for user 999", "page for a new user", "Trace", "inner_product"):
        assert words in out


def test_recommend_gives_the_reason_for_a_short_page(job, capsys):
    arguments = [str(job / "karec.toml"), "--user", "10000001", "--k", "500"]
    assert cli.main(["recommend", *arguments]) == 0
    assert "386 of 500 items: prerank.top_k keeps at most 386" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["recommend", *arguments, "--json"]) == 0
    short = json.loads(capsys.readouterr().out)["shortfall"]
    assert (short["wanted"], short["got"]) == (500, 386)
    assert (short["step"], short["reason"]) == ("prerank.top_k", "limit")


def test_recommend_explains_the_selection_of_the_dpp(job, capsys):
    config = str(job / "karec.toml")
    assert cli.main(["recommend", config, "--user", "999", "--explain", "--trace"]) == 0
    out = capsys.readouterr().out
    for words in ("rerank.dpp", "closest", "top k"):
        assert words in out
    assert cli.main(["recommend", config, "--user", "999", "--explain", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    (explanation,) = (step["notes"]["explanation"] for step in page["trace"] if step["step"] == "dpp")
    ids = [work["id"] for work in explanation["works"]]
    assert {item["item_id"] for item in page["items"]} <= set(ids)
    assert len(explanation["top_k"]) == len(ids)
    closest = [work["closest"] for work in explanation["works"]]
    assert closest[0] is None
    assert all(closest[position] in ids[:position] for position in range(1, len(ids)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bundles", "verified"),
        ("bundles/current/index.karec", "dimensions"),
        ("rank_log", "requests"),
        ("karec.toml", "karec recommend"),
        ("stages-home.json", "C and C++ hosts; karec export stage"),
    ],
)
def test_inspect_prints_the_content_and_its_reader(job, capsys, name, words):
    assert cli.main(["inspect", str(job / name)]) == 0
    assert words in capsys.readouterr().out


def test_lab_ablation_prints_and_writes_its_tables(tmp_path, capsys):
    settings = tmp_path / "train.toml"
    settings.write_text(
        'ranker = { kind = "mmoe", epochs = 1 }\ntowers.epochs = 1\nevaluation.resamples = 10\n'
    )
    sizes = ["--works", "600", "--users", "60", "--exposures", "3000", "--pools", "5", "--size", "100"]
    rows = ["--rows", "lr", "--rows", "list", "--rows", "teacher", "--seeds", "4"]
    arguments = [
        "lab",
        "ablation",
        "world",
        *sizes,
        *rows,
        "--settings",
        str(settings),
        "--out",
        str(tmp_path / "out"),
    ]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "+ the pools' order" in shown and "NDCG of truth" in shown
    report = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["lr", "list", "teacher"]
    assert report["seeds"] == [4] and report["measured_on"] == "test"
    assert (tmp_path / "out" / "ablation.md").read_text().startswith("world, measured on test")
