"""Ids to erase, and the tombstones of erased ids.

    key KEY     32 random bytes, hexadecimal
    HASH TIME   one line per id: hexadecimal, and Unix ms of the erasure

The file is erased.txt next to the karec.toml, readable by its owner only. HASH is the HMAC-SHA256 of kind and
id: without the key, nobody can test if an id is in the file.
Training and ingestion leave out rows that are older than the erasure of their id. They use later rows.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import Unavailable
from karec.files import file_aside

KEY_BYTES = 32


@dataclass(frozen=True, eq=False)
class ErasedIds:
    """Ids of one kind to erase from all rows before a moment.

    kind       "user", "item" for works, or the item type of other items, such as "creator" or "song"
    numbers    (N,) int64 numbers of the ids
    before_ms  Unix ms
    """

    kind: str
    numbers: NDArray[Any]
    before_ms: int

    @property
    def item_type(self) -> str:
        """The type of items with these ids, "" for works. Users and creators can be items too."""
        return "" if self.kind == "item" else self.kind

    def select(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Returns (M,) bool: the row has an id and was, or was appended, before the moment.

        Args:
            columns: (M,) each, of events or of a rank log.
        """
        is_erased = np.isin(columns["item_id"], self.numbers)
        is_erased &= np.asarray(columns.get("item_type", "") == self.item_type)
        if self.kind != "item" and f"{self.kind}_id" in columns:
            is_erased |= np.isin(columns[f"{self.kind}_id"], self.numbers)
        times_ms = np.minimum(columns["time_ms"], columns.get("logged_ms", columns["time_ms"]))
        return np.asarray(is_erased & (times_ms < self.before_ms))


class Tombstones:
    """The tombstones of ``folder``, read again after a change of their file. Any thread may call.

    Raises Unavailable if the file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "erased.txt"
        self._state: tuple[object, str, dict[str, int]] = (None, "", {})

    def __bool__(self) -> bool:
        return bool(self._read()[0])

    def erased_ms(self, kind: str, ids: Iterable[object]) -> list[int]:
        """Returns the time of the erasure of each id, 0 if it or its kind is not erased. About 4 µs an id."""
        key, times = self._read()
        return [times.get(_hash(key, kind, id_), 0) if times else 0 for id_ in ids]

    def add(self, kind: str, ids: Iterable[object], now_ms: int) -> None:
        """Writes the tombstones of ``ids`` and, with the first ones, the key. One process at a time."""
        key, times = self._read()
        key = key or secrets.token_hex(KEY_BYTES)
        times = times | {_hash(key, kind, id_): now_ms for id_ in ids}
        owner = self._path.parent.stat()
        with file_aside(self._path) as file:
            os.fchmod(file.fileno(), 0o600)
            with suppress(PermissionError):  # root: services of another user must read it
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            lines = [f"key {key}", *(f"{name} {time_ms}" for name, time_ms in times.items())]
            file.write("\n".join(lines).encode())

    def _read(self) -> tuple[str, dict[str, int]]:
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return "", {}
        version = status.st_ino, status.st_mtime_ns
        if self._state[0] != version:
            try:
                (_, key), *rows = (line.split() for line in self._path.read_text().splitlines())
                self._state = version, key, {name: int(time_ms) for name, time_ms in rows}
            except (OSError, ValueError) as error:
                raise Unavailable(f"{self._path} is damaged: {error}. Restore it.") from error
        return self._state[1:]


def _hash(key: str, kind: str, id_: object) -> str:
    return hmac.digest(bytes.fromhex(key), f"{kind} {id_}".encode(), "sha256").hex()
