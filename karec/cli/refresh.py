"""``karec refresh``: the vectors of a library, made again and again while it serves."""

from __future__ import annotations

import argparse
import time
from collections.abc import Hashable
from functools import partial
from pathlib import Path

from karec.cli.inputs import progress_bars, table_console


def run(arguments: argparse.Namespace) -> None:
    console = table_console()
    from karec.bundle import Bundle, identity_of
    from karec.cli.tables import facts_table
    from karec.refresh.library_state import library_state
    from karec.refresh.pace import Pace
    from karec.refresh.rolling import refreshing, remove_retired

    pace, root = Pace(arguments.share), arguments.root
    bundle = Bundle.open(root)
    while True:
        if identity_of(root) != identity_of(bundle.path):
            bundle = Bundle.open(root)
        named = identity_of(bundle.path)
        with refreshing(bundle) as refresh, progress_bars() as progress:
            refresh.run(refresh.begin(_now_ms()), pace, progress, partial(_is_served, root, named))
        remove_retired(bundle.path.parent)
        console.print(facts_table(f"Library of {bundle.path}", library_state(bundle, _now_ms()).facts()))
        if arguments.once:
            return
        pace.rest()


def _is_served(root: Path, named: Hashable) -> bool:
    """Whether ``current`` still names the bundle that is refreshed."""
    from karec.bundle import identity_of

    return identity_of(root) == named


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
