"""``karec refresh``: the vectors of a library, made again and again while it serves."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from karec.cli.inputs import progress_bars, table_console

if TYPE_CHECKING:
    from karec.bundle import Bundle
    from karec.pipeline.types import Array

NICE = 10  # of one that goes on for ever: a service beside it has the core first


def run(arguments: argparse.Namespace) -> None:
    console = table_console()
    from karec.bundle import Bundle, identity_of
    from karec.cli.tables import facts_table
    from karec.refresh.library_state import library_state
    from karec.refresh.pace import Pace
    from karec.refresh.rolling import open_refresh, remove_retired_libraries

    pace, root = Pace(arguments.share), arguments.root
    if not arguments.once:
        os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), NICE))
    bundle = Bundle.open(root)
    while True:
        if identity_of(root) != identity_of(bundle.path):
            bundle = Bundle.open(root)
        named = identity_of(bundle.path)
        since = nullcontext() if arguments.config is None else counters_since(arguments.config, bundle)
        with since as counts, open_refresh(bundle, counts) as refresh, progress_bars() as progress:
            refresh.run(refresh.start_round(_now_ms()), pace, progress, partial(_is_served, root, named))
        remove_retired_libraries(bundle.path.parent)
        console.print(facts_table(f"Library of {bundle.path}", library_state(bundle, _now_ms()).to_text()))
        if arguments.once:
            return
        pace.rest()


@contextmanager
def counters_since(path: Path, bundle: Bundle) -> Iterator[Callable[[Array], Array]]:
    """What the state store of the ``karec.toml`` at ``path`` counts for works, in the order of the bundle's
    encoder. The store is open in the block: a process opens LMDB's folder once at a time.

    ValueError: it has no table ``live``, or one whose state no other process sees. DataError: the store is of
    another log or of other labels.
    """
    from karec.config.live_settings import MEMORY
    from karec.config.scenes import Config
    from karec.features.online_inputs import find_columns
    from karec.online.event_log.head import read_head
    from karec.online.read_state import StateReader
    from karec.online.store.contents import StoreContents
    from karec.online.store.open import open_store

    settings, folder = Config.read(path).live, path.absolute().parent
    if settings is None:
        raise ValueError(f"{path} has no table [live], which says where the counters of works are kept")
    if settings.state == MEMORY:
        raise ValueError(
            f"{path}: [live] keeps its state in the memory of the service alone (state = {MEMORY!r})"
        )
    folded = StoreContents(bundle.snapshot, read_head(folder / settings.events))
    store = open_store(settings.address(folder))
    try:
        reader, wanted = (
            StateReader(store, folded),
            find_columns(folded.counters, bundle.encoder.works.counters),
        )
        yield lambda ids: reader.read_item_counters(ids)[:, wanted]
    finally:
        store.close()


def _is_served(root: Path, named: Hashable) -> bool:
    """Whether ``current`` still names the bundle that is refreshed."""
    from karec.bundle import identity_of

    return identity_of(root) == named


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
