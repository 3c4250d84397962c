"""Each online store satisfies the contract. The Valkey tests use a server that a fixture starts."""

from __future__ import annotations

import os
import sqlite3
from functools import partial

import pytest
from online_store import OnlineStoreContract, blocks, count, impressions, poll_to_end, user_count
from valkey_server import PROGRAMS, REASON, ValkeyServer

from karec.errors import DataError, Unavailable
from karec.online.store.group_commit import _Append
from karec.online.store.online_store import START
from karec.online.store.sqlite import SqliteStore
from karec.online.store.valkey import ValkeyStore


class TestSqliteInMemory(OnlineStoreContract):
    @pytest.fixture
    def store(self):
        return SqliteStore(None)

    @pytest.fixture
    def reopen(self, store):
        return lambda: store


class TestSqliteFile(OnlineStoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        store = SqliteStore(tmp_path / "online.db")
        yield store
        store.close()

    @pytest.fixture
    def reopen(self, tmp_path):
        return partial(SqliteStore, tmp_path / "online.db")

    @pytest.mark.parametrize("is_replaced", [False, True])
    def test_removed_file_acknowledges_no_event(self, store, is_replaced):
        store.append(impressions([1]), count)
        store.path.unlink()
        if is_replaced:
            store.path.touch()
        with pytest.raises(Unavailable, match=r"online\.db"):
            store.append(impressions([2]), count)
        for use in (lambda: user_count(store), lambda: store.poll(START, 1), lambda: store.snapshot([b"u"])):
            with pytest.raises(Unavailable, match=r"online\.db"):
                use()

    def test_file_removed_during_a_commit_acknowledges_no_event(self, store):
        def remove_file(events, read):
            store.path.unlink()
            return count(events, read)

        store.append(impressions([1]), count)
        with pytest.raises(Unavailable, match="cannot be used"):
            store.append(impressions([2]), remove_file)

    def test_missing_folder_is_unavailable_until_it_exists(self, tmp_path):
        store = SqliteStore(tmp_path / "later" / "online.db")
        with pytest.raises(Unavailable, match=r"later/online\.db cannot be used"):
            store.append(impressions([1]), count)
        store.path.parent.mkdir()
        assert store.append(impressions([1]), count).tolist() == [True]
        store.close()

    def test_full_disk_leaves_nothing_and_later_appends_succeed(self, store):
        store.append(impressions([1]), count)
        with store._file.connection() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(Unavailable, match="full"):
            store.append(impressions(list(range(2, 2000))), count)
        assert user_count(store) == 1
        with store._file.connection() as connection:
            connection.execute("PRAGMA max_page_count = 1000000")
        assert store.append(impressions([2]), count).all()

    @pytest.mark.parametrize("damage", [b"no database" * 1000, b""], ids=["foreign", "zeros"])
    def test_damaged_file_is_reported_with_advice(self, store, damage):
        store.append(impressions([1]), count)
        store.close()
        if damage:
            store.path.write_bytes(damage)
        else:
            with open(store.path, "r+b") as file:
                file.seek(4096)
                file.write(bytes(os.path.getsize(store.path) - 4096))
        other = SqliteStore(store.path)
        with pytest.raises(DataError, match="Restore it from a backup"):
            poll_to_end(other)

    def test_foreign_database_is_refused(self, tmp_path):
        connection = sqlite3.connect(tmp_path / "online.db")
        connection.execute("CREATE TABLE theirs (x)")
        connection.close()
        with pytest.raises(DataError, match="Name another file"):
            SqliteStore(tmp_path / "online.db").poll(START, 1)

    def test_forked_child_must_open_the_store_itself(self, store):
        store.append(impressions([1]), count)
        child = os.fork()
        if not child:
            try:
                store.poll(START, 1)
            except RuntimeError as error:
                os._exit(0 if "opened before a fork" in str(error) else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert user_count(store) == 1

    def test_failed_update_fails_no_other_append_of_its_commit(self, store):
        def fail(events, read):
            raise ValueError("bug")

        good, bad, other = (
            _Append(impressions([1]), count),
            _Append(impressions([2]), fail),
            _Append(blocks([3], 70), count),
        )
        store._group_commit._commit_all([good, bad, other])
        assert good.is_new.tolist() == other.is_new.tolist() == [True] and isinstance(bad.error, ValueError)
        assert user_count(store) == 1


@pytest.fixture(scope="module", params=PROGRAMS)
def server(request, tmp_path_factory):
    pytest.importorskip("valkey")
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"), request.param)
    yield server
    server.kill()


@pytest.mark.skipif(not PROGRAMS, reason=REASON)
class TestValkey(OnlineStoreContract):
    @pytest.fixture
    def store(self, server, reopen):
        import valkey

        with valkey.Valkey.from_url(server.url) as client:
            client.flushall()
        store = reopen()
        yield store
        store.close()

    @pytest.fixture
    def reopen(self, server):
        return partial(ValkeyStore, server.url, 30)  # seconds
