"""`karec train DIR` builds item types from the tables [items.TYPE] of a data.toml."""

import csv
import json

import numpy as np
import pytest
from own_files import START_S, write_log

from karec.bundle import Bundle
from karec.cli import main
from karec.config import load_cascades
from karec.data.load import load
from karec.errors import ConfigError, DataError

TOML = """
[events]
path = "log.csv"
columns = { user = "customer", item = "sku", time = "at" }
[meaning]
enjoyed = ["positive"]
[items]
path = "works.csv"
id = "sku"
roles = { creator = "author" }
[items.live]
path = "rooms.csv"
id = "room_id"
roles = { creator = "host_id", tag = "topic" }
works = { path = "room_works.csv", item = "room_id", work = "sku" }
labels = ["watch_1m", "watch_5m", "watch_30m"]
[items.room]
path = "rooms.csv"
id = "room_id"
roles = { creator = "host_id" }
works = "creator"
"""
SETTINGS = """
features = { dim = 4, min_count = 3, history_length = 5 }
ranker = { kind = "lr", epochs = 1 }
towers = { epochs = 1, hidden = 16, vector = 8 }
distil.recipe = "hard"
evaluation = { baselines = [], resamples = 40 }
run.threads = 1
"""
USERS, WORKS, AUTHORS, ROOMS = 40, 60, 6, 8


def write_rows(path, head, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def write_platform(folder, toml=TOML):
    """Writes a log of works and live rooms. The last two rooms are of a host without works."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(5)
    rows = [
        (f"c-{user}", f"w-{work}", START_S + int(generator.integers(0, 20 * 86_400)))
        for user in range(USERS)
        for work in generator.permutation(WORKS)[:12]
    ]
    write_log(folder, sorted(rows, key=lambda row: row[2]), head=("customer", "sku", "at"))
    write_rows(folder / "works.csv", ("sku", "author"), [(f"w-{w}", f"a-{w % AUTHORS}") for w in range(WORKS)])
    rooms = [(f"r-{room}", f"a-{room}", ("talk", "songs")[room % 2]) for room in range(ROOMS)]
    write_rows(folder / "rooms.csv", ("room_id", "host_id", "topic"), rooms)
    pairs = [(f"r-{room}", f"w-{room + 10 * place}") for room in range(5) for place in range(3)]
    pairs += [("r-0", "w-0"), ("r-99", "w-1"), ("r-5", "w-999")]
    write_rows(folder / "room_works.csv", ("room_id", "sku"), pairs)
    (folder / "data.toml").write_text(toml)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = write_platform(tmp_path_factory.mktemp("platform"))
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
