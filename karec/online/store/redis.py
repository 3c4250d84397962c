"""A store on a Redis or Valkey server, by URL. Keys of karec begin with PREFIX, so that a database may be
shared.

A commit is one MULTI … EXEC that watches the cursor, sent in one piece; a read is one MGET. What survives a
power cut of the server is the server's own policy (``appendfsync``). When the server comes back with older
contents, the cursor is older too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from karec.errors import MissingExtra, Unavailable
from karec.online.store.store import CURSOR, Conflict

PREFIX = b"karec:"
SCANNED_AT_ONCE = 1000
TIMEOUT_S = 2.0


class RedisStore:
    """See ``StateStore``. Threads may share it; connections are made when they are needed, after a fork
    too."""

    def __init__(self, url: str) -> None:
        try:
            import redis
        except ImportError as error:
            raise MissingExtra("redis", "redis", "a state store at redis://") from error
        self._error, self._moved = redis.RedisError, redis.WatchError
        self._client: Any = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        )
        with self._told():
            self._client.ping()

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        with self._told():
            return list(self._client.mget([PREFIX + key for key in keys]))

    def commit(self, entries: Mapping[bytes, bytes | None], was: bytes | None) -> None:
        with self._told(), self._client.pipeline(transaction=True) as pipe:
            pipe.watch(PREFIX + CURSOR)
            if pipe.get(PREFIX + CURSOR) != was:
                raise Conflict("another writer committed to this store")
            pipe.multi()
            kept = {PREFIX + key: value for key, value in entries.items() if value is not None}
            gone = [PREFIX + key for key, value in entries.items() if value is None]
            if kept:
                pipe.mset(kept)
            if gone:
                pipe.unlink(*gone)
            try:
                pipe.execute()
            except self._moved as error:
                raise Conflict("another writer committed to this store") from error

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        at, told = 0, set[bytes]()
        while True:
            with self._told():
                at, names = self._client.scan(at, match=PREFIX + b"*", count=SCANNED_AT_ONCE)
            wanted = [name.removeprefix(PREFIX) for name in names]
            wanted = sorted({key for key in wanted if start <= key < stop and key not in told})
            told.update(wanted)
            for key, value in zip(wanted, self.read(wanted), strict=True):
                if value is not None:
                    yield key, value
            if at == 0:
                return

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (self._error, OSError) as error:
            raise Unavailable(f"the state store cannot be reached: {error}") from error
