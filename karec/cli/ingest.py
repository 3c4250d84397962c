"""``karec ingest``: stores events in the online store of a service, or restores a lost store."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from karec.cli.options import Config
from karec.cli.output import ProgressReport


def ingest(
    config: Config,
    rows: Annotated[
        Path | None,
        typer.Argument(metavar="ROWS", help="File with one JSON object per line (default: standard input)."),
    ] = None,
    from_backup: Annotated[
        bool,
        typer.Option("--from-backup", help="Restore a lost SQLite store from its backup."),
    ] = False,
    recompute_state: Annotated[
        bool, typer.Option("--recompute-state", help="Compute the state of a SQLite store from all events.")
    ] = False,
) -> None:
    """Store events and item changes. Invalid rows are counted by reason; the exit code is then 2.

    Stop the services before --from-backup and --recompute-state, and start them afterwards.
    """
    from karec.config.online_store import restore_store, store_lines

    if (rows is not None) + from_backup + recompute_state > 1:
        raise ValueError("give one of ROWS, --from-backup and --recompute-state")
    if from_backup or recompute_state:
        with ProgressReport() as progress:
            file = restore_store(config, progress.note, recompute_state=recompute_state)
        outcome = f"state of {file} recomputed" if recompute_state else f"{file} is restored"
        print(f"{outcome}: restart the services")
        return
    if rows is None and sys.stdin is None:
        raise ValueError("standard input is closed: give ROWS or standard input")
    with nullcontext(sys.stdin) if rows is None else rows.open(encoding="utf-8") as lines:
        n_events, reasons = store_lines(config, lines)
    print(f"events stored: {n_events:,}")
    if reasons:
        counts = ", ".join(f"{reason}: {n:,}" for reason, n in sorted(reasons.items()))
        raise ValueError(f"rows that are not stored, by reason: {counts}")
