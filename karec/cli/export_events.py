"""``karec export events``: moves days of events from the online store to Parquet files."""

from __future__ import annotations

import argparse
import time

from karec.cli.inputs import progress_bars
from karec.errors import ConfigError


def run(arguments: argparse.Namespace) -> None:
    """Raises ValueError if events of these days may still arrive."""
    from karec.config.scenes import Config
    from karec.online.event_files import EventFiles
    from karec.online.export import export_events, latest_before
    from karec.online.store.contents import read_head
    from karec.online.store.open import open_store

    settings = Config.read(arguments.config).online
    if settings is None:
        raise ConfigError(f"{arguments.config} has no table [online], which names the online store")
    try:
        source = settings.event_source(arguments.config.absolute().parent)
    except ValueError as error:
        raise ConfigError(f"{arguments.config}: {error}") from None
    assert source.exported is not None
    files = EventFiles(source.exported)
    store = open_store(source.url, arguments.config.absolute().parent)
    try:
        head = read_head(store)
        now_ms = time.time_ns() // 1_000_000
        before = latest_before(head, now_ms) if arguments.before is None else arguments.before
        with progress_bars() as progress:
            exported = export_events(
                store, head, files, before, now_ms, lambda day, n: progress.note(f"{day}: {n:,} events")
            )
    finally:
        store.close()
    print(f"{exported.n_events:,} events of {len(exported.days)} days moved to {files.display}")
