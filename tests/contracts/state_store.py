"""Contract of a state store. A class for each store inherits these tests and gives the fixtures
(``test_state_store.py``)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from karec.online.store.store import CURSOR, Conflict, StateStore

LOWEST, HIGHEST = b"", b"\xff" * 16


class StateStoreContract:
    """``store``: an empty store. ``again``: a function that opens the same entries again."""

    @pytest.fixture
    def store(self) -> StateStore:
        raise NotImplementedError

    @pytest.fixture
    def again(self) -> Callable[[], StateStore]:
        raise NotImplementedError

    def test_read_returns_committed_values_in_the_order_of_its_keys(self, store):
        store.commit({b"a": b"1", b"b": b"", CURSOR: b"c1"}, None)
        assert store.read([b"b", b"x", b"a", b"a", CURSOR]) == [b"", None, b"1", b"1", b"c1"]
        assert store.read([]) == []

    def test_store_keeps_values_of_any_bytes_and_length(self, store):
        values = {b"k\x00" + bytes([n]): bytes(range(256)) * n for n in range(200)}
        store.commit(values, None)
        assert store.read([*values]) == [*values.values()]

    def test_commit_replaces_and_removes_entries(self, store):
        store.commit({b"a": b"1", b"b": b"2"}, None)
        store.commit({b"a": b"3", b"b": None, b"nothing": None}, None)
        assert store.read([b"a", b"b", b"nothing"]) == [b"3", None, None]

    def test_commit_writes_no_entry_if_the_cursor_differs(self, store):
        store.commit({b"a": b"1", CURSOR: b"c1"}, None)
        for wrong in (None, b"c0"):
            with pytest.raises(Conflict):
                store.commit({b"a": b"2", b"b": b"2", CURSOR: b"c2"}, wrong)
        assert store.read([b"a", b"b", CURSOR]) == [b"1", None, b"c1"]
        store.commit({b"a": b"2", CURSOR: b"c2"}, b"c1")
        assert store.read([b"a", CURSOR]) == [b"2", b"c2"]

    def test_commit_succeeds_for_one_of_four_concurrent_writers(self, store):
        store.commit({CURSOR: b"0"}, None)
        winners, start = list[str](), threading.Barrier(4)

        def write(name: str) -> None:
            start.wait()
            try:
                store.commit({name.encode(): b"x", CURSOR: name.encode()}, b"0")
                winners.append(name)
            except Conflict:
                pass

        threads = [threading.Thread(target=write, args=(f"w{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = winners
        assert store.read([CURSOR, *(f"w{n}".encode() for n in range(4))]) == [
            winner.encode(),
            *(b"x" if f"w{n}" == winner else None for n in range(4)),
        ]

    def test_read_returns_whole_commits_during_writes(self, store):
        """Two keys that every commit sets to one value are always read equal."""
        store.commit({b"left": b"0", b"right": b"0"}, None)
        done = threading.Event()

        def write() -> None:
            for n in range(300):
                store.commit({b"left": b"%d" % n, b"right": b"%d" % n}, None)
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        pairs = []
        while not done.is_set():
            pairs.append(store.read([b"left", b"right"]))
        writer.join()
        assert all(left == right for left, right in pairs) and store.read([b"left"]) == [b"299"]

    def test_scan_returns_each_entry_of_the_range_once(self, store):
        entries = {b"d%06d" % n: b"%d" % n for n in range(25_000)}
        store.commit({**entries, b"e": b"", CURSOR: b""}, None)
        assert sorted(store.scan(b"d000100", b"d000103")) == [
            (b"d%06d" % n, b"%d" % n) for n in (100, 101, 102)
        ]
        assert sorted(store.scan(b"d", b"e")) == sorted(entries.items())
        assert len([*store.scan(LOWEST, HIGHEST)]) == 25_002
        assert [*store.scan(b"x", b"y")] == []

    def test_reopened_store_returns_committed_entries(self, store, again):
        store.commit({b"a": b"1", CURSOR: b"c"}, None)
        other = again()
        assert other.read([b"a", CURSOR]) == [b"1", b"c"]
        other.close()
        other.close()
