"""A store by its address."""

from __future__ import annotations

from pathlib import Path

from karec.online.store.embedded import LmdbStore
from karec.online.store.memory import MemoryStore
from karec.online.store.redis import RedisStore
from karec.online.store.store import StateStore

SERVERS = ("redis://", "rediss://", "unix://", "valkey://")


def open_store(address: str) -> StateStore:
    """``memory:``, ``redis://HOST:PORT/DB`` (``rediss://``, ``unix://``, ``valkey://`` too), or the folder of
    an LMDB store.

    Raises Unavailable where it cannot be reached or opened, MissingExtra without its package.
    """
    if address == "memory:":
        return MemoryStore()
    if address.startswith(SERVERS):
        return RedisStore(address.replace("valkey://", "redis://", 1))
    if "://" in address:
        raise ValueError(f"no state store at {address!r}: expected memory:, one of {SERVERS} or a folder")
    return LmdbStore(Path(address))
