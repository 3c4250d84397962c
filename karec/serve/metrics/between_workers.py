"""The numbers of all workers of a service: each writes a file of its own, and whoever is asked adds them up.

    FOLDER/workers/NAME.told     what a worker counted, replaced once a second
    FOLDER/workers/NAME.lock     locked (flock) as long as the worker lives, however it ends
    FOLDER/ended.told            what workers counted that have ended; ``folded`` names files that are in it
                                 already

A worker that was killed is found by its lock. Its counters go into ``ended.told``, so that a sum never falls;
its gauges go. What it counted in its last second is lost. Files of another version of karec are left out.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import numpy as np

from karec.files import file_aside, remove_leftovers
from karec.pipeline.types import Array
from karec.serve.metrics.counted import WIDTH, Key, Labels

FORMAT = 1


class Told(msgspec.Struct):
    """What a worker counted. ``total``, ``recent``: the bytes of (rows, WIDTH) float64, one row a key."""

    format: int = FORMAT
    worker: str = ""
    pid: int = 0
    keys: list[Key] = []
    total: bytes = b""
    recent: bytes = b""
    named: dict[str, dict[Labels, float]] = {}
    read: dict[str, dict[Labels, float]] = {}
    begun_s: float = 0.0
    folded: list[str] = []

    def matrix(self, which: str) -> Array:
        return np.frombuffer(getattr(self, which), np.float64).reshape(len(self.keys), WIDTH)


class Summed:
    """Rows and counters of several workers, added up; keys stay in the order in which they came."""

    def __init__(self, told: Iterable[Told]) -> None:
        rows: dict[Key, tuple[Array, Array]] = {}
        self.named: dict[str, dict[Labels, float]] = {}
        for each in told:
            for key, total, recent in zip(
                each.keys, each.matrix("total"), each.matrix("recent"), strict=True
            ):
                before = rows.get(key)
                rows[key] = (total, recent) if before is None else (before[0] + total, before[1] + recent)
            for name, counted in each.named.items():
                counts = self.named.setdefault(name, {})
                for labels, n in counted.items():
                    counts[labels] = counts.get(labels, 0.0) + n
        self.total = {key: total for key, (total, _) in rows.items()}
        self.recent = {key: recent for key, (_, recent) in rows.items()}

    def as_ended(self, folded: list[str]) -> Told:
        total = np.array([*self.total.values()]).reshape(-1, WIDTH)
        nothing = np.zeros_like(total).tobytes()
        return Told(
            keys=[*self.total], total=total.tobytes(), recent=nothing, named=self.named, folded=folded
        )


class Workers:
    """One worker's place among all. Made in its own process, after any fork."""

    def __init__(self, folder: Path, worker: str) -> None:
        self.folder, self.worker = folder, worker
        self._workers = folder / "workers"
        self._workers.mkdir(parents=True, exist_ok=True)
        self.name = f"{worker}-{os.getpid()}-{secrets.token_hex(4)}"
        with locked(folder / "told.lock"):  # else another may take the file for that of a dead worker
            self._lock = os.open(
                self._workers / f"{self.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def tell(self, told: Told) -> None:
        """OSError: it cannot be written; what was told before stands."""
        with file_aside(self._workers / f"{self.name}.told") as file:
            file.write(msgspec.msgpack.encode(told))

    def all(self) -> tuple[list[Told], Told]:
        """(what each living worker told, by its number; what those that have ended had counted)."""
        with locked(self.folder / "told.lock"):
            living, dead = list[Told](), dict[str, Told]()
            ended = _read(self.folder / "ended.told") or Told()
            for path in sorted(self._workers.glob("*.told")):
                told = _read(path)
                if self._lives(path.stem):
                    living += [] if told is None else [told]
                elif path.stem not in ended.folded:
                    dead[path.stem] = Told() if told is None else told
            if dead:
                left = [name for name in ended.folded if (self._workers / f"{name}.told").exists()]
                ended = Summed([ended, *dead.values()]).as_ended([*left, *dead])
                with file_aside(self.folder / "ended.told") as file:
                    file.write(msgspec.msgpack.encode(ended))
            for name in {lock.stem for lock in self._workers.glob("*.lock") if not self._lives(lock.stem)}:
                self._forget(name)
        return sorted(living, key=lambda each: (len(each.worker), each.worker)), ended

    def _lives(self, name: str) -> bool:
        if name == self.name:
            return True
        try:
            descriptor = os.open(self._workers / f"{name}.lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def _forget(self, name: str) -> None:
        """The files of a worker that has ended, whose counts are in ``ended.told``; the lock last."""
        for end in ("told", "lock"):
            with suppress(FileNotFoundError):
                (self._workers / f"{name}.{end}").unlink()
        remove_leftovers(self._workers, rf"{name}\.told")

    def close(self) -> None:
        """From here on this worker counts as ended."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
            self.name = ""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> Told | None:
    """None: there is none, or it is of another version."""
    try:
        told = msgspec.msgpack.decode(path.read_bytes(), type=Told)
    except (OSError, msgspec.MsgspecError):
        return None
    return told if told.format == FORMAT else None
