"""recommend, evaluate, export, inspect: what people see and what programs read."""

import json

import pytest

from karec import cli
from karec.cli.output import make_console, text_table


def test_names_with_brackets_and_colons_are_printed_as_they_are(capsys):
    names = "karec[cli]", "a song [/live]", ":smile:"
    console = make_console()
    console.print(f"note: {', '.join(names)}")
    console.print(text_table("[of] works", ["work"], [[name] for name in names]))
    note, title, *rows = capsys.readouterr().out.splitlines()
    assert note == f"note: {', '.join(names)}" and title.strip() == "[of] works"
    assert all(any(name in row for row in rows) for name in names)


def test_recommend_writes_nothing_to_the_rank_log(job, capsys):
    before = sorted((job / "rank_log").iterdir())
    assert cli.main(["recommend", str(job / "karec.toml"), "--user", "10000001", "--json"]) == 0
    assert sorted((job / "rank_log").iterdir()) == before


def test_evaluate_consistency_reports_drawn_and_logged_pools(job, shadowed, capsys):
    out = job / "consistency"
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
    assert cli.main(["evaluate", "consistency", *arguments, "--report", str(out)]) == 0
    assert "ranker's top 10 in 50" in capsys.readouterr().out
    report = json.loads((out / "consistency.json").read_text())
    assert (report["drawn"]["pools"], report["drawn"]["pool_size"]["most"]) == (20, 300)
    assert report["logged"]["pools"] == 6
    for measured in (report["drawn"], report["logged"]):
        assert measured["measures"]["NDCG@50"]["value"] > 0
    recalled, logged = report["funnel_loss"]["recalled"], report["funnel_loss"]["logged"]
    assert (recalled["requests"], logged["requests"]) == (3, 6)
    assert list(recalled["by_pool_size"]) == ["1000"]
    for loss in (recalled, logged):
        assert 0 < loss["prerank"]["top10"] <= 1 and 0 < loss["inner_product"]["top100"] <= 1
    assert cli.main(["evaluate", "consistency", *arguments[:5], "--recalled", "0"]) == 0
    again = capsys.readouterr().out
    assert again and "logged" not in again


def test_recommend_prints_json_that_a_program_can_read(job, capsys):
    config = str(job / "karec.toml")
    assert cli.main(["recommend", config, "--user", "999", "--k", "3", "--json"]) == 0
    feed = json.loads(capsys.readouterr().out)
    assert len(feed["items"]) == 3
    assert feed["cold_start"] is True
    assert feed["trace"][0]["step"] == "user_features"


def test_recommend_shows_people_the_feed_and_its_trace(job, capsys):
    assert cli.main(["recommend", str(job / "karec.toml"), "--user", "999", "--trace"]) == 0
    out = capsys.readouterr().out
    for words in ("Page for user 999", "page for a new user", "Trace", "inner_product"):
        assert words in out


def test_recommend_says_why_there_are_fewer_works_than_wanted(job, capsys):
    arguments = [str(job / "karec.toml"), "--user", "10000001", "--k", "50"]
    assert cli.main(["recommend", *arguments]) == 0
    assert "30 of 50 items: rerank.dpp keeps at most 30" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["recommend", *arguments, "--json"]) == 0
    short = json.loads(capsys.readouterr().out)["short"]
    assert (short["wanted"], short["got"], short["step"], short["reason"]) == (50, 30, "rerank.dpp", "limit")


def test_recommend_explains_what_both_dpp_steps_chose(job, capsys):
    config = str(job / "karec.toml")
    assert cli.main(["recommend", config, "--user", "999", "--explain", "--trace"]) == 0
    out = capsys.readouterr().out
    for words in ("prerank.dpp: ", "rerank.dpp: ", "closest", "top k"):
        assert words in out
    assert cli.main(["recommend", config, "--user", "999", "--explain", "--json"]) == 0
    feed = json.loads(capsys.readouterr().out)
    told = {
        step["stage"]: step["notes"].get("explanation") for step in feed["trace"] if step["step"] == "dpp"
    }
    assert told.keys() == {"prerank", "rerank"}
    for explained in told.values():
        ids = [work["id"] for work in explained["works"]]
        assert {item["id"] for item in feed["items"]} <= set(ids) and len(explained["top_k"]) == len(ids)
        for place, work in enumerate(explained["works"]):
            assert work["closest"] is None if place == 0 else work["closest"] in ids[:place]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("bundles", "verified"),
        ("bundles/current/index.karec", "dimensions"),
        ("rank_log", "requests"),
        ("karec.toml", "karec recommend"),
        ("prerank-home.txt", "C and C++ hosts; karec export stage"),
    ],
)
def test_inspect_names_what_a_file_or_folder_of_karec_holds_and_what_reads_it(job, capsys, what, words):
    assert cli.main(["inspect", str(job / what)]) == 0
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "evaluate consistency karec.toml --pools -3",
            "'--pools': Input should be greater than or equal to 1",
        ),
        (
            "evaluate consistency karec.toml --recalled -1",
            "'--recalled': Input should be greater than or equal to 0",
        ),
        ("recommend karec.toml --user 1 --k 1.5", "'--k': Input should be a valid integer"),
    ],
)
def test_counts_out_of_range_are_refused_by_name(words, message, capsys):
    assert cli.main(words.split()) == 2
    assert message in capsys.readouterr().err


def test_the_ablation_prints_its_tables_and_leaves_them(tmp_path, capsys):
    settings = tmp_path / "train.toml"
    settings.write_text("ranker.epochs = 1\ntowers.epochs = 1\nevaluation.resamples = 10\n")
    sizes = ["--works", "600", "--users", "60", "--exposures", "3000", "--pools", "5", "--size", "100"]
    rows = ["--rows", "popularity", "--rows", "list", "--rows", "teacher", "--seeds", "4"]
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
    assert [row["name"] for row in report["rows"]] == ["popularity", "list", "teacher"]
    assert report["seeds"] == [4] and report["measured_on"] == "test"
    assert (tmp_path / "out" / "ablation.md").read_text().startswith("world, measured on test")
