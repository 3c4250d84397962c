"""Stores events in the online store of a karec.toml without a service, and restores a lost store."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from karec.bundle import Bundle
from karec.config.online import open_contents
from karec.config.scenes import Config
from karec.erasure import Tombstones
from karec.errors import ConfigError
from karec.online.apply_events import EventApplier
from karec.online.event_files import EventFiles
from karec.online.ingestion import append_events
from karec.online.parse_events import EventParser
from karec.online.read_log import EventSource
from karec.online.recovery import rebuild_state, restore
from karec.online.store.open import SQLITE, open_store
from karec.online.store.sqlite import SqliteStore
from karec.online.store.sqlite_file import backup_path

ROWS_PER_CALL = 10_000


def read_online_config(path: Path) -> Config:
    """Raises ConfigError if the karec.toml has no table ``online``."""
    config = Config.read(path)
    if config.online is None:
        raise ConfigError(f"{path} has no table [online], which names the online store")
    return config


def read_event_source(path: Path) -> EventSource:
    """Returns the online store of a karec.toml and its exported days.

    Raises ConfigError if only the service itself can read the store.
    """
    settings = read_online_config(path).online
    assert settings is not None
    try:
        return settings.event_source(path.absolute().parent)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def store_lines(path: Path, lines: Iterable[str]) -> tuple[int, Counter[str]]:
    """Stores events, one JSON object a line, in the store of the karec.toml at ``path``.

    Returns how many events are stored, and how many lines are not, by reason.
    """
    config = read_online_config(path)
    assert config.online is not None
    bundle = Bundle.open(config.follow_bundle(), verify=False)
    contents = open_contents(bundle, config.online.late_ms)
    tombstones = Tombstones(path.absolute().parent)
    parser = EventParser(bundle, contents.head, tombstones, config.scenes, config.online.open_minutes)
    applier = EventApplier(contents)
    n_events = 0
    reasons = Counter[str]()
    rows = _parse_lines(lines, reasons)
    store = open_store(config.online.url, path.absolute().parent)
    try:
        contents.check(store)
        while batch := list(islice(rows, ROWS_PER_CALL)):
            now_ms = time.time_ns() // 1_000_000
            events, not_events = parser.parse(batch, now_ms, store)
            n_stored, invalid = append_events(store, applier, events, now_ms)
            n_events += n_stored
            reasons += not_events + invalid
    finally:
        store.close()
    return n_events, reasons


def _parse_lines(lines: Iterable[str], reasons: Counter[str]) -> Iterator[Any]:
    for line in lines:
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                reasons["a line is not JSON"] += 1


def restore_store(path: Path, note: Callable[[str], None], *, recompute_state: bool) -> Path:
    """Restores the SQLite store of the karec.toml at ``path`` from its backup and the days exported since.

    With ``recompute_state`` the file stays, and its state is computed from all events. ``note`` is called
    with the number of events. Returns the path of the file. Raises FileExistsError if the file is not lost,
    FileNotFoundError if the file to recompute or the backup is missing.
    """
    config = read_online_config(path)
    assert config.online is not None
    if config.online.is_on_a_server:
        raise ConfigError(f"{path}: online.url is {config.online.url!r}, expected a SQLite file")
    source = read_event_source(path)
    assert source.exported is not None
    files = EventFiles(source.exported)
    file = Path(source.url.removeprefix(SQLITE))
    contents = open_contents(Bundle.open(config.follow_bundle(), verify=False), config.online.late_ms)
    if not recompute_state:
        backup = backup_path(file)
        if not file.exists() and not backup.is_file():
            raise FileNotFoundError(f"{backup} is missing: {file} cannot be restored. Copy its backup there.")
        restore(file, contents, files, lambda n: note(f"{n:,} exported events read"))
        return file
    if not file.exists():
        raise FileNotFoundError(f"{file} is missing: restore it with karec ingest {path} --from-backup")
    store = SqliteStore(file)
    try:
        rebuild_state(store, contents, files, lambda n: note(f"{n:,} events applied"))
    finally:
        store.close()
    return file
