"""Opens the online store that a URL names."""

from __future__ import annotations

from pathlib import Path

from karec.online.store.online_store import OnlineStore
from karec.online.store.sqlite import SqliteStore
from karec.online.store.valkey_client import parse_url

SQLITE = "sqlite:"
MEMORY = "sqlite::memory:"
SERVERS = ("valkey://", "valkeys://")
EXPECTED = f"expected sqlite:FILE, {MEMORY}, or a server at valkey://HOST:PORT/DB"


def open_store(url: str, folder: Path) -> OnlineStore:
    """Opens ``sqlite:FILE`` (relative to ``folder``), ``sqlite::memory:``, or ``valkey://HOST:PORT/DB``.

    Raises ValueError for another URL, Unavailable if a server cannot be reached, and MissingExtra without its
    package. A file is opened by the first use.
    """
    check_url(url)
    if url == MEMORY:
        return SqliteStore(None)
    if url.startswith(SQLITE):
        return SqliteStore(folder / url.removeprefix(SQLITE))
    from karec.online.store.valkey import ValkeyStore

    return ValkeyStore(url)


def check_url(url: str) -> None:
    """Raises ValueError for a URL that is not one of an online store."""
    if is_on_a_server(url):
        parse_url(url)
    elif not url.startswith(SQLITE) or url == SQLITE:
        scheme = url.partition(":")[0]  # the rest may contain a password
        raise ValueError(f"url begins with {scheme!r}, {EXPECTED}")


def is_on_a_server(url: str) -> bool:
    return url.startswith(SERVERS)
