"""Exposure counters that processes share: real processes on one SQLite file, and a store that fails."""

import json
import logging
import multiprocessing
import os
import signal
import time
from unittest.mock import Mock

import numpy as np
import pytest
from exposure_setup import (
    NOW,
    SETTINGS,
    add_pages,
    index_with_50_items,
    make_controller,
    n_pages_of,
    random_pages,
    serve_shared_pages,
    settings_of_scene,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from karec.errors import Unavailable
from karec.exposure import shared_counters
from karec.exposure.arrays import encode
from karec.exposure.constraints import ExposureSettings, FairnessPenalty, Target
from karec.exposure.counters import ExposureCounters
from karec.exposure.guarantees import NewUnits
from karec.exposure.shared_counters import SharedCounters
from karec.online.store.sqlite import SqliteStore

DEADLINE_S = 30.0


class FailingStore:
    """A store whose calls raise ``error`` if it is set. ``is_answer_lost``: appends are committed first."""

    def __init__(self):
        self.store = SqliteStore(None)
        self.error = None
        self.is_answer_lost = False

    def __getattr__(self, name):
        def call(*arguments):
            is_late = self.is_answer_lost and name == "append_records"
            if self.error is not None and not is_late:
                raise self.error
            result = getattr(self.store, name)(*arguments)
            if is_late:
                raise self.error
            return result

        return call


@pytest.fixture
def store():
    return SqliteStore(None)


@pytest.fixture
def make_shared_controller(monkeypatch):
    """Returns controllers that merge only if a test calls ``merge``."""
    monkeypatch.setattr("karec.exposure.controller.MERGE_SECONDS", 3_600.0)
    controllers = []

    def make(store, **changed):
        controllers.append(make_controller(index_with_50_items(), store=store, **(SETTINGS | changed)))
        return controllers[-1]

    yield make
    for controller in controllers:
        controller._poller.stop()


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=30))
def test_merged_state_equals_all_pages_in_record_order(seed, turns):
    """Three processes append groups of pages in any order, and one starts late."""
    store, pages, expected = (
        SqliteStore(None),
        iter(random_pages(seed, 150)),
        ExposureCounters(settings_of_scene()),
    )
    processes = [SharedCounters(store, "home", settings_of_scene()) for _ in range(3)]
    units = NewUnits(0, {"works of 24 h": (np.array([1, 2, 3]), np.full(3, 10**15), np.array([0, 0, 2]))})
    for i, (number, n_pages) in enumerate(turns):
        entries = [next(pages) for _ in range(n_pages)] + ([units] if i == 4 else [])
        processes[number]._next_document_s = 0.0
        processes[number].add(entries)
        processes[number].exchange()
        for entry in entries:
            expected.add(entry)
    processes.append(SharedCounters(store, "home", settings_of_scene()))
    for process in processes:
        process.exchange()
        assert encode(process.merged.state()) == encode(expected.state())
        assert process.own_entries() == []


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 7), max_size=20))
def test_grouping_of_pages_into_records_changes_nothing(seed, group_sizes):
    states = []
    for sizes in (group_sizes, [1] * sum(group_sizes)):
        shared, pages = (
            SharedCounters(SqliteStore(None), "home", settings_of_scene()),
            iter(random_pages(seed, 140)),
        )
        for size in sizes:
            shared.add([next(pages) for _ in range(size)])
            shared.exchange()
        states.append(encode(shared.merged.state()))
    assert states[0] == states[1]


def test_controllers_that_share_a_store_publish_equal_dual_variables(store, make_shared_controller):
    shared = [make_shared_controller(store) for _ in range(2)]
    single = make_controller(index_with_50_items(), **SETTINGS)
    for i in range(8):
        add_pages(shared[i % 2], [1, 3, i], time_ms=NOW + i)
        shared[i % 2].merge()
        add_pages(single, [1, 3, i], time_ms=NOW + i)
    shared[0].merge()
    later = make_shared_controller(store)
    ids, columns = single.index.ids, single.index.columns.__getitem__
    expected = single.newest.penalties(ids, columns, NOW)
    assert len(np.unique(expected)) > 5
    for controller in (*shared, later):
        assert controller.to_json() == single.to_json()
        np.testing.assert_array_equal(controller.newest.penalties(ids, columns, NOW), expected)


def test_own_pages_count_at_once_and_once(store, make_shared_controller):
    controller, other = make_shared_controller(store), make_shared_controller(store)
    add_pages(controller, [1, 3])
    assert (n_pages_of(controller), n_pages_of(other)) == (10, 0)
    for _ in range(2):
        controller.merge()
        other.merge()
    assert (n_pages_of(controller), n_pages_of(other)) == (10, 10)


def test_process_that_missed_deleted_records_reads_the_document(store, make_shared_controller, monkeypatch):
    monkeypatch.setattr(shared_counters, "DOCUMENT_SECONDS", 0.0)
    late, writer = make_shared_controller(store), make_shared_controller(store)
    add_pages(late, [2, 4])
    late.merge()
    for i in range(6):
        add_pages(writer, [1, 3, i])
        writer.merge()
    assert len(store.read_records("exposure:home", 0)) < 5, "the document has the older records"
    add_pages(late, [7])
    late.merge()
    writer.merge()
    assert late.to_json() == writer.to_json() and n_pages_of(late) == 80


def test_only_the_process_with_the_lease_writes_the_document(store, make_shared_controller):
    first, second = make_shared_controller(store), make_shared_controller(store)
    add_pages(first, [1])
    first._shared._next_document_s = 0.0  # the start took the lease, without a record
    second._shared._next_document_s = 0.0
    first.merge()
    second.merge()
    assert store.read_document("exposure:home") is None


def test_pages_wait_while_the_store_is_away_and_are_shared_later(make_shared_controller, caplog):
    store = FailingStore()
    controller, other = make_shared_controller(store), make_shared_controller(store)
    store.error = Unavailable("the store is away")
    with caplog.at_level(logging.WARNING, "karec.exposure"):
        for _ in range(3):
            add_pages(controller, [1, 3])
            controller.merge()
    assert n_pages_of(controller) == 30 and controller.newest.by_item
    assert controller.sharing_counts() == {
        "is_degraded": 1,
        "failed_merges": 3,
        "entries_dropped": 0,
        "records_damaged": 0,
    }
    assert [record.levelname for record in caplog.records] == ["WARNING"], "once for an outage"
    store.error = None
    controller.merge()
    other.merge()
    assert other.to_json() == controller.to_json() and n_pages_of(other) == 30
    assert controller.sharing_counts()["is_degraded"] == 0


def test_append_whose_answer_was_lost_counts_once(make_shared_controller):
    store = FailingStore()
    controller = make_shared_controller(store)
    add_pages(controller, [1, 3])
    store.error, store.is_answer_lost = Unavailable("timeout"), True
    controller.merge()
    store.error, store.is_answer_lost = None, False
    controller.merge()
    controller.merge()
    assert n_pages_of(controller) == 10
    assert len(store.read_records("exposure:home", 0)) == 1


def test_oldest_pages_are_dropped_and_counted_if_the_store_stays_away(make_shared_controller, monkeypatch):
    monkeypatch.setattr(shared_counters, "MAX_WAITING", 15)
    store = FailingStore()
    controller = make_shared_controller(store)
    store.error = Unavailable("the store is away")
    for i in range(4):
        add_pages(controller, [i])
        controller.merge()
    store.error = None
    controller.merge()
    dropped = controller.sharing_counts()["entries_dropped"]
    assert dropped > 0 and n_pages_of(controller) + dropped == 41, "40 pages and one search for new units"


def test_controller_starts_while_the_store_is_away(make_shared_controller):
    store = FailingStore()
    add_pages(first := make_shared_controller(store), [1, 3])
    first.merge()
    store.error = Unavailable("the store is away")
    controller = make_shared_controller(store)
    assert n_pages_of(controller) == 0 and controller.sharing_counts()["is_degraded"] == 1
    store.error = None
    controller.merge()
    assert controller.to_json() == first.to_json()


def test_damaged_document_is_rejected_at_start_and_reported_later(store, make_shared_controller, caplog):
    running = make_shared_controller(store)
    assert store.write_document("exposure:home", b"damaged", None)
    with pytest.raises(ValueError, match=r"document 'exposure:home' .* Delete the document"):
        make_shared_controller(store)
    add_pages(running, [1])
    running.merge()
    assert n_pages_of(running) == 10 and running.sharing_counts()["is_degraded"] == 1
    assert "Delete the document" in caplog.text


def test_damaged_document_is_replaced_by_a_process_that_has_all_records(store, make_shared_controller):
    running = make_shared_controller(store)
    add_pages(running, [1])
    running.merge()
    assert store.write_document("exposure:home", b"damaged", store.read_document("exposure:home"))
    running._shared._next_document_s = 0.0
    store.acquire_lease = lambda *_: True
    running.merge()
    assert make_shared_controller(store).to_json() == running.to_json()


def test_processes_go_on_from_their_counters_if_the_store_is_emptied(make_shared_controller):
    store = FailingStore()
    controllers = [make_shared_controller(store) for _ in range(2)]
    for _ in range(3):
        add_pages(controllers[0], [1, 3])
        for controller in controllers:
            controller.merge()
    store.store = SqliteStore(None)
    for controller in (*controllers, *controllers):
        add_pages(controller, [2])
        controller.merge()
    controllers[0].merge()
    assert [n_pages_of(controller) for controller in controllers] == [70, 70]


def test_records_read_before_a_failure_are_counted(make_shared_controller):
    store = FailingStore()
    controller, other = make_shared_controller(store), make_shared_controller(store)
    add_pages(other, [1, 3])
    other.merge()
    controller._shared._write_document = Mock(side_effect=Unavailable("the store is away"))
    controller.merge()
    assert n_pages_of(controller) == 10 and controller.sharing_counts()["is_degraded"] == 1


def test_successor_that_shares_the_store_counts_pages_of_both_once(store, make_shared_controller):
    old, new = make_shared_controller(store), make_shared_controller(store)
    add_pages(old, [1, 3])
    old.transfer_to(new)
    add_pages(old, [2])
    add_pages(new, [4])
    old.close()
    new.merge()
    assert n_pages_of(new) == 30


def test_successor_has_the_state_if_the_store_is_away(make_shared_controller):
    store = FailingStore()
    old = make_shared_controller(store)
    add_pages(old, [1, 3])
    store.error = Unavailable("the store is away")
    new = make_shared_controller(store)
    old.transfer_to(new)
    assert n_pages_of(new) == 10 and new.newest.by_item
    store.error = None
    old.close()
    new.merge()
    assert n_pages_of(new) == 10


def test_damaged_record_is_left_out_and_counted(store, make_shared_controller):
    controller = make_shared_controller(store)
    store.append_records("exposure:home", [b"damaged"])
    add_pages(controller, [1])
    controller.merge()
    assert n_pages_of(controller) == 10
    assert controller.sharing_counts()["records_damaged"] == 1


def test_records_of_other_constraints_count_for_constraints_of_the_same_name(store):
    old = SharedCounters(store, "home", settings_of_scene())
    new = SharedCounters(
        store,
        "home",
        ExposureSettings(
            targets=(Target({"2": 0.1}, column="tag"), *settings_of_scene().targets),
            fairness=(FairnessPenalty(1.0, exposures=2.0),),
            rate=0.05,
        ),
    )
    old.add(random_pages(3))
    old.exchange()
    new.exchange()
    before, after = old.merged.state(), new.merged.state()
    assert {name: after.targets[name] for name in before.targets} == before.targets
    assert after.targets["tag 2"][0] == pytest.approx(0.0, abs=1e-12)
    assert after.fairness["works"].recent == before.fairness["works"].recent


def test_two_processes_count_each_others_pages(tmp_path):
    path, n_pages = tmp_path / "online.db", 50
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    processes = [
        context.Process(target=serve_shared_pages, args=(path, n_pages, reports), daemon=True)
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    states = [reports.get(timeout=DEADLINE_S) for _ in processes]
    for process in processes:
        process.join(DEADLINE_S)
        assert process.exitcode == 0
    assert states[0] == states[1] and json.loads(states[0])["n_pages"] == 2 * n_pages


def test_killed_process_loses_only_pages_that_it_had_not_appended(tmp_path):
    path = tmp_path / "online.db"
    context = multiprocessing.get_context("spawn")
    killed = context.Process(target=serve_shared_pages, args=(path, None, None), daemon=True)
    killed.start()
    reader = SharedCounters(SqliteStore(path), "home", ExposureSettings(**SETTINGS))

    def n_pages():
        reader.exchange()
        return reader.merged.n_pages

    wait_until(lambda: n_pages() >= 20)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    before = n_pages()
    assert before % 10 == 0, "a record is read as a whole"
    other = context.Process(target=serve_shared_pages, args=(path, before + 30, None), daemon=True)
    other.start()
    other.join(DEADLINE_S)
    assert other.exitcode == 0 and n_pages() == before + 30
