"""The study of scene orders: two trainings of a small world, and the values of their pages."""

import json

import pytest
from small_settings import LISTS, SMALL

from karec.features.encoder import Encoder
from karec.lab.demo.scene_orders import compare_scene_orders, scene_orders_table
from karec.lab.simulate.world import make_world

pytestmark = pytest.mark.long
SETTINGS = SMALL.replace(
    ranker={"epochs": 1}, towers={"epochs": 1}, distil=LISTS, evaluation={"baselines": ()}
)


def test_study_compares_pages_with_and_without_impressions_of_item_types(tmp_path):
    def compare():
        return compare_scene_orders(
            lambda seed: make_world(300, 60, 3_000, seed=seed),
            SETTINGS,
            tmp_path,
            seeds=[0],
            scenes=["home", "song_request"],
            n_requests=10,
        )

    report = compare()
    learned = {
        order: Encoder.load(tmp_path / f"seed-0-{order}/run/encoder.npz").learned_labels
        for order in ("works", "all")
    }
    assert learned["works"] == {} and learned["all"].keys() == {"song", "creator", "live", "room"}
    for row in report.values():
        assert (
            row["requests"] == 10 and row["gain"]["ci"][0] <= row["gain"]["percent"] <= row["gain"]["ci"][1]
        )
    assert [row[0] for row in scene_orders_table(report).rows] == ["home", "song_request"]
    assert json.loads(json.dumps(compare())) == json.loads(json.dumps(report)), "a finished run is kept"
