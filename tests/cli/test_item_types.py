"""`karec train DIR` builds item types from the tables [items.TYPE] of a data.toml."""

import json
import shutil

import numpy as np
import pytest
from room_files import AUTHORS, write_rooms

import karec
from karec.bundle import Bundle
from karec.cli import main
from karec.config import scene_names
from karec.config.online import open_contents

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


def test_publish_takes_the_item_types_of_the_data(trained, tmp_path):
    options = ["--run", str(trained / "out" / "run"), "--out", str(tmp_path)]
    assert main(["publish", str(trained), *options]) == 0
    published, bundle = Bundle.open(trained / "out" / "bundles"), Bundle.open(tmp_path / "bundles")
    assert bundle.item_types == ["creator", "live", "room"]
    for name in ("live", "room"):
        index, expected = bundle.item_type(name).index, published.item_type(name).index
        assert len(index) == len(expected)
        vectors = [one.embeddings(one.lookup(expected.ids)) for one in (index, expected)]
        np.testing.assert_array_equal(*vectors)
    assert scene_names(tmp_path / "karec.toml") == ["home", "live", "room"]


def test_counters_of_rooms_start_at_zero_or_at_the_sum_of_their_works(trained):
    bundle = Bundle.open(trained / "out" / "bundles")
    live, room = (bundle.item_type(name).snapshot.works for name in ("live", "room"))
    labels = ["watch_1m", "watch_5m", "watch_30m"]
    assert {name for name in live.columns if name.startswith("count_")} == {
        "count_exposed",
        *(f"count_{label}" for label in labels),
    }
    assert not live["count_exposed"].any()
    assert set(labels) < set(open_contents(bundle).head.labels)
    works = bundle.snapshot.works
    for row, creator in enumerate(room["creator_id"].tolist()):
        of_room = works["creator_id"] == creator
        assert room["count_positive"][row] == works["count_positive"][of_room].sum()


def test_events_open_block_and_upload_rooms_of_files(trained, tmp_path):
    shutil.copytree(trained / "out", tmp_path / "out", symlinks=True)
    config = tmp_path / "out" / "karec.toml"
    online = '[online]\nurl = "sqlite:online.db"\nopen_minutes = { live = 60 }\n\n[scenes.home]'
    config.write_text(config.read_text().replace("[scenes.home]", online, 1))
    room = {"item_type": "live"}
    with karec.open(config, scene="live", reload=True) as live:

        def rooms():
            return {item.item_id for item in live.run(karec.Request("c-3", k=9, scene="live"))}

        assert rooms() == set()
        impression = {"event": "impression", "user_id": "c-3", "scene": "live", "labels": ["watch_1m"]}
        opened = [room | {"event": "open", "item_id": item_id} for item_id in ("r-1", "r-3", "r-9")]
        upload = {"event": "upload", "item_id": "r-9", "creator_id": "a-2", "columns": {"topic": "talk"}}
        rows = [room | upload, *opened, room | impression | {"item_id": "r-1"}]
        assert not live.record(rows).refused
        assert rooms() == {"r-1", "r-3", "r-9"}
        assert not live.record([room | {"event": "block", "item_id": "r-3"}]).refused
        assert rooms() == {"r-1", "r-9"}
