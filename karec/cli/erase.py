"""``karec erase``: erases users, items and creators from logs and store."""

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
    item_type: Annotated[
        str, typer.Option(metavar="TYPE", help="Type of the items, for example song.")
    ] = "work",
    creator: Annotated[Ids, typer.Option(metavar="ID", help="Creator to erase; repeatable.")] = None,
) -> None:
    """Erase ids from the events, state and rank logs of CONFIG, and list what is due. Services may run.

    A tombstone with a keyed hash of each id stays in erased.txt next to CONFIG: trainings and ingestion leave
    out older rows of the id. Run it again: it erases newer rows, and lists what is still due.
    """
    from karec.config.erase import erase_ids

    if not (user or item or creator):
        raise ValueError("name an id to erase: --user, --item or --creator")
    ids = {"user": user or [], "creator": creator or []}
    kind = "item" if item_type == "work" else item_type
    ids[kind] = [*ids.get(kind, []), *(item or [])]
    found = erase_ids(config, ids, time.time_ns() // 1_000_000)
    rows = [(place, outcome if n else "", n) for place, n, outcome in found]
    make_console().print(text_table("Erasure", ("place", "outcome", "found"), rows, text_columns=2))
