"""A log without times, from its CSV files to pages and to retrieval, by commands only."""

import json
import random
import tomllib

import pytest

from karec.cli import main

N_USERS = 60
N_ITEMS = 40
DATA = """\
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
features.history_length = 16
optimizer.batch_size = 64
ranker = { epochs = 1, members = 1 }
distil.library_works = 16
towers = { epochs = 4, vector = 16 }
evaluation = { baselines = [], resamples = 20 }
run.threads = 1
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folder with a data.toml. Each user plays songs of one of four tags, and a few others."""
    folder = tmp_path_factory.mktemp("plays")
    generator = random.Random(0)
    rows = []
    for user in range(N_USERS):
        own = [item for item in range(N_ITEMS) if item % 4 == user % 4]
        items = {*generator.sample(own, 8), *generator.sample(range(N_ITEMS), 4)}
        rows += [f"u{user},song {item}" for item in sorted(items)]
    generator.shuffle(rows)
    tags = [f"song {item},kind {item % 4}" for item in range(N_ITEMS)]
    for name, head, lines in (
        ("plays", "who,what", rows),
        ("songs", "song", [f"song {item}" for item in range(N_ITEMS)]),
        ("tagged", "song,tag", tags),
    ):
        (folder / f"{name}.csv").write_text("\n".join([head, *lines, ""]))
    (folder / "data.toml").write_text(DATA)
    return folder


@pytest.fixture(scope="module")
def out(data):
    """Folder of the training on the data."""
    (data / "train.toml").write_text(SETTINGS)
    out = data / "run"
    assert main(["train", str(data), "--settings", str(data / "train.toml"), "--out", str(out)]) == 0
    return out


def test_page_has_the_ids_of_the_songs(out, capsys):
    assert main(["recommend", str(out / "karec.toml"), "--user", "u7", "--k", "5", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert len(page["items"]) == 5 and all(item["item_id"].startswith("song ") for item in page["items"])


def test_validation_chooses_the_order_of_pages_for_positives_only(out):
    ranked_by = json.loads((out / "run" / "run.json").read_text()).get("ranked_by", "ranker")
    (scene,) = tomllib.loads((out / "karec.toml").read_text())["scenes"].values()
    (rank,) = [stage for stage in scene["stages"] if stage["name"] == "rank"]
    by_towers = {"use": "inner_product", "only_warm": True}
    order = {"ranker": {"use": "top_k"}, "als": {"use": "top_k"}, "towers": by_towers}[ranked_by]
    assert rank["steps"][-1] == {**order, "k": "rank"}


def test_run_has_the_recipe_and_notes_of_an_untimed_log(out):
    run = json.loads((out / "run" / "run.json").read_text())
    assert run["settings"]["distil"]["recipe"] == "retrieval"
    for words in ("no times", "negatives"):
        assert any(words in note for note in run["data"]["notes"])


def test_lab_final_fit_refuses_the_folder_of_a_finished_run(data, out, capsys):
    before = (out / "run" / "run.json").read_bytes()
    assert main(["lab", "final-fit", str(data), "--out", str(out / "run")]) != 0
    assert "a training finished here" in " ".join(capsys.readouterr().err.split())
    assert (out / "run" / "run.json").read_bytes() == before


def test_lab_retrieval_compares_with_simple_methods(data, capsys, tmp_path):
    command = ["lab", "retrieval", str(data), "--minutes", "0", "--seed", "4", "--report", str(tmp_path)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "retrieval.json").read_text())
    models = report["models"]
    assert set(models) == {"popularity", "EASE^R", "ALS", "BPR", "LightGCN", "towers, seed 4"}
    assert all(name in printed for name in models)
    assert any("no times" in note for note in report["notes"])
    for measures in models.values():
        for name in ("recall@20", "recall@100", "ndcg@20", "ndcg@100"):
            low, high = measures[name]["ci"]
            assert 0 <= low <= measures[name]["value"] <= high <= 1
    assert models["towers, seed 4"]["recall@20"]["value"] > models["popularity"]["recall@20"]["value"]
    assert (tmp_path / "retrieval.html").read_text().count("<table>") == 5
