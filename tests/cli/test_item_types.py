"""`karec train DIR` builds item types from the tables [items.TYPE] of a data.toml."""

import json

import pytest
from room_files import AUTHORS, write_rooms

from karec.cli import main

SETTINGS = """
features = { dim = 4, min_count = 3, history_length = 5 }
ranker = { kind = "lr", epochs = 1 }
towers = { epochs = 1, hidden = 16, vector = 8 }
distil.recipe = "hard"
evaluation = { baselines = [], resamples = 40 }
run.threads = 1
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = write_rooms(tmp_path_factory.mktemp("platform"))
    (folder / "train.toml").write_text(SETTINGS)
    options = ["--out", str(folder / "out"), "--settings", str(folder / "train.toml")]
    assert main(["train", str(folder), *options]) == 0
    return folder


def test_train_serves_rooms_of_files_by_their_ids(trained, capsys):
    config = str(trained / "out" / "karec.toml")
    rooms = {"live": {f"r-{room}" for room in range(5)}, "room": {f"r-{room}" for room in range(AUTHORS)}}
    for scene, ids in rooms.items():
        capsys.readouterr()
        assert main(["recommend", config, "--user", "c-3", "--scene", scene, "--json"]) == 0
        assert {item["item_id"] for item in json.loads(capsys.readouterr().out)["items"]} == ids
