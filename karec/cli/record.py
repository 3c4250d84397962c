"""``karec record``: stores events of an operator or a batch in the online store of a service."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

ROWS_PER_CALL = 10_000


def run(arguments: argparse.Namespace) -> None:
    """Raises ValueError if rows are not stored; the others are."""
    from karec.bundle import Bundle
    from karec.config.scenes import Config
    from karec.online.apply_events import EventApplier
    from karec.online.ingestion import append_events, head_of
    from karec.online.parse_events import EventParser
    from karec.online.store.contents import StoreContents
    from karec.online.store.open import open_store

    config = Config.read(arguments.config)
    if config.online is None:
        raise ValueError(f"{arguments.config} has no table [online], which names the online store")
    bundle = Bundle.open(config.follow_bundle(), verify=False)
    contents = StoreContents(bundle.snapshot, head_of(bundle.snapshot, config.online.late_ms))
    parser, applier = EventParser(bundle, contents.head), EventApplier(contents)
    n_events = 0
    refused = Counter[str]()
    store = open_store(config.online.url, arguments.config.absolute().parent)
    try:
        contents.check(store)
        rows = _rows(sys.stdin, refused) if arguments.rows is None else _rows_of_file(arguments.rows, refused)
        while batch := list(islice(rows, ROWS_PER_CALL)):
            now_ms = time.time_ns() // 1_000_000
            events, not_events = parser.parse(batch, now_ms)
            n_stored, invalid = append_events(store, applier, events, now_ms)
            n_events += n_stored
            refused += not_events + invalid
    finally:
        store.close()
    print(f"{n_events:,} events are stored")
    if refused:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(refused.items()))
        raise ValueError(f"not stored: {reasons}")


def _rows_of_file(path: Any, refused: Counter[str]) -> Iterator[Any]:
    with open(path, encoding="utf-8") as lines:
        yield from _rows(lines, refused)


def _rows(lines: Iterable[str], refused: Counter[str]) -> Iterator[Any]:
    for line in lines:
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                refused["a line is not JSON"] += 1
