"""``karec live``: refresh, training and publishing beside a service, as child processes, by one karec.toml.

FOLDER/live/NAME.log     what the child NAME wrote (``karec.cli.children``)
FOLDER/live/live.json    the last state, written aside (docs/formats.md)

FOLDER is the karec.toml's. One ``karec live`` runs in a folder: it holds a lock that ends with its process.
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
LOOK_S = 0.2
HOUR_S = 3600.0
TRAINED = {
    0: "published",
    NOT_PUBLISHED: "trained, not published: it may be worse than the version in service",
}


def run(arguments: argparse.Namespace) -> None:
    """Until SIGTERM or SIGINT, which stop the children; then it returns."""
    from karec.bundle.in_use import lock_exclusively
    from karec.config.scenes import Config

    config = Config.read(arguments.config)
    place = config.path.absolute().parent / "live"
    if arguments.status:
        _print_state(place)
        return
    children = children_of(config, place)
    place.mkdir(exist_ok=True)
    with lock_exclusively(place, wait=False) as alone:
        if not alone:
            raise DataError(
                f"{place}: another karec live runs here (process {_read(place).get('pid')}): stop it first"
            )
        before = _read(place).get("children", {})
        for child in children:
            if child.name in before:
                child.go_on(before[child.name])
        with _ended_by_signals() as ended:
            try:
                supervise(children, place / STATE, ended)
            finally:
                for child in children:
                    child.stop()
                _write(place / STATE, children, None)


def children_of(config: Config, logs: Path) -> list[Child]:
    """What ``config`` asks for. ConfigError: it has no table ``online``, asks for nothing, or trainings would
    publish elsewhere than where its bundle lies.
    """
    from karec.online.store.open import MEMORY

    settings = config.online
    folder = config.path.absolute().parent
    if settings is None:
        raise ConfigError(f"{config.path} has no table [online], which says what karec live runs")
    if not settings.refresh_share and not settings.train_every_hours:
        raise ConfigError(
            f"{config.path}: online: refresh_share and train_every_hours are 0, and nothing is left to run"
        )
    found = []
    if settings.refresh_share:
        words = ["refresh", str(config.bundle.absolute()), "--share", str(settings.refresh_share)]
        words += [] if settings.url == MEMORY else ["--config", str(config.path.absolute())]
        found.append(Child("refresh", words, folder, logs))
    if settings.train_every_hours:
        if config.bundle.absolute() != folder / "bundles":
            raise ConfigError(
                f'{config.path}: bundle: trainings publish into {folder}/bundles; write bundle = "bundles"'
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
        found.append(Child("train", [*words, *settings.train], folder, logs, TRAINED, every_s))
    return found


def supervise(children: Sequence[Child], state: Path, ended: Event) -> None:
    """Looks after ``children`` until ``ended``; a change is told on standard error and in the file
    ``state``."""
    line = _StatusLine()
    while not ended.wait(LOOK_S):
        now = time.time()
        changed = [child for child in children if _looked_at(child, now)]
        if changed:
            _write(state, children, os.getpid())
        line.show(children, now, changed)
    line.close()


def _looked_at(child: Child, now: float) -> bool:
    try:
        return child.look(now)
    except OSError as error:  # a disk that is full, no process left: it is tried again
        child.last, child.next_s = str(error), now + 1.0
        return True


def described(child: Mapping[str, Any], now: float) -> str:
    """One child in a few words, from what the state file says of it."""
    if child["pid"] is not None:
        doing = f"runs since {_span(now - child['began_s'])} (process {child['pid']})"
    else:
        doing = f"begins in {_span(child['next_s'] - now)}"
    last = f"; last: {child['last']}" if child["last"] else ""
    return f"{doing}, died {child['deaths']} times{last}" if child["deaths"] else f"{doing}{last}"


def _span(seconds: float) -> str:
    whole = max(round(seconds), 0)
    return (
        f"{whole} s" if whole < 120 else f"{whole / 60:.0f} min" if whole < 7200 else f"{whole / 3600:.1f} h"
    )


class _StatusLine:
    """One line that changes in place on a terminal; elsewhere a line for each change."""

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
            told = " | ".join(f"{child.name} {described(child.told(), now)}" for child in children)
            self._live.update(Text(told, no_wrap=True, overflow="ellipsis"), refresh=True)
        for child in changed:
            print(f"{child.name}: {described(child.told(), now)}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


@contextmanager
def _ended_by_signals() -> Iterator[Event]:
    """An event that SIGTERM and SIGINT set while the block runs."""
    ended = Event()
    before = {each: signal.signal(each, lambda *_: ended.set()) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield ended
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _write(path: Path, children: Sequence[Child], pid: int | None) -> None:
    told = {child.name: child.told() for child in children}
    text = json.dumps({"format": FORMAT, "pid": pid, "at_s": time.time(), "children": told}, indent=1)
    try:
        write_text_aside(path, text)
    except OSError as error:  # children go on without
        print(f"karec live: its state is not written: {error}", file=sys.stderr, flush=True)


def _read(place: Path) -> dict[str, Any]:
    """The state file; empty where there is none that can be read."""
    try:
        found = json.loads((place / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("format") == FORMAT else {}


def _print_state(place: Path) -> None:
    """DataError: no ``karec live`` has run here."""
    from karec.bundle.in_use import lock_exclusively
    from karec.cli.tables import facts_table

    found, now = _read(place), time.time()
    if not found:
        raise DataError(f"{place / STATE} holds no state: karec live has not run here")
    with lock_exclusively(place, wait=False) as alone:
        facts = {"karec live": "does not run" if alone else f"process {found['pid']}"}
    for name, child in found["children"].items():
        told = {**child, "pid": None} if alone else child
        facts[name] = "" if alone else described(told, now)
        facts[name] = facts[name] or f"does not run; last: {child['last'] or 'nothing yet'}"
    console = table_console()
    console.print(facts_table(f"karec live in {place}", facts))
