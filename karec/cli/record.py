"""``karec record``: what an operator or a batch reports, into the event log of services that run, or will."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

AT_ONCE = 10_000  # rows


def run(arguments: argparse.Namespace) -> None:
    """ValueError: some rows are not in the log; the others are."""
    from karec.bundle import Bundle
    from karec.config.scenes import Config
    from karec.online.event_log.append import EventLogWriter
    from karec.online.ingestion import open_log
    from karec.online.reported import EventParser

    config = Config.read(arguments.config)
    if config.live is None:
        raise ValueError(f"{arguments.config} has no table [live], which says where the event log is")
    bundle = Bundle.open(config.follow_bundle(), verify=False)
    folder = arguments.config.absolute().parent / config.live.events
    head = open_log(folder, bundle.snapshot)
    happenings, told, refused = EventParser(bundle, head), 0, Counter[str]()
    with EventLogWriter(folder, head) as log:
        rows = _rows(sys.stdin, refused) if arguments.rows is None else iter(_given(arguments.rows, refused))
        while some := list(islice(rows, AT_ONCE)):
            events, no_events = happenings.events(some, time.time_ns() // 1_000_000)
            appended = log.append(events)
            told += appended.events
            refused += no_events + Counter(appended.refused)
    print(f"{told:,} in the log {folder}")
    if refused:
        raise ValueError("not in the log: " + ", ".join(f"{why} {n:,}" for why, n in sorted(refused.items())))


def _given(path: Any, refused: Counter[str]) -> Iterator[Any]:
    with open(path, encoding="utf-8") as lines:
        yield from _rows(lines, refused)


def _rows(lines: Iterable[str], refused: Counter[str]) -> Iterator[Any]:
    for line in lines:
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                refused["a line is no JSON"] += 1
