"""A training by its options: alone in its folder, and gone on with where one was cut off that would learn the
same."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from karec.cli.inputs import train_settings
from karec.errors import DataError

if TYPE_CHECKING:
    from karec.cli.inputs import Loaded
    from karec.cli.progress import ProgressBars
    from karec.learn.run.unfinished import UnfinishedRun
    from karec.online.read_log import EventSource

T = TypeVar("T")


def gone_on_with(
    arguments: argparse.Namespace,
    run: Path,
    read: Loaded,
    events: EventSource | None,
    train: Callable[[Loaded, bool], T],
    progress: ProgressBars,
) -> T:
    """``train(data, resume)`` into ``run``, where ``data`` include the events of ``events``.

    A training that was cut off there is gone on with: by --resume, or with --publish-if-no-worse where it
    would learn from the same data with the same settings, else anew.
    """
    from karec.learn.fit.checkpoint import CheckpointError
    from karec.learn.run.unfinished import UnfinishedRun

    by_itself = arguments.margin is not None and arguments.choose is None
    cut_off = UnfinishedRun.from_folder(run, _now_ms()) if by_itself or arguments.resume else None
    try:
        return _trained(arguments, run, read, events, train, cut_off)
    except CheckpointError as error:
        if cut_off is None or arguments.resume:
            raise
        progress.note(f"the training that was cut off begins anew: {error}")
    return _trained(arguments, run, read, events, train, None)


def _trained(
    arguments: argparse.Namespace,
    run: Path,
    data: Loaded,
    events: EventSource | None,
    train: Callable[[Loaded, bool], T],
    cut_off: UnfinishedRun | None,
) -> T:
    from karec.learn.fit.checkpoint import CheckpointError
    from karec.learn.run.unfinished import UnfinishedRun
    from karec.learn.settings.check import fingerprint
    from karec.samples.from_events import newest_append_ms, with_events

    until = None
    if events is not None:
        said = None if cut_off is None else cut_off.logged_until_ms
        until = newest_append_ms(events) if said is None else said
        data = data._replace(dataset=with_events(data.dataset, events, until))
    if arguments.margin is None and events is None:
        return train(data, arguments.resume)
    begun = UnfinishedRun(_now_ms(), until, fingerprint(data.dataset, train_settings(arguments)))
    if cut_off is not None:
        begun = dataclasses.replace(begun, begun_ms=cut_off.begun_ms)
        if cut_off != begun:
            raise CheckpointError(f"{run} is of {cut_off.fingerprint}; this one is of {begun.fingerprint}")
    with begun.mark(run):
        return train(data, arguments.resume or cut_off is not None)


@contextmanager
def alone_in_out(out: Path) -> Iterator[None]:
    """DataError: another training writes into ``out``."""
    from karec.bundle.in_use import lock_exclusively

    if not out.is_dir():  # who is refused later leaves nothing behind
        yield
        return
    with lock_exclusively(out, wait=False) as alone:
        if not alone:
            raise DataError(
                f"{out}: another karec train writes there: wait until it has ended, or name another folder"
            )
        yield


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
