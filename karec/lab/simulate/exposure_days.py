"""A day of an arm with exposure control, on all cores: all requests of a slot use the same dual variables.

The day has slots of SLOT_MS. Within a slot the dual variables are constant, so no page depends on another
user's, and each of ``cores`` processes plays its own users. After the slot all pages are counted in this
process, in the order of time and user, and the new dual variables are sent to all processes. So the result
does not depend on the number of processes. A live platform updates its dual variables every ten pages; 2,000
users make about as many in a slot.

Cost: as a day without exposure control, plus one exchange with each process per slot.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from karec.errors import Unavailable
from karec.exposure.controller import ExposureController
from karec.exposure.dual_variables import DualVariables
from karec.lab.simulate.sessions import NEVER, Counted, Played, Players, Today
from karec.lab.simulate.workers import end_with_parent
from karec.times import DAY_MS, HOUR_MS

SLOT_MS = HOUR_MS // 6


class Team(Protocol):
    """Some users, in this process or another."""

    def begin(self, until_ms: int, dual_variables: DualVariables) -> None:
        """Starts playing the pages before ``until_ms``."""

    def take_counted(self) -> list[Counted]:
        """Returns the impressions since the last ``begin``; waits for them."""

    def result(self) -> Played:
        """Returns the whole day."""


def play_with_exposure(
    today: Today,
    controller: ExposureController,
    levels: NDArray[Any],
    lately: NDArray[Any],
    cores: int,
    on_progress: Callable[[int, int], None],
) -> Played:
    """Plays every potential session of the day, and adds its pages to ``controller``.

    The cascades of ``today`` read ``controller``. Calls ``on_progress(done, total)`` after each slot.
    """
    visits, begin = today.population.visits, today.population.first_ms + today.day * DAY_MS
    rows = np.arange(len(visits.day))[visits.day_rows(today.day)]
    users = np.unique(visits.user[rows])
    parts = [
        rows[np.isin(visits.user[rows], users[core::cores])] for core in range(min(cores, max(len(users), 1)))
    ]
    slots = DAY_MS // SLOT_MS
    with _teams(today, controller, parts, levels, lately) as teams:
        for slot in range(1, slots + 1):
            until = begin + slot * SLOT_MS if slot < slots else NEVER
            for team in teams:
                team.begin(until, controller.newest)
            counted = [item for team in teams for item in team.take_counted()]
            if counted:
                counted.sort(key=lambda item: item[:2])
                controller.add_pages([feed for _, _, feed in counted])
            on_progress(slot, slots)
        return Played.from_parts([team.result() for team in teams])


@contextmanager
def _teams(
    today: Today,
    controller: ExposureController,
    parts: Sequence[NDArray[Any]],
    levels: NDArray[Any],
    lately: NDArray[Any],
) -> Iterator[Sequence[Team]]:
    if len(parts) == 1:
        yield [_LocalTeam(Players(today, parts[0], levels, lately))]
        return
    teams = [_ForkedTeam(today, controller, part, levels, lately) for part in parts]
    try:
        yield teams
    finally:
        for team in teams:
            team.end()


class _LocalTeam:
    """Plays in this process, which has the newest dual variables already."""

    def __init__(self, players: Players) -> None:
        self._players, self._counted = players, list[Counted]()

    def begin(self, until_ms: int, dual_variables: DualVariables) -> None:
        self._counted = self._players.play(until_ms)

    def take_counted(self) -> list[Counted]:
        return self._counted

    def result(self) -> Played:
        return self._players.result()


class _ForkedTeam:
    """Plays in a forked process."""

    def __init__(
        self,
        today: Today,
        controller: ExposureController,
        visits: NDArray[Any],
        levels: NDArray[Any],
        lately: NDArray[Any],
    ) -> None:
        context = multiprocessing.get_context("fork")
        self._connection, child_connection = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(child_connection, today, controller, visits, levels, lately), daemon=True
        )
        self._process.start()
        child_connection.close()

    def begin(self, until_ms: int, dual_variables: DualVariables) -> None:
        self._send((until_ms, dual_variables))

    def take_counted(self) -> list[Counted]:
        counted: list[Counted] = self._receive()
        return counted

    def result(self) -> Played:
        self._send(None)
        result: Played = self._receive()
        return result

    def end(self) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.join()

    def _send(self, message: tuple[int, DualVariables] | None) -> None:
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
        """Returns the reply of the process, or raises its error. Unavailable: the process is gone."""
        with self._report_exit():
            reply = self._connection.recv()
        if isinstance(reply, Exception):
            raise reply
        return reply


def _serve(
    connection: Connection,
    today: Today,
    controller: ExposureController,
    visits: NDArray[Any],
    levels: NDArray[Any],
    lately: NDArray[Any],
) -> None:
    end_with_parent()
    try:
        players = Players(today, visits, levels, lately)
        while (message := connection.recv()) is not None:
            until, dual_variables = message
            controller.set_newest(dual_variables)
            connection.send(players.play(until))
        connection.send(players.result())
    except Exception as error:
        connection.send(error)
