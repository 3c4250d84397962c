"""Effects of single constraints on items add up to the penalties that requests subtract."""

import numpy as np
import pytest
from exposure_setup import SETTINGS, add_pages, index_with_50_items, make_controller

from karec.exposure.constraints import ExposureSettings
from karec.exposure.effects import constraint_effects
from karec.exposure.shared_counters import read_counters
from karec.online.store.sqlite import SqliteStore


@pytest.fixture(scope="module")
def shared():
    """An index, a controller that counted pages, and the counters in its store."""
    index, store = index_with_50_items(), SqliteStore(None)
    controller = make_controller(index, store=store, **SETTINGS)
    add_pages(controller, [1, 3, 5, 7, 8, 13], n_pages=60)
    controller.merge()
    settings = ExposureSettings(**SETTINGS)
    yield index, controller, settings, store
    controller.close()


def test_effects_of_each_item_add_up_to_its_penalty(shared):
    index, controller, settings, store = shared
    counters = read_counters(store, "home", settings)
    columns = {name: index.columns[name] for name in index.columns}
    penalties = controller.newest.penalties(index.ids, columns.__getitem__, counters.time_ms)
    assert (penalties > 0).any() and (penalties < 0).any()
    for row, penalty in enumerate(penalties):
        one = {name: values[[row]] for name, values in columns.items()}
        effects = constraint_effects(counters, settings, index.ids[[row]], one)
        assert sum(effect.lowest for effect in effects) == pytest.approx(penalty)
        assert all(effect.lowest == effect.highest for effect in effects)


def test_effects_name_each_constraint_and_count_its_items(shared):
    index, _, settings, store = shared
    counters = read_counters(store, "home", settings)
    columns = {name: index.columns[name] for name in index.columns}
    effects = {one.constraint: one for one in constraint_effects(counters, settings, index.ids, columns)}
    assert [*effects] == [
        "target type 1",
        "cap creator_id",
        "guarantee works of 24 h",
        "fairness creator_id",
        "fairness of items",
    ]
    assert effects["target type 1"].n_items == np.count_nonzero(columns["type"] == 1)
    guarantee = effects["guarantee works of 24 h"]
    below = counters.guarantees[0]
    n_below = int((below.counts < 4).sum())
    assert guarantee.state == f"{len(below.keys)} new items, {n_below} below 4 impressions"
    assert guarantee.highest < 0


def test_read_counters_writes_nothing_and_reads_what_the_scene_shares(shared):
    _, controller, settings, store = shared
    before = store.read_document("exposure:home"), store.read_records("exposure:home", 0)
    counters = read_counters(store, "home", settings)
    assert counters.n_pages == controller.snapshot()["pages"] > 0
    assert (store.read_document("exposure:home"), store.read_records("exposure:home", 0)) == before
    assert read_counters(store, "other", settings).n_pages == 0
