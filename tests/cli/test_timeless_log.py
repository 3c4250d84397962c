"""A log without times, from its CSV to a feed and to what retrieval finds, by the commands alone."""

import json
import random
import tomllib

import pytest

from karec.cli import main

USERS, ITEMS = 60, 40
TOML = """\
[events]
path = "plays.csv"
columns = { user = "who", item = "what" }
[items]
path = "songs.csv"
id = "song"
roles = { tag = "tags" }
[items.values.tags]
path = "tagged.csv"
columns = { item = "song", value = "tag" }
[split]
by = "user"
history = 0.3
validation = 0.15
test = 0.2
"""
SETTINGS = """\
[features]
history_length = 16
[optimizer]
batch_size = 64
[ranker]
epochs = 1
members = 1
[distil]
library_works = 16
[towers]
epochs = 4
vector = 16
[evaluation]
baselines = []
resamples = 20
[run]
threads = 1
"""


@pytest.fixture(scope="module")
def plays(tmp_path_factory):
    """Users play the songs of one of four kinds, and a few others; (folder of the files, of what was
    made)."""
    folder = tmp_path_factory.mktemp("plays")
    generator = random.Random(0)
    rows = []
    for user in range(USERS):
        own = [item for item in range(ITEMS) if item % 4 == user % 4]
        taken = {*generator.sample(own, 8), *generator.sample(range(ITEMS), 4)}
        rows += [f"u{user},song {item}" for item in sorted(taken)]
    generator.shuffle(rows)
    (folder / "plays.csv").write_text("who,what\n" + "\n".join(rows) + "\n")
    (folder / "songs.csv").write_text("song\n" + "".join(f"song {item}\n" for item in range(ITEMS)))
    (folder / "tagged.csv").write_text(
        "song,tag\n" + "".join(f"song {at},kind {at % 4}\n" for at in range(ITEMS))
    )
    (folder / "data.toml").write_text(TOML)
    (folder / "train.toml").write_text(SETTINGS)
    out = folder / "run"
    assert main(["train", str(folder), "--settings", str(folder / "train.toml"), "--out", str(out)]) == 0
    return folder, out


def test_a_feed_has_the_songs_ids(plays, capsys):
    _, out = plays
    assert main(["recommend", str(out / "karec.toml"), "--user", "u7", "--k", "5", "--json"]) == 0
    feed = json.loads(capsys.readouterr().out)
    assert len(feed["items"]) == 5 and all(item["id"].startswith("song ") for item in feed["items"])


def test_the_towers_order_the_feed(plays):
    """On positives alone their order is ahead of the ranker's."""
    _, out = plays
    scene = tomllib.loads((out / "karec.toml").read_text())["scenes"]
    (stages,) = ([stage for stage in each["stages"] if stage["name"] == "rank"] for each in scene.values())
    assert stages[0]["steps"][-1] == {"use": "inner_product", "k": "rank"}


def test_the_run_says_how_it_was_split_and_that_it_retrieves(plays):
    _, out = plays
    run = json.loads((out / "run" / "run.json").read_text())
    assert run["settings"]["distil"]["recipe"] == "retrieval" and run["settings"]["towers"]["matching"]
    assert any("no times" in note for note in run["data"]["notes"])
    assert any("negatives" in note for note in run["data"]["notes"])


def test_retrieval_is_measured_against_peers(plays, capsys, tmp_path):
    folder, out = plays
    command = [
        "lab",
        "retrieval",
        str(folder),
        "--run",
        str(out / "run"),
        "--report",
        str(tmp_path),
    ]
    assert main(command) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "retrieval.json").read_text())
    assert set(report["models"]) == {"popularity", "item-kNN", "ALS", "BPR", "towers", "ranker"}
    assert all(name in printed for name in report["models"])
    assert any("no times" in note for note in report["notes"])
    for found in report["models"].values():
        for measure in ("recall@20", "recall@100", "ndcg@20", "ndcg@100"):
            low, high = found[measure]["ci"]
            assert 0 <= low <= found[measure]["value"] <= high <= 1
    assert (
        report["models"]["towers"]["recall@20"]["value"]
        > report["models"]["popularity"]["recall@20"]["value"]
    )
    assert (tmp_path / "retrieval.html").read_text().count("<table>") == 5


def test_a_preset_needs_the_folder_of_its_download(capsys):
    assert main(["train", "lastfm", "--out", "nowhere"]) == 2
    assert "--root DIR" in capsys.readouterr().err
