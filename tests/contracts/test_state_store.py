"""Each state store satisfies the contract. The Redis tests use a server that the fixture starts."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from redis_server import PROGRAM, WHY_NOT, RedisServer
from state_store import StateStoreContract

from karec.errors import Unavailable
from karec.online.store.embedded import LmdbStore
from karec.online.store.memory import MemoryStore
from karec.online.store.open import open_store
from karec.online.store.redis import PREFIX, RedisStore


class TestMemory(StateStoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore()

    @pytest.fixture
    def again(self, store):
        return lambda: store


class TestLmdb(StateStoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        pytest.importorskip("lmdb")
        store = open_store(str(tmp_path / "state"))
        assert isinstance(store, LmdbStore)
        yield store
        store.close()

    @pytest.fixture
    def again(self, store, tmp_path):
        def reopened():
            store.close()  # LMDB allows one opening a process
            return open_store(str(tmp_path / "state"))

        return reopened

    def test_lmdb_store_refuses_a_folder_with_a_foreign_file(self, tmp_path):
        pytest.importorskip("lmdb")
        (tmp_path / "data.mdb").write_bytes(b"no database" * 1000)
        with pytest.raises(Unavailable, match="cannot be used"):
            open_store(str(tmp_path))


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("redis")
    with tempfile.TemporaryDirectory() as folder:  # a socket's path is short
        server = RedisServer(Path(folder))
        yield server
        server.stop()


@pytest.mark.skipif(PROGRAM is None, reason=WHY_NOT)
class TestRedis(StateStoreContract):
    @pytest.fixture
    def store(self, server):
        server.empty()
        store = open_store(server.url)
        assert isinstance(store, RedisStore)
        yield store
        store.close()

    @pytest.fixture
    def again(self, server):
        return lambda: open_store(server.url)

    def test_redis_store_ignores_foreign_entries_of_the_database(self, server, store):
        import redis

        with redis.Redis.from_url(server.url) as client:
            client.set("theirs", "x")
            store.commit({b"ours": b"y"}, None)
            assert [*store.scan(b"", b"\xff" * 16)] == [(b"ours", b"y")]
            assert sorted(client.keys()) == [PREFIX + b"ours", b"theirs"]

    def test_redis_store_is_unavailable_until_its_server_restarts(self, tmp_path_factory):
        with tempfile.TemporaryDirectory() as folder:
            server = RedisServer(Path(folder))
            store = open_store(server.url)
            server.stop()
            for use in (
                lambda: store.read([b"a"]),
                lambda: store.commit({b"a": b"1"}, None),
                lambda: [*store.scan(b"", b"z")],
            ):
                with pytest.raises(Unavailable, match="cannot be reached"):
                    use()
            with pytest.raises(Unavailable):
                open_store(server.url)
            server = RedisServer(Path(folder))
            store.commit({b"a": b"1"}, None)
            assert store.read([b"a"]) == [b"1"]
            server.stop()


def test_open_store_refuses_an_address_without_a_store():
    with pytest.raises(ValueError, match=r"no state store at 'http://x'"):
        open_store("http://x")
