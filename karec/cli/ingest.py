"""``karec ingest``: stores events in the online store of a service, or restores a lost store."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from karec.cli.options import Config
from karec.cli.output import ProgressReport
from karec.errors import ConfigError

if TYPE_CHECKING:
    from karec.config.scenes import Config as SceneConfig
    from karec.online.read_log import EventSource

ROWS_PER_CALL = 10_000


def ingest(
    config: Config,
    rows: Annotated[
        Path | None, typer.Argument(help="File with one JSON object a line (default: standard input).")
    ] = None,
    from_backup: Annotated[
        bool,
        typer.Option("--from-backup", help="Restore a lost SQLite store from its backup and exported days."),
    ] = False,
    recompute_state: Annotated[
        bool, typer.Option("--recompute-state", help="Compute the state of a SQLite store from all events.")
    ] = False,
) -> None:
    """Store events: block or adjust items, uploads, follows. Wrong rows are counted by reason, exit code 2.

    Stop the services before --from-backup and --recompute-state, and start them afterwards.
    """
    if from_backup or recompute_state:
        if rows is not None or (from_backup and recompute_state):
            raise ValueError("give one of ROWS, --from-backup and --recompute-state")
        _restore(config, recompute_state=recompute_state)
    else:
        _store_rows(config, rows)


def read_online_config(path: Path) -> SceneConfig:
    """Raises ConfigError if the karec.toml has no table ``online``."""
    from karec.config.scenes import Config as SceneConfig

    config = SceneConfig.read(path)
    if config.online is None:
        raise ConfigError(f"{path} has no table [online], which names the online store")
    return config


def read_event_source(path: Path) -> EventSource:
    """Returns the online store of a karec.toml and its exported days.

    Raises ConfigError if only the service itself can read the store.
    """
    config = read_online_config(path)
    assert config.online is not None
    try:
        return config.online.event_source(path.absolute().parent)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def _store_rows(path: Path, file: Path | None) -> None:
    """Raises ValueError if rows are not stored; the others are."""
    from karec.bundle import Bundle
    from karec.online.apply_events import EventApplier
    from karec.online.ingestion import append_events, head_of
    from karec.online.parse_events import EventParser
    from karec.online.store.contents import StoreContents
    from karec.online.store.open import open_store

    config = read_online_config(path)
    assert config.online is not None
    bundle = Bundle.open(config.follow_bundle(), verify=False)
    contents = StoreContents(bundle.snapshot, head_of(bundle.snapshot, config.online.late_ms))
    parser = EventParser(bundle, contents.head)
    applier = EventApplier(contents)
    n_events = 0
    reasons = Counter[str]()
    store = open_store(config.online.url, path.absolute().parent)
    try:
        contents.check(store)
        rows = _rows(sys.stdin, reasons) if file is None else _rows_of_file(file, reasons)
        while batch := list(islice(rows, ROWS_PER_CALL)):
            now_ms = time.time_ns() // 1_000_000
            events, not_events = parser.parse(batch, now_ms)
            n_stored, invalid = append_events(store, applier, events, now_ms)
            n_events += n_stored
            reasons += not_events + invalid
    finally:
        store.close()
    print(f"{n_events:,} events are stored")
    if reasons:
        counts = ", ".join(f"{reason} {n:,}" for reason, n in sorted(reasons.items()))
        raise ValueError(f"not stored: {counts}")


def _rows_of_file(path: Path, reasons: Counter[str]) -> Iterator[Any]:
    with path.open(encoding="utf-8") as lines:
        yield from _rows(lines, reasons)


def _rows(lines: Iterable[str], reasons: Counter[str]) -> Iterator[Any]:
    for line in lines:
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                reasons["a line is not JSON"] += 1


def _restore(path: Path, *, recompute_state: bool) -> None:
    """Raises FileExistsError if the store is not lost, FileNotFoundError if it has no backup."""
    from karec.bundle import Bundle
    from karec.online.event_files import EventFiles
    from karec.online.ingestion import head_of
    from karec.online.recovery import rebuild_state, restore
    from karec.online.store.contents import StoreContents
    from karec.online.store.open import SQLITE
    from karec.online.store.sqlite import SqliteStore

    config = read_online_config(path)
    assert config.online is not None
    if config.online.is_on_a_server:
        raise ConfigError(f"{path}: online.url is {config.online.url!r}, expected a SQLite file")
    source = read_event_source(path)
    assert source.exported is not None
    files = EventFiles(source.exported)
    file = Path(source.url.removeprefix(SQLITE))
    snapshot = Bundle.open(config.follow_bundle(), verify=False).snapshot
    contents = StoreContents(snapshot, head_of(snapshot, config.online.late_ms))
    with ProgressReport() as progress:
        if recompute_state:
            store = SqliteStore(file)
            try:
                rebuild_state(store, contents, files, lambda n: progress.note(f"{n:,} events applied"))
            finally:
                store.close()
        else:
            restore(file, contents, files, lambda n: progress.note(f"{n:,} exported events read"))
    print(f"{file} is restored: restart the services")
