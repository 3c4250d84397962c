"""ExposureController: versions that requests read, and pending pages."""

import json
import time

import numpy as np
import pytest
from exposure_setup import GUARANTEES, NOW, TARGETS, add_pages, index_with_50_items, make_controller

from karec.catalog.schema import Meaning
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.exposure.constraints import Cap, FairnessPenalty, Target
from karec.exposure.controller import PAGES_PER_UPDATE
from karec.times import HOUR_MS


@pytest.fixture
def index():
    return index_with_50_items()


@pytest.fixture
def controller(index):
    return make_controller(index, targets=TARGETS, rate=0.05)


def test_penalty_of_an_item_is_the_sum_of_its_dual_variables(index):
    controller = make_controller(
        index, targets=TARGETS, rate=0.05, caps=(Cap("creator_id", 0.1),), guarantees=GUARANTEES
    )
    # creators -1, 0, -1, 1, -1; the guarantee is due
    add_pages(controller, [0, 1, 5, 7, 30], time_ms=NOW + 12 * HOUR_MS)
    newest, at = controller.newest, np.arange(50)
    type_1, young = newest.group_values.tolist()
    (of_items,) = newest.by_item
    ((column, of_creators),) = newest.by_column
    assert column == "creator_id" and of_creators.keys.tolist() == [0, 1]
    assert type_1 > 0 and young < 0 and len(of_items)
    expected = type_1 * (at % 2) + young * (at < 24) * (at < 0)
    for keys, values in ((at % 5 - 1, of_creators), (at + 1000, of_items)):
        for key, value in zip(values.keys.tolist(), values.values.tolist(), strict=True):
            expected = expected + value * (keys == key)
    later = newest.penalties(index.ids, index.columns.__getitem__, NOW + 12 * HOUR_MS)
    np.testing.assert_allclose(later, expected, rtol=1e-12)
    earlier = newest.penalties(index.ids, index.columns.__getitem__, NOW)
    np.testing.assert_allclose(earlier - later, young * (at < 12), rtol=1e-9, atol=1e-12)


def test_controller_updates_after_ten_pages_and_on_request(controller):
    add_pages(controller, [1, 3], PAGES_PER_UPDATE - 1)
    assert (controller.n_pending, controller.newest.version) == (PAGES_PER_UPDATE - 1, 0)
    controller.apply_pending()
    assert (controller.n_pending, controller.newest.version) == (0, 1)
    assert controller.snapshot()["pages"] == PAGES_PER_UPDATE - 1
    controller.apply_pending()
    assert controller.newest.version == 1, "no page is pending"


def test_published_versions_never_change(index):
    controller = make_controller(
        index,
        targets=TARGETS,
        caps=(Cap("creator_id", 0.2),),
        guarantees=GUARANTEES,
        fairness=(FairnessPenalty(1.0), FairnessPenalty(1.0, "creator_id")),
    )
    add_pages(controller, [0, 30], time_ms=NOW + HOUR_MS // 2)
    newest = controller.newest
    tables = [*newest.by_item, *(values for _, values in newest.by_column)]
    arrays = [newest.group_values, *(array for table in tables for array in (table.keys, table.values))]
    assert not any(array.flags.writeable for array in arrays)
    copies = [array.copy() for array in arrays]
    add_pages(controller, [1, 3, 5], 50)
    assert all((array == copy).all() for array, copy in zip(arrays, copies, strict=True))


def test_page_of_the_future_counts_as_of_now(index):
    """Otherwise its impressions would not decay until then."""
    controller = make_controller(index, fairness=(FairnessPenalty(1.0),))
    add_pages(controller, [7], time_ms=4_000_000_000_000)
    assert json.loads(controller.to_json())["time_ms"] <= time.time_ns() // 1_000_000
    assert controller.newest.by_item[0].keys.tolist() == [1007]


def test_earlier_impressions_and_rates_are_those_of_the_snapshot(index):
    items = Table(
        np.arange(1000, 1050),
        {"count_exposed": np.full(50, 3, np.float32), "count_like": np.ones(50, np.float32)},
    )
    snapshot = Snapshot(NOW, items, Table(np.array([1]), {}), {}, {}, meaning=Meaning(enjoyed=("like",)))
    controller = make_controller(index, snapshot, guarantees=GUARANTEES, explore=1)
    add_pages(controller, [0], time_ms=NOW + 12 * HOUR_MS)
    underexposed = controller.newest.underexposed
    assert underexposed.ids.tolist() == list(range(1001, 1012)), "younger than a day, shown 3 of 4 times"
    np.testing.assert_allclose(underexposed.alpha, 20 / 3 + 1)
    np.testing.assert_allclose(underexposed.beta, 40 / 3 + 2)


@pytest.mark.parametrize(
    "settings", [{"targets": (Target({"1": 0.3}, column="tone"),)}, {"caps": (Cap("tone", 0.3),)}]
)
def test_column_without_integers_is_rejected(index, settings):
    with pytest.raises(ValueError, match=r"s\[0\]: the column 'tone' has dtype float64, expected integers$"):
        make_controller(index, **settings)
