"""``karec schedule``: refresh, training and publishing as child processes, in parallel to a service.

    FOLDER/schedule/NAME.log         output of the child NAME (``karec.cli.children``)
    FOLDER/schedule/schedule.json    the last state (docs/formats.md)

FOLDER is that of the karec.toml. A lock admits one ``karec schedule`` per folder; it ends with the process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from karec.cli.children import Child
from karec.cli.options import Config, Json
from karec.cli.output import facts_table, make_console, print_json
from karec.cli.train import NOT_PUBLISHED
from karec.errors import ConfigError, DataError

if TYPE_CHECKING:
    from karec.config.scenes import Config as SceneConfig

FORMAT = 1
FOLDER = "schedule"
STATE = "schedule.json"
POLL_S = 0.2
HOUR_S = 3600.0
STATUS_TEXTS = {
    0: "published",
    NOT_PUBLISHED: "trained, not published: it may be worse than the version in service",
}


def schedule(
    config: Config,
    status: Annotated[
        bool, typer.Option("--status", help="Print the current state, or the last one.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Refresh, train and publish in parallel to a service, as table online of CONFIG says.

    Runs until SIGTERM or Ctrl-C, then stops the children. A child that fails starts again after 1, 2, 4 … 64
    seconds. Logs and the state are in the folder schedule/ next to CONFIG.
    """
    from karec.bundle.in_use import lock_exclusively
    from karec.config.online_store import read_online_config

    if as_json and not status:
        raise ValueError("--json needs --status")
    folder = config.absolute().parent / FOLDER
    if status:
        _print_state(folder, as_json=as_json)
        return
    children = children_of(read_online_config(config), folder)
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
                supervise(children, folder / STATE, is_ended)
            finally:
                for child in children:
                    child.stop()
                _write_state(folder / STATE, children, None)


def children_of(config: SceneConfig, logs: Path) -> list[Child]:
    """Returns the children that the table ``online`` of ``config`` configures.

    Raises ConfigError if it configures none, or if trainings would publish into another folder than the one
    of its bundle.
    """
    settings = config.online
    assert settings is not None
    path = config.path.absolute()
    folder = path.parent
    if not settings.refresh_share and not settings.train_every_hours:
        raise ConfigError(
            f"{config.path}: online: refresh_share and train_every_hours are 0, expected one above 0"
        )
    children = []
    if settings.refresh_share:
        command = ["refresh", str(path), "--share", str(settings.refresh_share)]
        children.append(Child("refresh", command, folder, logs))
    if settings.train_every_hours:
        if config.bundle.absolute() != folder / "bundles":
            raise ConfigError(
                f'{config.path}: bundle: trainings publish into {folder}/bundles. Write bundle = "bundles".'
            )
        command = [
            "train",
            "--out",
            ".",
            "--events",
            str(path),
            "--publish-if-no-worse",
            str(settings.margin),
        ]
        command += settings.train
        every_s = settings.train_every_hours * HOUR_S
        children.append(Child("train", command, folder, logs, STATUS_TEXTS, every_s))
    return children


def supervise(children: Sequence[Child], state: Path, is_ended: Event) -> None:
    """Polls ``children`` until ``is_ended`` is set. Reports changes on standard error and in ``state``."""
    while not is_ended.wait(POLL_S):
        now = time.time()
        changed = [child for child in children if _has_changed(child, now)]
        if changed:
            _write_state(state, children, os.getpid())
        for child in changed:
            print(f"{child.name}: {describe(child.to_dict(), now)}", file=sys.stderr, flush=True)


def _has_changed(child: Child, now: float) -> bool:
    try:
        return child.poll(now)
    except OSError as error:  # for example a full disk, or no process left: the next poll tries again
        child.last = str(error)
        child.next_s = now + 1.0
        return True


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


def _write_state(path: Path, children: Sequence[Child], pid: int | None) -> None:
    from karec.files import write_text_aside

    entries = {child.name: child.to_dict() for child in children}
    text = json.dumps({"format": FORMAT, "pid": pid, "at_s": time.time(), "children": entries}, indent=1)
    try:
        write_text_aside(path, text)
    except OSError as error:  # the children do not need the file
        print(f"karec schedule: {path} was not written: {error}", file=sys.stderr, flush=True)


def _read_state(folder: Path) -> dict[str, Any]:
    """Returns the contents of the state file; empty if it cannot be read."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) and state.get("format") == FORMAT else {}


def _print_state(folder: Path, *, as_json: bool) -> None:
    """Raises DataError if no ``karec schedule`` has run here."""
    from karec.bundle.in_use import lock_exclusively

    state = _read_state(folder)
    if not state:
        raise DataError(f"{folder / STATE} is missing: karec schedule has not run here")
    with lock_exclusively(folder, wait=False) as is_locked:
        is_running = not is_locked
    if as_json:
        print_json({**state, "is_running": is_running})
        return
    facts = {"karec schedule": f"process {state['pid']}" if is_running else "does not run"}
    now = time.time()
    for name, child in state["children"].items():
        last = f"does not run; last: {child['last'] or 'nothing yet'}"
        facts[name] = describe(child, now) if is_running else last
    make_console().print(facts_table(f"karec schedule in {folder}", facts))
