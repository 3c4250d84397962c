"""``karec live`` runs refresh, training and publishing as child processes, in parallel to a service.

    FOLDER/live/NAME.log     output of the child NAME (``karec.cli.children``)
    FOLDER/live/live.json    the last state (docs/formats.md)

FOLDER is that of the karec.toml. A lock admits one ``karec live`` per folder; it ends with the process.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from karec.cli.children import Child
from karec.cli.inputs import table_console
from karec.cli.train import NOT_PUBLISHED
from karec.errors import ConfigError, DataError
from karec.files import write_text_aside

if TYPE_CHECKING:
    from karec.config.scenes import Config

FORMAT = 1
STATE = "live.json"
POLL_S = 0.2
HOUR_S = 3600.0
TRAINED = {
    0: "published",
    NOT_PUBLISHED: "trained, not published: it may be worse than the version in service",
}


def run(arguments: argparse.Namespace) -> None:
    """Runs the children until SIGTERM or SIGINT, then stops them."""
    from karec.bundle.in_use import lock_exclusively
    from karec.config.scenes import Config

    config = Config.read(arguments.config)
    place = config.path.absolute().parent / "live"
    if arguments.status:
        _print_state(place)
        return
    children = children_of(config, place)
    place.mkdir(exist_ok=True)
    with lock_exclusively(place, wait=False) as is_locked:
        if not is_locked:
            raise DataError(
                f"{place}: another karec live runs here (process {_read(place).get('pid')}). Stop it first."
            )
        before = _read(place).get("children", {})
        for child in children:
            if child.name in before:
                child.resume(before[child.name])
        with _ended_by_signals() as ended:
            try:
                supervise(children, place / STATE, ended)
            finally:
                for child in children:
                    child.stop()
                _write(place / STATE, children, None)


def children_of(config: Config, logs: Path) -> list[Child]:
    """Returns the children that the table ``online`` of ``config`` configures.

    Raises ConfigError if the table is missing, if it configures no child, or if trainings would publish into
    another folder than the one of its bundle.
    """
    from karec.online.store.open import MEMORY

    settings = config.online
    folder = config.path.absolute().parent
    if settings is None:
        raise ConfigError(f"{config.path} has no table [online], which configures karec live")
    if not settings.refresh_share and not settings.train_every_hours:
        raise ConfigError(
            f"{config.path}: online: refresh_share and train_every_hours are 0, expected one above 0"
        )
    children = []
    if settings.refresh_share:
        words = ["refresh", str(config.bundle.absolute()), "--share", str(settings.refresh_share)]
        words += [] if settings.url == MEMORY else ["--config", str(config.path.absolute())]
        children.append(Child("refresh", words, folder, logs))
    if settings.train_every_hours:
        if config.bundle.absolute() != folder / "bundles":
            raise ConfigError(
                f'{config.path}: bundle: trainings publish into {folder}/bundles. Write bundle = "bundles".'
            )
        words = [
            "train",
            "--out",
            ".",
            "--events",
            str(config.path.absolute()),
            "--publish-if-no-worse",
            str(settings.margin),
        ]
        every_s = settings.train_every_hours * HOUR_S
        children.append(Child("train", [*words, *settings.train], folder, logs, TRAINED, every_s))
    return children


def supervise(children: Sequence[Child], state: Path, ended: Event) -> None:
    """Polls ``children`` until ``ended`` is set.

    Reports changes on standard error and in the file ``state``.
    """
    line = _StatusLine()
    while not ended.wait(POLL_S):
        now = time.time()
        changed = [child for child in children if _has_changed(child, now)]
        if changed:
            _write(state, children, os.getpid())
        line.show(children, now, changed)
    line.close()


def _has_changed(child: Child, now: float) -> bool:
    try:
        return child.poll(now)
    except OSError as error:  # for example a full disk, or no process left: the next poll tries again
        child.last, child.next_s = str(error), now + 1.0
        return True


def describe(child: Mapping[str, Any], now: float) -> str:
    """Returns one line on a child, from its entry in the state file."""
    if child["pid"] is not None:
        activity = f"runs since {_span(now - child['began_s'])} (process {child['pid']})"
    else:
        activity = f"begins in {_span(child['next_s'] - now)}"
    last = f"; last: {child['last']}" if child["last"] else ""
    return f"{activity}, died {child['deaths']} times{last}" if child["deaths"] else f"{activity}{last}"


def _span(seconds: float) -> str:
    whole = max(round(seconds), 0)
    return (
        f"{whole} s" if whole < 120 else f"{whole / 60:.0f} min" if whole < 7200 else f"{whole / 3600:.1f} h"
    )


class _StatusLine:
    """Status on standard error: one line that is updated in place on a terminal, else a line per change."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False) if sys.stderr.isatty() else None
        if self._live is not None:
            self._live.start()

    def show(self, children: Sequence[Child], now: float, changed: Sequence[Child]) -> None:
        from rich.text import Text

        if self._live is not None:
            line = " | ".join(f"{child.name} {describe(child.to_dict(), now)}" for child in children)
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
        for child in changed:
            print(f"{child.name}: {describe(child.to_dict(), now)}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


@contextmanager
def _ended_by_signals() -> Iterator[Event]:
    """Yields an event that SIGTERM and SIGINT set while the block runs."""
    ended = Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    handlers = {number: signal.signal(number, lambda *_: ended.set()) for number in numbers}
    try:
        yield ended
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _write(path: Path, children: Sequence[Child], pid: int | None) -> None:
    entries = {child.name: child.to_dict() for child in children}
    text = json.dumps({"format": FORMAT, "pid": pid, "at_s": time.time(), "children": entries}, indent=1)
    try:
        write_text_aside(path, text)
    except OSError as error:  # the children do not need the file
        print(f"karec live: {path} was not written: {error}", file=sys.stderr, flush=True)


def _read(place: Path) -> dict[str, Any]:
    """Returns the contents of the state file; empty if it cannot be read."""
    try:
        state = json.loads((place / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) and state.get("format") == FORMAT else {}


def _print_state(place: Path) -> None:
    """Raises DataError if no ``karec live`` has run here."""
    from karec.bundle.in_use import lock_exclusively
    from karec.cli.tables import facts_table

    state = _read(place)
    if not state:
        raise DataError(f"{place / STATE} is missing: karec live has not run here")
    with lock_exclusively(place, wait=False) as is_locked:
        is_running = not is_locked
    facts = {"karec live": f"process {state['pid']}" if is_running else "does not run"}
    now = time.time()
    for name, child in state["children"].items():
        facts[name] = (
            describe(child, now) if is_running else f"does not run; last: {child['last'] or 'nothing yet'}"
        )
    console = table_console()
    console.print(facts_table(f"karec live in {place}", facts))
