"""``karec restore``: brings a lost online store back from its backup, or computes its state again."""

from __future__ import annotations

import argparse
from pathlib import Path

from karec.cli.inputs import progress_bars
from karec.errors import ConfigError


def run(arguments: argparse.Namespace) -> None:
    """Raises FileExistsError if the file is not lost, FileNotFoundError if it has no backup."""
    from karec.bundle import Bundle
    from karec.config.scenes import Config
    from karec.online.event_files import EventFiles
    from karec.online.ingestion import head_of
    from karec.online.recovery import rebuild_state, restore
    from karec.online.store.contents import StoreContents
    from karec.online.store.open import SQLITE
    from karec.online.store.sqlite import SqliteStore

    config = Config.read(arguments.config)
    if config.online is None or config.online.is_on_a_server:
        raise ConfigError(f"{arguments.config} has no table [online] with a SQLite file")
    try:
        source = config.online.event_source(arguments.config.absolute().parent)
    except ValueError as error:
        raise ConfigError(f"{arguments.config}: {error}") from None
    assert source.exported is not None
    files = EventFiles(source.exported)
    path = Path(source.url.removeprefix(SQLITE))
    snapshot = Bundle.open(config.follow_bundle(), verify=False).snapshot
    contents = StoreContents(snapshot, head_of(snapshot, config.online.late_ms))
    with progress_bars() as progress:
        if not arguments.state:
            restore(path, contents, files, lambda n: progress.note(f"{n:,} exported events read"))
        else:
            store = SqliteStore(path)
            try:
                rebuild_state(store, contents, files, lambda n: progress.note(f"{n:,} events applied"))
            finally:
                store.close()
    print(f"{path} is restored: restart the services")
