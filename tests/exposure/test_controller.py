"""ExposureController: versions that requests read, pending pages, the state file, forks."""

import json
import os
import re
import threading
import time

import numpy as np
import pytest
from exposure_setup import (
    GUARANTEES,
    NOW,
    TARGETS,
    add_pages,
    index_with_50_items,
    make_controller,
)

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
    assert controller.to_dict()["time_ms"] <= time.time_ns() // 1_000_000
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


@pytest.fixture
def make_shared(index, tmp_path):
    """Returns controllers that share one state file."""
    return lambda: make_controller(index, folder=tmp_path, targets=TARGETS, rate=0.05, state="exposure.json")


def test_controllers_with_one_state_file_equal_one_controller(make_shared, controller):
    """Two controllers in turn equal one that counts every page; a later one continues from the file."""
    shared = [make_shared(), make_shared()]
    for i in range(8):
        add_pages(shared[i % 2], [1, 3, i])
        shared[i % 2].apply_pending()  # otherwise once a second
        add_pages(controller, [1, 3, i])
    targets = controller.snapshot()["targets"]
    assert shared[1].snapshot()["targets"] == targets
    later = make_shared()
    assert later.snapshot()["targets"] == targets and later.newest.group_values.all()


def test_state_file_is_read_and_written_once_a_second(make_shared, monkeypatch):
    now_s = 1_000.0
    monkeypatch.setattr("karec.exposure.controller.time.monotonic", lambda: now_s)
    controller = make_shared()
    add_pages(controller, [1, 3], 5 * PAGES_PER_UPDATE)
    assert (controller.newest.version, controller.n_pending) == (1, 4 * PAGES_PER_UPDATE)
    now_s += 1.0
    add_pages(controller, [1, 3], 1)
    assert (controller.newest.version, controller.n_pending) == (2, 0)
    assert controller.snapshot()["pages"] == 5 * PAGES_PER_UPDATE + 1


def test_concurrent_writers_of_a_state_file_lose_no_page(make_shared, tmp_path):
    def write(controller):
        for _ in range(5):
            add_pages(controller, [1, 3])
            controller.apply_pending()

    threads = [threading.Thread(target=write, args=(make_shared(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert json.loads((tmp_path / "exposure.json").read_text())["feeds"] == 4 * 5 * PAGES_PER_UPDATE


def test_unwritable_state_file_keeps_pages_pending(index, tmp_path):
    folder = tmp_path / "later"
    controller = make_controller(index, folder=folder, targets=TARGETS, state="exposure.json")
    with pytest.raises(FileNotFoundError):
        add_pages(controller, [1, 3])
    assert controller.n_pending == PAGES_PER_UPDATE
    folder.mkdir()
    controller.apply_pending()
    assert controller.n_pending == 0 and controller.snapshot()["pages"] == PAGES_PER_UPDATE


def test_damaged_state_file_is_rejected_by_name(make_shared, tmp_path):
    path = tmp_path / "exposure.json"
    message = re.escape(str(path)) + ".*; remove it to start with dual variables of 0$"
    for text in ("[]", "{", '{"format": 1}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            make_shared()


def test_child_of_fork_counts_without_the_pending_pages_of_its_parent(controller):
    stop = threading.Event()

    def write():
        while not stop.is_set():
            add_pages(controller, [1, 3], PAGES_PER_UPDATE + 1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                before = controller.snapshot()["pages"]
                add_pages(controller, [1, 3], 3)
                controller.apply_pending()
                is_right = controller.snapshot()["pages"] == before + 3 and controller.n_pending == 0
                os._exit(0 if is_right else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        writer.join()
