"""The value of a scene: three methods fill the same requests from the same items."""

from dataclasses import replace

import numpy as np
import pytest
from small_bundle import publish_small_bundle
from small_kinds import FIRST, rooms_of

from karec.config import load_cascade
from karec.config.templates import HOME, added_scene_text, home_scene_text
from karec.lab.studies.scenes import Filled, fill, scene_pages_table, scene_row, scenes_table
from karec.pipeline.types import Request


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    bundle = publish_small_bundle(tmp_path_factory.mktemp("scenes"), kinds=rooms_of)
    path = bundle.path.parent.parent / "karec.toml"
    kinds = {name: bundle.item_type(name).snapshot for name in bundle.item_types}
    home = home_scene_text(HOME, bundle.snapshot, {"click": 1.0})
    path.write_text("\n".join([home, added_scene_text("live", HOME, kinds)]))
    return replace(load_cascade(path, "live", bundle), side_effects=())


def requests_of(cascade, users, k=2):
    return [Request(user, k=k, scene="live", time_ms=cascade.bundle.snapshot.time_ms) for user in users]


def test_methods_select_from_the_filtered_items(live):
    items, open_ids = live.bundle.snapshot.works.ids, FIRST["live"] + np.array([2, 3, 5, 7])
    live.bundle.set_open(open_ids)
    lists = []

    def value_of(request, ids):
        lists.append(ids)
        return ids - FIRST["live"]

    filled = fill(live, lambda request, items: -items.ids, requests_of(live, (1, 2, 3)), value_of, items)
    live.bundle.set_open(items)
    assert all(len(ids) == 2 and set(ids.tolist()) <= set(open_ids.tolist()) for ids in lists)
    assert filled.eligible.tolist() == [4, 4, 4]
    assert filled.empty == 0
    assert filled.values["popular"].tolist() == [2.5] * 3  # ``popular`` scores 2 and 3 highest
    assert all(len(values) == 3 for values in filled.values.values())
    first = [ids.tolist() for ids in lists[:3]]
    assert list(filled.page) == first[2], "the cascade's page of the first request"
    table = scene_pages_table({"live": scene_row(filled, "rooms")})
    assert (table.head, table.rows) == (("scene", "1", "2"), [("live", *map(str, first[2]))])


def test_request_without_candidates_is_counted_and_skipped(live):
    items = live.bundle.snapshot.works.ids

    def requests():
        yield requests_of(live, (1,))[0]
        live.bundle.set_open(items[:0])
        yield requests_of(live, (2,))[0]
        live.bundle.set_open(items)

    filled = fill(
        live, lambda request, items: items.ids, requests(), lambda request, ids: np.ones(len(ids)), items
    )
    assert filled.empty == 1
    assert len(filled.eligible) == 1
    row = scene_row(filled, "one each")
    assert (row["requests"], row["without_items"]) == (1, 1)


def test_row_has_means_and_gains_in_percent():
    values = {"random": np.array([1.0, 1.0, 1.0, 1.0]), "popular": np.array([1.0, 2.0, 3.0, 2.0])}
    values["cascade"] = 2.0 * values["popular"]
    row = scene_row(Filled(values, np.array([5, 7, 9, 7]), 0), "apples")
    assert row["ways"]["popular"]["value"] == pytest.approx(2.0)
    assert row["ways"]["random"]["ci"] == pytest.approx((1.0, 1.0))
    assert row["gain"]["popular"]["percent"] == pytest.approx(100.0)
    # Gains are paired: each resample has the same users.
    assert row["gain"]["popular"]["ci"] == pytest.approx((100.0, 100.0))
    assert row["gain"]["random"]["percent"] == pytest.approx(300.0)
    assert row["eligible"] == 7


def test_table_has_a_row_per_scene_and_dashes_if_empty():
    empty = Filled({way: np.empty(0) for way in ("random", "popular", "cascade")}, np.empty(0, np.int64), 3)
    full = Filled({way: np.ones(2) for way in ("random", "popular", "cascade")}, np.full(2, 1000), 0)
    table = scenes_table({"live": scene_row(empty, "seconds"), "room": scene_row(full, "joins")})
    rows = table.rows
    assert [len(row) for row in rows] == [len(table.head)] * 2
    assert rows[0] == ("live", "seconds", "0", "–", "–", "–", "–", "–")
    assert rows[1][:5] == ("room", "joins", "2", "1,000", "1.0000 [1.0000, 1.0000]")
