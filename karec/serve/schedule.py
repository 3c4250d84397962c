"""Runs commands as child processes on a schedule, in parallel to a service.

    FOLDER/NAME.log         output of the child NAME (``karec.serve.children``)
    FOLDER/schedule.json    the last state (docs/formats.md)

A lock admits one schedule per folder; it ends with the process.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from karec.bundle.in_use import lock_exclusively
from karec.errors import DataError
from karec.files import write_text_aside
from karec.serve.children import Child

FORMAT = 1
STATE = "schedule.json"
POLL_S = 0.2


def run_schedule(children: Sequence[Child], folder: Path, report: Callable[[str], None]) -> None:
    """Runs ``children`` until SIGTERM or SIGINT, then stops them.

    ``report`` is called with a line for each change. The schedule of an earlier process in ``folder``
    continues. Raises DataError if another process runs there.
    """
    folder.mkdir(exist_ok=True)
    with lock_exclusively(folder, wait=False) as is_locked:
        if not is_locked:
            pid = _read_state(folder).get("pid")
            raise DataError(f"{folder}: another karec schedule runs here (process {pid}). Stop it first.")
        saved = _read_state(folder).get("children", {})
        for child in children:
            if child.name in saved:
                child.resume(saved[child.name])
        with _end_on_signals() as is_ended:
            try:
                _supervise(children, folder, report, is_ended)
            finally:
                for child in children:
                    child.stop()
                _write_state(folder, children, None, report)


def read_status(folder: Path) -> dict[str, Any]:
    """Returns the content of the state file and ``is_running``. Raises DataError if there is none."""
    state = _read_state(folder)
    if not state:
        raise DataError(f"{folder / STATE} is missing: karec schedule has not run here")
    with lock_exclusively(folder, wait=False) as is_locked:
        return {**state, "is_running": not is_locked}


def describe(child: Mapping[str, Any], now: float) -> str:
    """Returns one line on a child, from its entry in the state file."""
    if child["pid"] is not None:
        activity = f"runs since {_span(now - child['began_s'])} (process {child['pid']})"
    else:
        activity = f"begins in {_span(child['next_s'] - now)}"
    deaths = f", died {child['deaths']} times" if child["deaths"] else ""
    last = f"; last: {child['last']}" if child["last"] else ""
    return f"{activity}{deaths}{last}"


def _span(seconds: float) -> str:
    seconds = max(round(seconds), 0)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _supervise(
    children: Sequence[Child], folder: Path, report: Callable[[str], None], is_ended: Event
) -> None:
    while not is_ended.wait(POLL_S):
        now = time.time()
        changed = [child for child in children if _has_changed(child, now)]
        if changed:
            _write_state(folder, children, os.getpid(), report)
        for child in changed:
            report(f"{child.name}: {describe(child.to_dict(), now)}")


def _has_changed(child: Child, now: float) -> bool:
    try:
        return child.poll(now)
    except OSError as error:  # for example a full disk, or no process left: the next poll tries again
        child.last = str(error)
        child.next_s = now + 1.0
        return True


@contextmanager
def _end_on_signals() -> Iterator[Event]:
    """Yields an event that SIGTERM and SIGINT set while the block runs."""
    is_ended = Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    handlers = {number: signal.signal(number, lambda *_: is_ended.set()) for number in numbers}
    try:
        yield is_ended
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _write_state(
    folder: Path, children: Sequence[Child], pid: int | None, report: Callable[[str], None]
) -> None:
    entries = {child.name: child.to_dict() for child in children}
    text = json.dumps({"format": FORMAT, "pid": pid, "at_s": time.time(), "children": entries}, indent=1)
    try:
        write_text_aside(folder / STATE, text)
    except OSError as error:  # the children do not need the file
        report(f"{folder / STATE} was not written: {error}")


def _read_state(folder: Path) -> dict[str, Any]:
    """Returns the content of the state file; empty if it cannot be read."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) and state.get("format") == FORMAT else {}
