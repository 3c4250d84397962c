"""Plays a day on all cores: chunks of users in forked processes, joined in the order of users.

A user's day does not depend on other users, so the result does not depend on the number of processes.
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
_work: list[Work] = []  # inherited by forked processes, so it need not be sent


def play_day(
    today: Today,
    levels: NDArray[Any],
    lately: NDArray[Any],
    cores: int,
    on_progress: Callable[[int, int], None],
) -> Played:
    """Plays every potential session of the day. Calls ``on_progress(done, total)`` as chunks end."""
    visits = today.population.visits
    rows = np.arange(len(visits.day))[visits.day_rows(today.day)]
    starts = np.searchsorted(visits.user[rows], np.unique(visits.user[rows])[:: max(CHUNK // 2, 1)])
    chunks = [chunk for chunk in np.split(rows, starts[1:]) if len(chunk)]
    parts, done = [], 0
    _work.append((today, levels, lately))
    try:
        if cores == 1 or len(chunks) < 2:
            results = map(_play, chunks)
            for part, chunk in zip(results, chunks, strict=True):
                parts.append(part)
                on_progress(done := done + len(chunk), len(rows))
        else:
            context = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(cores, mp_context=context, initializer=end_with_parent) as pool:
                for part, chunk in zip(pool.map(_play, chunks), chunks, strict=True):
                    parts.append(part)
                    on_progress(done := done + len(chunk), len(rows))
    finally:
        _work.pop()
    if not parts:
        parts = [_play_visits(today, rows, levels, lately)]
    return Played.from_parts(parts)


def end_with_parent() -> None:
    """Ends this process when its parent is killed.

    Otherwise it would wait for work forever and hold the lock of the simulation's folder.
    """
    threading.Thread(target=_wait_for_end, name="karec-parent", daemon=True).start()


def _wait_for_end() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _play(chunk: NDArray[Any]) -> Played:
    return _play_visits(_work[-1][0], chunk, *_work[-1][1:])


def _play_visits(today: Today, visits: NDArray[Any], levels: NDArray[Any], lately: NDArray[Any]) -> Played:
    players = Players(today, visits, levels, lately)
    players.play()
    return players.result()
