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
    from karec.refresh.rolling import CpuLimit, open_refresh, remove_retired_libraries

    pace, root = CpuLimit(arguments.share), arguments.root
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
    """Yields a function that returns the newest counters of items, in the order of the bundle's encoder.

    They are those of the online store that the ``karec.toml`` at ``path`` names.

    Raises ValueError if there is no table ``online``, or one whose store no other process reads. Raises
    DataError if the store has other labels.
    """
    from karec.config.scenes import Config
    from karec.features.online_inputs import find_columns
    from karec.online.ingestion import head_of
    from karec.online.item_counters import ItemCounters
    from karec.online.store.contents import StoreContents
    from karec.online.store.open import MEMORY, open_store

    settings, folder = Config.read(path).online, path.absolute().parent
    if settings is None:
        raise ValueError(f"{path} has no table [online], which names the store of the items' counters")
    if settings.url == MEMORY:
        raise ValueError(f"{path}: only the service itself reads its online store, url = {MEMORY!r}")
    contents = StoreContents(bundle.snapshot, head_of(bundle.snapshot))
    columns = find_columns(contents.counters, bundle.encoder.works.counters)
    store = open_store(settings.url, folder)
    try:
        contents.check(store)
        counters = ItemCounters(store, contents)
        yield lambda ids: counters.read(ids)[:, columns]
    finally:
        store.close()


def _is_served(root: Path, named: Hashable) -> bool:
    """Whether ``current`` still names the bundle that is refreshed."""
    from karec.bundle import identity_of

    return identity_of(root) == named


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
