"""``karec erase``: erases ids from logs and store, and deletes logs that are older than CONFIG keeps them."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from karec.cli.options import Config
from karec.cli.output import make_console, text_table

Ids = list[str] | None


def erase(
    config: Config,
    user: Annotated[Ids, typer.Option(metavar="ID", help="User to erase; repeatable.")] = None,
    item: Annotated[Ids, typer.Option(metavar="ID", help="Item to erase; repeatable.")] = None,
    creator: Annotated[Ids, typer.Option(metavar="ID", help="Creator to erase; repeatable.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 if a place has one of the ids.")
    ] = False,
) -> int:
    """Erase ids from the events, state and rank logs of CONFIG, and list what is due. Services may run.

    A tombstone with a keyed hash of each id stays in erased/ next to CONFIG: trainings and ingestion leave
    out rows of the id from before. Without an id, delete log files that are older than CONFIG keeps them.
    """
    from karec.config.erase import delete_old_logs, erase_ids
    from karec.erasure import Kind

    now_ms = time.time_ns() // 1_000_000
    ids: dict[Kind, list[str]] = {"user": user or [], "item": item or [], "creator": creator or []}
    if not any(ids.values()):
        if check:
            raise ValueError("--check needs --user, --item or --creator")
        found = delete_old_logs(config, now_ms)
    else:
        found = erase_ids(config, ids, now_ms, is_check=check)
    rows = [(place, outcome if n and not check else "", n) for place, n, outcome in found]
    make_console().print(text_table("Erasure", ("place", "outcome", "found"), rows, text_columns=2))
    return int(check and any(place.rows for place in found))
