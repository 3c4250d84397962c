"""From CSV files to pages by commands only."""

import json

import pytest
from own_files import shop_rows, write_log, write_shop
from own_logs import GENRES, ITEMS, listens, movie_ratings

from karec.bundle import Bundle
from karec.cli import main


@pytest.fixture(scope="module")
def movies(tmp_path_factory):
    """Folders of MovieLens's two CSV files, and of a training on them."""
    folder = movie_ratings(tmp_path_factory.mktemp("movies"))
    out = folder / "run"
    assert main(["data", "init", str(folder)]) == 0
    assert main(["train", str(folder), "--out", str(out), "--quick"]) == 0
    return folder, out


def test_ratings_become_a_page_of_movies(movies, capsys):
    _, out = movies
    command = ["recommend", str(out / "karec.toml"), "--k", "5", "--json"]
    assert main([*command, "--user", "7"]) == 0
    page = json.loads(capsys.readouterr().out)
    ids = [item["item_id"] for item in page["items"]]
    assert len(ids) == len(set(ids)) == 5 and set(ids) <= set(range(1000, 1000 + ITEMS))
    assert page["user_id"] == 7
    assert main([*command, "--user", "424242"]) == 0
    assert len(json.loads(capsys.readouterr().out)["items"]) == 5
    assert main([*command[:-1], "--user", "7"]) == 0
    printed = capsys.readouterr().out
    assert any(genre in printed for genre in GENRES)


def test_page_has_no_item_that_the_session_has_seen(movies, capsys):
    _, out = movies
    command = ["recommend", str(out / "karec.toml"), "--user", "7", "--json"]
    assert main(command) == 0
    first = [str(item["item_id"]) for item in json.loads(capsys.readouterr().out)["items"]]
    assert main([*command, *(word for item in first[:4] for word in ("--shown", item))]) == 0
    again = {str(item["item_id"]) for item in json.loads(capsys.readouterr().out)["items"]}
    assert not again & set(first[:4])


def test_bundle_has_the_roles_of_columns_and_no_creators(movies):
    _, out = movies
    bundle = Bundle.open(out / "bundles")
    works = bundle.snapshot.works
    assert "creator_id" not in works.columns and {"tag", "tag2"} <= works.columns.keys()
    assert set(bundle.snapshot.labels["tag"]) == set(GENRES)
    config = (out / "karec.toml").read_text()
    assert "quotas" not in config and 'use = "social"' not in config


def test_recommend_refuses_an_id_of_another_kind(movies, capsys):
    _, out = movies
    assert main(["recommend", str(out / "karec.toml"), "--user", "Ann"]) == 2
    assert "'Ann' is not an id of this bundle: its ids are integers" in capsys.readouterr().err


def test_data_check_prints_tables_and_columns_as_json(movies, capsys):
    folder, _ = movies
    assert main(["data", "check", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    events, items = report["tables"]
    assert (events["name"], events["rows"], events["kept"]) == ("events", 1500, 1500) and items[
        "kept"
    ] == ITEMS
    assert (
        report["format"] == 1 and report["shape"] == "impressions" and sum(report["parts"].values()) == 1500
    )
    assert {column["name"]: column["use"] for column in events["columns"]} == {
        "userId": "user", "movieId": "item", "timestamp": "time", "rating": "label liked, label rated"
    }  # fmt: skip


def test_data_check_fails_if_rows_cannot_be_used_unless_skipped(tmp_path, capsys):
    shop = write_shop(tmp_path / "shop", shop_rows())
    write_log(shop, [*shop_rows(), ("c-01", "sku 1", "never", 3, "home")])
    assert main(["data", "check", str(shop)]) == 2
    printed = capsys.readouterr()
    assert "log.csv:402" in printed.out and "1 of events" in printed.err and "--skip-bad" in printed.err
    assert main(["data", "check", str(shop), "--skip-bad"]) == 0
    assert main(["train", str(shop), "--out", str(tmp_path / "run")]) == 2
    assert "log.csv:402: column 'at': not a time" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_run_lists_columns_and_inputs_of_models(movies):
    _, out = movies
    run = json.loads((out / "run" / "run.json").read_text())
    columns = run["data"]["columns"]
    assert columns["events"]["rating"] == "label liked, label rated"
    assert (
        columns["items"]["genres"].startswith("categories tag, tag2")
        and columns["items"]["title"] == "not used"
    )
    assert run["inputs"]["works"]["tag"] == f"category, {len(GENRES)} values and one for all others"
    assert run["inputs"]["works"]["count_exposed"] == "logarithm of a count" and run["inputs"]["crosses"]


def test_data_init_keeps_an_existing_file(movies, capsys):
    folder, _ = movies
    before = (folder / "data.toml").read_bytes()
    assert main(["data", "init", str(folder)]) == 2
    assert "data.toml exists" in capsys.readouterr().err
    assert (folder / "data.toml").read_bytes() == before


def test_log_of_positives_is_noted_in_every_report(tmp_path, capsys):
    folder, out = listens(tmp_path / "listens"), tmp_path / "run"
    assert main(["data", "init", str(folder)]) == 0
    assert main(["data", "check", str(folder)]) == 0
    assert "note: the log has only positives" in capsys.readouterr().out
    assert main(["train", str(folder), "--out", str(out), "--quick"]) == 0
    assert "note: the log has only positives" in capsys.readouterr().out
    notes = json.loads((out / "run" / "run.json").read_text())["data"]["notes"]
    assert notes[0].startswith("the log has only positives")


STEPS_OF_ROLES = {
    "fresh": (
        'use = "popular"',
        'use = "fresh"\nquota = 5\n\n[[scenes.home.recall]]\nuse = "popular"',
        "published",
    ),
    "social": (
        'use = "popular"',
        'use = "social"\nquota = 5\n\n[[scenes.home.recall]]\nuse = "popular"',
        "friends",
    ),
    "freshness": (
        '{ use = "not_shown" },',
        '{ use = "not_shown" }, { use = "freshness", weight = 0.05, half_life_hours = 24 },',
        "upload_ms",
    ),
    "quota": (
        '{ use = "not_shown" },',
        '{ use = "not_shown" }, { use = "quota", column = "creator_id", at_most = 20 },',
        "creator_id",
    ),
    "dpp": ('{ use = "top_k" },', '{ use = "dpp", type_weight = 0.05 },', "type"),
}


@pytest.mark.parametrize("step", STEPS_OF_ROLES)
def test_step_that_needs_a_missing_role_is_refused(movies, capsys, step):
    _, out = movies
    before, after, role = STEPS_OF_ROLES[step]
    text = (out / "karec.toml").read_text()
    assert before in text
    (out / "other.toml").write_text(text.replace(before, after, 1))
    assert main(["recommend", str(out / "other.toml"), "--user", "7"]) == 2
    error = capsys.readouterr().err
    assert f"({step})" in error and role in error and "\n" not in error.strip()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--root", "/does/not/exist"], "--root is for kuairand, lastfm"),
        (["--works", "5"], "--works: sizes of the synthetic platform"),
    ],
)
def test_train_refuses_options_of_other_data(tmp_path, capsys, options, message):
    listens(tmp_path / "log")
    out = tmp_path / "out"
    assert main(["train", str(tmp_path / "log"), "--out", str(out), *options]) == 2
    assert message in capsys.readouterr().err
