"""Contract of an online store. A class for each store inherits these tests (``test_online_store.py``)."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from karec.aggregates.events import BLOCK, IMPRESSION, Events
from karec.errors import DataError
from karec.online.store import records
from karec.online.store.online_store import START, OnlineStore, Read, StateUpdate

NOW_MS = 1_790_000_000_000


def impressions(numbers: list[int], user_id: int | list[int] = 7, item_id: int = 70) -> Events:
    return Events.from_columns(
        "impression",
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
    is_impression = events.kind == IMPRESSION
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


def append_in_process(reopen: Callable[[], OnlineStore], first: int) -> None:
    """Appends events of four users, half of which another process appends too."""
    store = reopen()
    for number in range(40):
        for begin in (first, 5_000_000):
            numbers = [begin + 4 * number + n for n in range(4)]
            store.append(impressions(numbers, user_id=[1, 2, 3, 4]), count)
    store.close()


class OnlineStoreContract:
    """``store``: an empty store. ``reopen``: a function that opens the same store once more; a ``partial`` if
    another process can call it.
    """

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

    def test_event_id_counts_once_if_its_time_changes(self, store):
        store.append(impressions([1]), count)
        later = replace(impressions([1]), time_ms=np.array([NOW_MS + 26 * 3_600_000]))
        assert store.append(later, count).tolist() == [False]
        assert user_count(store) == 1

    def test_update_gets_new_events_only(self, store):
        store.append(impressions([1, 2]), count)
        numbers = []

        def update(events: Events, read: Read) -> StateUpdate:
            numbers.extend(events.number.tolist())
            return count(events, read)

        store.append(impressions([3, 1, 2, 4, 3]), update)
        assert numbers == [3, 4]

    def test_state_keeps_values_of_any_bytes_and_length(self, store):
        keys = records.keys_of(records.USER_COUNTERS, np.arange(200))
        values = {key: bytes(range(256)) * n for n, key in enumerate(keys)}
        store.append(impressions([1]), lambda events, read: StateUpdate(values, {}, np.ones(1, bool)))
        assert store.read_user(7, keys) == [*values.values()]
        assert store.read_user(7, []) == []

    def test_poll_returns_all_columns_in_commit_order(self, store):
        events = impressions([9, 4, 6])
        store.append(events, count)
        stored = store.poll(START, 100)
        assert stored.is_counted.tolist() == [True] * 3
        for name, expected in vars(events).items():
            column = getattr(stored.events, name)
            assert column.dtype == expected.dtype and column.tolist() == expected.tolist(), name

    def test_poll_returns_texts_of_lifecycle_events(self, store):
        texts = ['{"title": "日本"}', "x" * 60_000, ""]
        uploads = Events.from_columns(
            "upload", source=1, number=[1, 2, 3], time_ms=NOW_MS, item_id=[4, 5, 6], creator_id=9, text=texts
        )
        store.append(uploads, count)
        assert store.poll(START, 10).events.text.tolist() == texts

    def test_poll_in_parts_returns_each_event_once(self, store):
        store.append(impressions([*range(300)], user_id=[*range(300)]), count)
        parts = poll_to_end(store, max_events=7)
        assert max(map(len, parts)) <= 7
        assert sorted(n for part in parts for n in part.number.tolist()) == [*range(300)]

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
        values = [(key[:1], records.id_of(key), value) for key, value in entries]
        counts = [
            int.from_bytes(value, "big") for letter, _, value in values if letter == records.WORK_COUNTERS
        ]
        later = [n for part in poll_to_end(store, cursor) for n in part.number.tolist()]
        assert (sum(counts), sorted(later)) == (2, [4, 5])
        # A block after the cursor may be in the snapshot too.
        blocked = {item_id for letter, item_id, _ in values if letter == records.WORK_LIFE}
        assert 71 in blocked and blocked <= {71, 72}
        assert {item_id for letter, item_id, _ in values if letter == records.BASE_COUNTERS} == {70}

    def test_snapshot_during_appends_has_the_state_as_of_its_cursor(self, store):
        done = threading.Event()

        def write() -> None:
            for first in range(0, 300, 20):
                store.append(impressions([*range(first, first + 20)], user_id=[*range(20)]), count)
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        snapshots = []
        while not done.is_set():
            cursor, entries = store.snapshot([records.WORK_COUNTERS])
            snapshots.append((cursor, sum(int.from_bytes(value, "big") for _, value in entries)))
        writer.join()
        for cursor, n in snapshots[:: len(snapshots) // 5 + 1]:
            assert n + sum(map(len, poll_to_end(store, cursor, 5000))) == 300

    def test_snapshot_has_the_entries_of_its_letters_only(self, store):
        store.append(impressions([1]), count)
        store.append(blocks([3], 71), count)
        for letters in ([records.WORK_LIFE], [records.WORK_COUNTERS, records.BASE_COUNTERS], []):
            _, entries = store.snapshot(letters)
            assert sorted(key[:1] for key, _ in entries) == sorted(letters)

    def test_delete_events_deletes_earlier_events_up_to_the_cursor(self, store):
        store.append(impressions([1, 2, 3]), count)
        store.append(impressions([1000], user_id=8), count)
        store.append(blocks([2000], 71), count)
        cursor = store.poll(START, 100).cursor
        store.append(impressions([4]), count)  # An export that ended at the cursor lacks it.
        assert store.delete_events(lambda events: events.time_ms < NOW_MS + 100, cursor) == 4
        assert sorted(n for part in poll_to_end(store) for n in part.number.tolist()) == [4, 1000]
        assert store.delete_events(lambda events: events.time_ms < NOW_MS + 100, cursor) == 0

    def test_delete_events_keeps_state_and_cursors(self, store):
        store.append(impressions([1, 2]), count)
        cursor = store.poll(START, 100).cursor
        store.delete_events(lambda events: events.time_ms < NOW_MS + 100, cursor)
        assert not poll_to_end(store)
        store.append(impressions([3]), count)
        assert [part.number.tolist() for part in poll_to_end(store, cursor)] == [[3]]
        assert (user_count(store), item_counts(store)) == (3, {70: 3})

    def test_delete_events_deletes_all_selected_events_without_a_cursor(self, store):
        store.append(impressions([1, 2], user_id=7), count)
        store.append(impressions([4, 5], user_id=8), count)
        store.append(blocks([6], 70), count)
        assert store.delete_events(lambda events: events.user_id == 7) == 2
        assert store.delete_events(lambda events: events.user_id == 7) == 0
        assert sorted(n for part in poll_to_end(store) for n in part.number.tolist()) == [4, 5, 6]
        assert store.delete_events(lambda events: events.item_id == 70) == 3
        store.append(impressions([9], user_id=8), count)
        assert [part.number.tolist() for part in poll_to_end(store)] == [[9]]

    def test_write_user_replaces_and_deletes_entries_of_one_user(self, store):
        store.append(impressions([1, 2], user_id=[7, 8]), count)
        (key,) = records.keys_of(records.USER_COUNTERS, np.array([7]))
        (other,) = records.keys_of(records.HISTORY, np.array([7]))
        store.write_user(7, {key: b"\0\7", other: b"list"})
        assert store.read_user(7, [key, other]) == [b"\0\7", b"list"]
        store.write_user(7, {key: None})
        assert store.read_user(7, [key, other]) == [None, b"list"] and user_count(store, 8) == 1

    def test_rewrite_state_changes_every_entry_that_the_function_changes(self, store):
        store.append(impressions([*range(40)], user_id=[*range(40)]), count)
        store.append(blocks([50], 71), count)

        def rewrite(key: bytes, value: bytes | None) -> bytes | None:
            if key[:1] in (records.WORK_COUNTERS, records.WORK_LIFE):
                return None
            return b"\5" if key[:1] == records.USER_COUNTERS and records.id_of(key) < 10 else value

        n_partitions = len([*store.snapshot([records.WORK_COUNTERS])[1]])
        assert store.rewrite_state(rewrite) == 10 + n_partitions + 1
        assert [user_count(store, user) for user in (0, 9, 10)] == [5, 5, 1]
        assert item_counts(store) == {} and store.rewrite_state(rewrite) == 0

    def test_delete_events_keeps_the_ids_of_other_events(self, store):
        store.append(impressions([1, 1000]), count)
        store.delete_events(lambda events: events.time_ms < NOW_MS + 100, store.poll(START, 100).cursor)
        assert store.append(impressions([1000]), count).tolist() == [False]

    def test_appends_of_two_processes_equal_a_replay(self, store, reopen):
        if not isinstance(reopen, partial):
            pytest.skip("the store is in the memory of one process")
        context = multiprocessing.get_context("spawn")
        processes = [
            context.Process(target=append_in_process, args=(reopen, first))
            for first in (1_000_000, 2_000_000)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0]
        events = Events.concatenate(poll_to_end(store, max_events=5000))
        assert len(set(events.number.tolist())) == len(events) == 3 * 40 * 4
        users = Counter(events.user_id.tolist())
        assert {user: user_count(store, user) for user in users} == users
        assert item_counts(store) == {70: len(events)}

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

    def test_document_is_created_by_one_of_four_threads(self, store):
        """Two services with other labels cannot both describe an empty store."""
        winners = list[bytes]()
        start = threading.Barrier(4)

        def write(value: bytes) -> None:
            start.wait()
            if store.write_document("contents", value, None):
                winners.append(value)

        threads = [threading.Thread(target=write, args=(b"%d" % n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [store.read_document("contents")] == winners

    def test_lease_has_one_holder_until_it_ends(self, store):
        assert store.acquire_lease("update", "a", 60.0)
        assert store.acquire_lease("update", "a", 60.0)
        assert not store.acquire_lease("update", "b", 60.0)
        assert store.acquire_lease("backup", "b", 0.001)
        deadline = threading.Event()
        while not store.acquire_lease("backup", "a", 60.0):
            deadline.wait(0.001)
