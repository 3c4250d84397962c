"""Contract of an online store. A class for each store inherits these tests (``test_online_store.py``)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from karec.aggregates.events import BLOCK, EXPOSURE, Events
from karec.errors import DataError
from karec.online.store import records
from karec.online.store.online_store import START, OnlineStore, Read, StateUpdate

NOW_MS = 1_790_000_000_000


def impressions(numbers: list[int], user_id: int | list[int] = 7, item_id: int = 70) -> Events:
    return Events.from_columns(
        "exposure",
        source=2**64 - 1,
        number=np.array(numbers, np.uint64),
        time_ms=NOW_MS + np.array(numbers),
        logged_ms=NOW_MS + 5,
        user_id=user_id,
        item_id=item_id,
        labels=2**62,
        request_id="request ☃",
    )


def blocks(numbers: list[int], item_id: int) -> Events:
    return Events.from_columns(
        "block", source=3, number=np.array(numbers), time_ms=NOW_MS, logged_ms=NOW_MS, item_id=item_id
    )


def count(events: Events, read: Read) -> StateUpdate:
    """Counts impressions of each user and item; the value of an item's lifecycle is the newest block."""
    entries = dict[bytes, bytes | None]()
    base_counters = dict[bytes, bytes]()
    is_impression = events.kind == EXPOSURE
    shown = events.take(is_impression)
    for letter, column in ((records.USER_COUNTERS, shown.user_id), (records.WORK_COUNTERS, shown.item_id)):
        ids, counts = np.unique(column, return_counts=True)
        keys = records.keys_of(letter, ids)
        values = read(keys)
        for key, value, n in zip(keys, values, counts.tolist(), strict=True):
            entries[key] = (int.from_bytes(value or b"", "big") + n).to_bytes(8, "big")
            if letter == records.WORK_COUNTERS and value is None:
                base_counters[records.BASE_COUNTERS + key[1:]] = b"base"
    blocked = events.take(events.kind == BLOCK)
    for key, number in zip(
        records.keys_of(records.WORK_LIFE, blocked.item_id), blocked.number.tolist(), strict=True
    ):
        entries[key] = b"%d" % number
    return StateUpdate(entries, base_counters, is_impression)


def user_count(store: OnlineStore, user_id: int = 7) -> int:
    (value,) = store.read_user(user_id, records.keys_of(records.USER_COUNTERS, np.array([user_id])))
    return int.from_bytes(value or b"", "big")


def item_counts(store: OnlineStore) -> dict[int, int]:
    """Counts of items, summed over partitions."""
    counts = dict[int, int]()
    for key, value in store.snapshot([records.WORK_COUNTERS])[1]:
        item_id = records.id_of(key)
        counts[item_id] = counts.get(item_id, 0) + int.from_bytes(value, "big")
    return counts


def poll_to_end(store: OnlineStore, cursor: bytes = START, max_events: int = 100) -> list[Events]:
    parts = []
    while len((stored := store.poll(cursor, max_events)).events):
        parts.append(stored.events)
        cursor = stored.cursor
    assert store.poll(cursor, max_events).cursor == cursor
    return parts


class OnlineStoreContract:
    """``store``: an empty store. ``reopen``: a function that opens the same store once more."""

    @pytest.fixture
    def store(self) -> OnlineStore:
        raise NotImplementedError

    @pytest.fixture
    def reopen(self) -> Callable[[], OnlineStore]:
        raise NotImplementedError

    def test_append_commits_events_with_their_state(self, store):
        assert store.append(impressions([1, 2]), count).tolist() == [True, True]
        assert (user_count(store), item_counts(store)) == (2, {70: 2})
        assert not len(store.append(Events.empty(), count))

    def test_event_id_counts_once(self, store):
        events = impressions([1, 2, 1])
        assert store.append(events, count).tolist() == [True, True, False]
        assert store.append(events, count).tolist() == [False] * 3
        assert store.append(impressions([2, 3]), count).tolist() == [False, True]
        assert (user_count(store), item_counts(store)) == (3, {70: 3})
        assert sum(map(len, poll_to_end(store))) == 3

    def test_poll_returns_all_columns_in_commit_order(self, store):
        events = impressions([9, 4, 6])
        store.append(events, count)
        stored = store.poll(START, 100)
        assert stored.is_counted.tolist() == [True] * 3
        for name, expected in vars(events).items():
            column = getattr(stored.events, name)
            assert column.dtype == expected.dtype and column.tolist() == expected.tolist(), name

    def test_poll_continues_after_its_cursor(self, store, reopen):
        store.append(impressions([1, 2, 3, 4, 5]), count)
        first = store.poll(START, 2)
        store.append(blocks([6], 70), count)
        other = reopen()
        rest = poll_to_end(other, first.cursor, 2)
        numbers = [*first.events.number.tolist(), *(n for part in rest for n in part.number.tolist())]
        assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
        other.close()

    def test_event_of_a_kind_without_aggregates_is_not_counted(self, store):
        store.append(blocks([1], 70), count)
        assert store.poll(START, 10).is_counted.tolist() == [False]

    def test_append_deletes_entries_without_a_value(self, store):
        store.append(impressions([1]), count)
        (key,) = records.keys_of(records.USER_COUNTERS, np.array([7]))
        store.append(
            impressions([2]), lambda events, read: StateUpdate({key: None}, {}, np.ones(len(events), bool))
        )
        assert store.read_user(7, [key]) == [None]

    def test_failed_update_leaves_nothing(self, store):
        def fail(events: Events, read: Read) -> StateUpdate:
            raise DataError("other labels")

        with pytest.raises(DataError, match="other labels"):
            store.append(impressions([1]), fail)
        assert not poll_to_end(store)
        assert store.append(impressions([1]), count).tolist() == [True]

    def test_base_counters_of_an_item_are_written_once(self, store):
        store.append(impressions([1]), count)
        (key,) = records.keys_of(records.BASE_COUNTERS, np.array([70]))
        store.append(
            impressions([2], user_id=8),
            lambda events, read: StateUpdate({}, {key: b"later"}, np.ones(len(events), bool)),
        )
        assert store.read_items([key, *records.keys_of(records.WORK_LIFE, np.array([70]))]) == [b"base", None]

    def test_snapshot_has_the_state_as_of_its_cursor(self, store):
        store.append(impressions([1, 2], user_id=[7, 8]), count)
        store.append(blocks([3], 71), count)
        cursor, entries = store.snapshot([records.WORK_LIFE, records.WORK_COUNTERS, records.BASE_COUNTERS])
        store.append(impressions([4]), count)
        store.append(blocks([5], 72), count)
        by_letter = dict[bytes, int]()
        for key, value in entries:
            n = int.from_bytes(value, "big") if key[:1] == records.WORK_COUNTERS else 1
            by_letter[key[:1]] = by_letter.get(key[:1], 0) + n
        later = [*store.poll(cursor, 10).events.number.tolist()]
        later += [
            n for part in poll_to_end(store, store.poll(cursor, 10).cursor) for n in part.number.tolist()
        ]
        assert by_letter[records.WORK_COUNTERS] + later.count(4) == 3
        assert by_letter[records.WORK_LIFE] + later.count(5) == 2
        assert by_letter[records.BASE_COUNTERS] == 1

    def test_threads_and_stores_append_at_the_same_time(self, store, reopen):
        stores = [store, reopen()]

        def write(thread: int) -> None:
            for first in range(0, 100, 5):
                numbers = [1000 * (thread // 2) + first + n for n in range(5)]  # two threads send the same
                stores[thread % 2].append(impressions(numbers, user_id=7 + thread // 2), count)

        threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [user_count(stores[1], user_id) for user_id in (7, 8)] == [100, 100]
        assert item_counts(store) == {70: 200}
        assert sum(map(len, poll_to_end(store))) == 200
        stores[1].close()

    def test_committed_events_are_in_a_store_that_is_opened_again(self, store, reopen):
        store.append(impressions([1]), count)
        other = reopen()
        assert user_count(other) == 1
        assert other.append(impressions([1]), count).tolist() == [False]
        other.close()
        other.close()

    def test_records_are_read_after_a_number_and_trimmed(self, store):
        store.append_records("home", [b"a", b"b"])
        store.append_records("city", [b"x"])
        store.append_records("home", [b"c"])
        numbers, values = zip(*store.read_records("home", 0), strict=True)
        assert values == (b"a", b"b", b"c") and list(numbers) == sorted(set(numbers))
        assert store.read_records("home", numbers[1]) == [(numbers[2], b"c")]
        store.trim_records("home", numbers[2])
        assert store.read_records("home", 0) == []
        store.append_records("home", [b"d"])
        ((number, _),) = store.read_records("home", 0)
        assert number > numbers[2]
        assert [value for _, value in store.read_records("city", 0)] == [b"x"]

    def test_document_is_written_only_over_the_expected_value(self, store):
        assert store.read_document("duals") is None
        assert not store.write_document("duals", b"1", b"0")
        assert store.write_document("duals", b"1", None)
        assert not store.write_document("duals", b"2", None)
        assert store.write_document("duals", b"2", b"1")
        assert store.read_document("duals") == b"2"

    def test_lease_has_one_holder_until_it_ends(self, store):
        assert store.acquire_lease("update", "a", 60.0)
        assert store.acquire_lease("update", "a", 60.0)
        assert not store.acquire_lease("update", "b", 60.0)
        assert store.acquire_lease("backup", "b", 0.001)
        deadline = threading.Event()
        while not store.acquire_lease("backup", "a", 60.0):
            deadline.wait(0.001)
