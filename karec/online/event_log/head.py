"""``log.json``: the format, the names of labels and scenes, and how late an event may be."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from karec.aggregates.events import Head
from karec.errors import LogSchemaError
from karec.files import read_json, write_text_aside

FORMAT = 1
NAME = "log.json"


def is_event_log(folder: Path) -> bool:
    """Whether ``folder`` has the head of an event log."""
    return (folder / NAME).is_file()


def read_head(folder: Path) -> Head:
    """Raises LogSchemaError where there is none, or one that this version does not read."""
    path = folder / NAME
    try:
        found = read_json(path)
    except FileNotFoundError as error:
        raise LogSchemaError(f"{folder} holds no event log: it has no {NAME}") from error
    except (OSError, ValueError) as error:
        raise LogSchemaError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        version = found.get("format") if isinstance(found, dict) else None
        raise LogSchemaError(f"{path}: event log format {version}, this version reads {FORMAT}")
    try:
        return Head(tuple(map(str, found["labels"])), tuple(map(str, found["scenes"])), int(found["late_ms"]))
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise LogSchemaError(f"{path} is damaged: {error!r}") from error


def begin_log(folder: Path, head: Head) -> None:
    """The log in ``folder`` has this head; it is made where there is none. LogSchemaError where it has
    another."""
    folder.mkdir(parents=True, exist_ok=True)
    if not is_event_log(folder):
        with _alone(folder):
            if not is_event_log(folder):
                write_text_aside(folder / NAME, json.dumps({"format": FORMAT, **asdict(head)}) + "\n")
    found = read_head(folder)
    if found != head:
        raise LogSchemaError(f"{folder} is a log with {found}, not with {head}: write to a new folder")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Of writers that make a log at once, one after the other: the first one's head is the log's."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # no locks here
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
