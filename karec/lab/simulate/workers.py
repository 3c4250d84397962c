"""A day on all cores: users in chunks, each played in a forked process, joined in the order of users.

A user's day depends on nobody else's, so what is played does not depend on how many processes play it.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.lab.simulate.sessions import Played, Players, Today

CHUNK = 200  # potential sessions

Work = tuple[Today, NDArray[Any], NDArray[Any]]
_work: list[Work] = []  # what forked processes find: it is not sent to them


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def play_day(
    today: Today, levels: NDArray[Any], lately: NDArray[Any], cores: int, said: Callable[[int, int], None]
) -> Played:
    """Every potential session of the day; ``said(done, total)`` is called as chunks end."""
    of = today.population.visits
    rows = np.arange(len(of.day))[of.of_day(today.day)]
    starts = np.searchsorted(of.user[rows], np.unique(of.user[rows])[:: max(CHUNK // 2, 1)])
    chunks = [chunk for chunk in np.split(rows, starts[1:]) if len(chunk)]
    parts, done = [], 0
    _work.append((today, levels, lately))
    try:
        if cores == 1 or len(chunks) < 2:
            results = map(_play, chunks)
            for part, chunk in zip(results, chunks, strict=True):
                parts.append(part)
                said(done := done + len(chunk), len(rows))
        else:
            context = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(cores, mp_context=context, initializer=end_with_parent) as pool:
                for part, chunk in zip(pool.map(_play, chunks), chunks, strict=True):
                    parts.append(part)
                    said(done := done + len(chunk), len(rows))
    finally:
        _work.pop()
    if not parts:
        parts = [_played(today, rows, levels, lately)]
    return Played.joined(parts)


def end_with_parent() -> None:
    """A player whose parent was killed ends too: else it would wait for work, and hold the simulation's
    folder."""
    threading.Thread(target=_wait_for_end, name="karec-parent", daemon=True).start()


def _wait_for_end() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _play(chunk: NDArray[Any]) -> Played:
    return _played(_work[-1][0], chunk, *_work[-1][1:])


def _played(today: Today, visits: NDArray[Any], levels: NDArray[Any], lately: NDArray[Any]) -> Played:
    players = Players(today, visits, levels, lately)
    players.play()
    return players.played()
