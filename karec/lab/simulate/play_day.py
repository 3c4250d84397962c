"""Plays a day of an arm on all cores, in slots of SLOT_MS; a slot has constant dual variables.

Within a slot no page depends on another user's, so each of ``cores`` processes plays its own users. After the
slot, exposure control counts all pages in this process, in the order of time and user, and its new dual
variables are sent to all processes. So the result does not depend on the number of processes. A live platform
updates its dual variables every ten pages; 2,000 users make about as many in a slot.

Cost: one exchange with each process per slot.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from karec.errors import Unavailable
from karec.exposure.dual_variables import DualVariables
from karec.lab.simulate.sessions import NEVER, CountedPage, DayResult, Players, SimulatedDay
from karec.times import DAY_MS, HOUR_MS

SLOT_MS = HOUR_MS // 6


class Team(Protocol):
    """Some users, in this process or another."""

    def begin(self, until_ms: int, dual_variables: DualVariables | None) -> None:
        """Starts playing the pages before ``until_ms``."""

    def take_counted(self) -> list[CountedPage]:
        """Returns the pages since the last ``begin`` that exposure control counts; waits for them."""

    def result(self) -> DayResult:
        """Returns the whole day."""


def play_day(
    day: SimulatedDay,
    levels: NDArray[Any],
    recent_works: NDArray[Any],
    cores: int,
    on_progress: Callable[[int, int], None],
) -> DayResult:
    """Plays every potential session of ``day``, and adds its pages to its exposure controller, if it has one.

    Calls ``on_progress(done, total)`` after each slot.
    """
    visits, begin_ms = day.population.visits, day.population.first_ms + day.number * DAY_MS
    rows = np.arange(len(visits.day))[visits.day_rows(day.number)]
    users = np.unique(visits.user[rows])
    parts = [
        rows[np.isin(visits.user[rows], users[core::cores])] for core in range(min(cores, max(len(users), 1)))
    ]
    controller, slots = day.exposure, DAY_MS // SLOT_MS
    with _teams(day, parts, levels, recent_works) as teams:
        for slot in range(1, slots + 1):
            until_ms = begin_ms + slot * SLOT_MS if slot < slots else NEVER
            for team in teams:
                team.begin(until_ms, None if controller is None else controller.newest)
            counted = [page for team in teams for page in team.take_counted()]
            if controller is not None and counted:
                counted.sort(key=lambda page: page[:2])
                controller.add_pages([impressions for _, _, impressions in counted])
            on_progress(slot, slots)
        return DayResult.from_parts([team.result() for team in teams])


@contextmanager
def _teams(
    day: SimulatedDay, parts: Sequence[NDArray[Any]], levels: NDArray[Any], recent_works: NDArray[Any]
) -> Iterator[Sequence[Team]]:
    if len(parts) == 1:
        yield [_LocalTeam(Players(day, parts[0], levels, recent_works))]
        return
    teams = [_ForkedTeam(day, part, levels, recent_works) for part in parts]
    try:
        yield teams
    finally:
        for team in teams:
            team.end()


class _LocalTeam:
    """Plays in this process, which has the newest dual variables already."""

    def __init__(self, players: Players) -> None:
        self._players = players
        self._counted: list[CountedPage] = []

    def begin(self, until_ms: int, dual_variables: DualVariables | None) -> None:
        self._counted = self._players.play(until_ms)

    def take_counted(self) -> list[CountedPage]:
        return self._counted

    def result(self) -> DayResult:
        return self._players.result()


class _ForkedTeam:
    """Plays in a forked process."""

    def __init__(
        self, day: SimulatedDay, visits: NDArray[Any], levels: NDArray[Any], recent_works: NDArray[Any]
    ) -> None:
        context = multiprocessing.get_context("fork")
        self._connection, child_connection = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(child_connection, day, visits, levels, recent_works), daemon=True
        )
        self._process.start()
        child_connection.close()

    def begin(self, until_ms: int, dual_variables: DualVariables | None) -> None:
        self._send((until_ms, dual_variables))

    def take_counted(self) -> list[CountedPage]:
        counted: list[CountedPage] = self._receive()
        return counted

    def result(self) -> DayResult:
        self._send(None)
        result: DayResult = self._receive()
        return result

    def end(self) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.join()

    def _send(self, message: tuple[int, DualVariables | None] | None) -> None:
        with self._report_exit():
            self._connection.send(message)

    @contextmanager
    def _report_exit(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            self._process.join()
            raise Unavailable(
                f"a process that plays users ended with {self._process.exitcode} (-9: killed, often for "
                "memory); `karec lab simulate --resume` continues after the last day"
            ) from error

    def _receive(self) -> Any:
        """Returns the reply of the process, or raises its error. Unavailable: the process has ended."""
        with self._report_exit():
            reply = self._connection.recv()
        if isinstance(reply, Exception):
            raise reply
        return reply


def _serve(
    connection: Connection,
    day: SimulatedDay,
    visits: NDArray[Any],
    levels: NDArray[Any],
    recent_works: NDArray[Any],
) -> None:
    threading.Thread(target=_end_with_parent, name="karec-parent", daemon=True).start()
    try:
        players = Players(day, visits, levels, recent_works)
        while (message := connection.recv()) is not None:
            until_ms, dual_variables = message
            if day.exposure is not None:
                day.exposure.set_newest(dual_variables)
            connection.send(players.play(until_ms))
        connection.send(players.result())
    except Exception as error:
        connection.send(error)


def _end_with_parent() -> None:
    """Ends this process when its parent is killed.

    Otherwise it would wait for work forever and hold the lock of the simulation's folder.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
