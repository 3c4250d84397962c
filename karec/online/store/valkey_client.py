"""Connection to a Valkey or Redis server: address, credentials, and checks of the server's configuration."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from karec.errors import ConfigError, MissingExtra

SCHEMES = ("valkey", "valkeys")
USER_VARIABLE, PASSWORD_VARIABLE = "KAREC_ONLINE_USER", "KAREC_ONLINE_PASSWORD"
CA_FILE_VARIABLE = "KAREC_ONLINE_CA_FILE"
MIN_VERSION = (7, 2)  # of Redis and of the Redis version that Valkey reports; the first with WAITAOF
DEFAULT_PORT = 6379
_EXPECTED = "expected valkey://HOST:PORT/DB, or valkeys:// for TLS; also for a Redis server"


def open_client(url: str, timeout_s: float) -> tuple[Any, str]:
    """Returns (client, address without credentials). Connects when the client is first used.

    The user is in the URL or in KAREC_ONLINE_USER, the password in KAREC_ONLINE_PASSWORD. The certificate of
    a valkeys:// server is checked against KAREC_ONLINE_CA_FILE, or against the system's authorities.

    Raises:
        ValueError: the URL has another form or contains a password. The message does not repeat the URL.
        MissingExtra: the package valkey is not installed.
    """
    try:
        import valkey
    except ImportError as error:
        raise MissingExtra("valkey", "online", "an online store at valkey://") from error
    parts, port, database = parse_url(url)
    client = valkey.Valkey(
        host=parts.hostname,
        port=port,
        db=database,
        username=unquote(parts.username) if parts.username else os.environ.get(USER_VARIABLE),
        password=os.environ.get(PASSWORD_VARIABLE),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        ssl=parts.scheme == "valkeys",
        ssl_ca_certs=os.environ.get(CA_FILE_VARIABLE),
        ssl_check_hostname=parts.scheme == "valkeys",
    )
    return client, f"{parts.scheme}://{parts.hostname}:{port}/{database}"


def parse_url(url: str) -> tuple[SplitResult, int, int]:
    """Returns the parts of the URL of a server, its port and the number of the database.

    Raises ValueError like ``open_client``.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
        database = int(parts.path.strip("/") or 0)
    except ValueError:
        raise ValueError(f"the url of the online store cannot be read, {_EXPECTED}") from None
    if parts.password is not None:
        raise ValueError(
            "the url of the online store contains a password. Remove it, and set the environment variable "
            f"{PASSWORD_VARIABLE}."
        )
    if parts.scheme not in SCHEMES or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"the url of the online store has another form, {_EXPECTED}")
    return parts, port, database


def check_server(client: Any, address: str) -> None:
    """Raises ConfigError if the server could lose acknowledged events. One round trip, by INFO, which every
    user may call.
    """
    info = {**client.info("server"), **client.info("persistence"), **client.info("memory")}
    version = tuple(int(part) for part in info["redis_version"].split(".")[:2])
    if version < MIN_VERSION:
        raise ConfigError(f"{address}: the server has version {info['redis_version']}, expected 7.2 or later")
    if not info["aof_enabled"]:
        raise ConfigError(
            f"{address}: appendonly is no, expected yes: a restart would lose acknowledged events. Set "
            "appendonly yes and appendfsync always in the server's configuration."
        )
    if info["maxmemory"] and not info["maxmemory_policy"].startswith(("noeviction", "volatile-")):
        raise ConfigError(
            f"{address}: maxmemory-policy is {info['maxmemory_policy']}, expected noeviction: the server "
            "would delete events and state to free memory"
        )
