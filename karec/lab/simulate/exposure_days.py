"""Plays a day of an arm with exposure control on all cores: all users read the same dual variables.

The day has slots of SLOT_MS. Within a slot the dual variables stay the same, so no page depends on another
user's, and each of ``cores`` processes plays the pages of its users. At the end of a slot, this process adds
their pages to the exposure counters in order of time and user, and sends the new dual variables to all
processes. The pages therefore do not depend on the number of processes. A live platform updates its dual
variables every ten pages; 2,000 users do the same in a slot.

Cost: a day without exposure control, and per slot one exchange with each process.
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
    """Some users, wherever they are played."""

    def begin(self, until_ms: int, dual_variables: DualVariables) -> None:
        """Play the pages before ``until_ms``."""

    def counted(self) -> list[Counted]:
        """What was shown since the last ``begin``, when it is there."""

    def played(self) -> Played:
        """The whole day."""


def play_controlled(
    today: Today,
    controller: ExposureController,
    levels: NDArray[Any],
    lately: NDArray[Any],
    cores: int,
    said: Callable[[int, int], None],
) -> Played:
    """Plays every potential session of the day, and adds its pages to ``controller``.

    The cascades of ``today`` read ``controller``. ``said(done, total)`` is called after each slot.
    """
    of, begin = today.population.visits, today.population.first_ms + today.day * DAY_MS
    rows = np.arange(len(of.day))[of.of_day(today.day)]
    users = np.unique(of.user[rows])
    parts = [
        rows[np.isin(of.user[rows], users[core::cores])] for core in range(min(cores, max(len(users), 1)))
    ]
    slots = DAY_MS // SLOT_MS
    with _teams(today, controller, parts, levels, lately) as teams:
        for slot in range(1, slots + 1):
            until = begin + slot * SLOT_MS if slot < slots else NEVER
            for team in teams:
                team.begin(until, controller.newest)
            counted = [each for team in teams for each in team.counted()]
            if counted:
                counted.sort(key=lambda each: each[:2])
                controller.add_pages([feed for _, _, feed in counted])
            said(slot, slots)
        return Played.joined([team.played() for team in teams])


@contextmanager
def _teams(
    today: Today,
    controller: ExposureController,
    parts: Sequence[NDArray[Any]],
    levels: NDArray[Any],
    lately: NDArray[Any],
) -> Iterator[Sequence[Team]]:
    if len(parts) == 1:
        yield [_Here(Players(today, parts[0], levels, lately))]
        return
    teams = [_There(today, controller, part, levels, lately) for part in parts]
    try:
        yield teams
    finally:
        for team in teams:
            team.end()


class _Here:
    """Plays in this process, which has the newest dual variables."""

    def __init__(self, players: Players) -> None:
        self._players, self._counted = players, list[Counted]()

    def begin(self, until_ms: int, dual_variables: DualVariables) -> None:
        self._counted = self._players.play(until_ms)

    def counted(self) -> list[Counted]:
        return self._counted

    def played(self) -> Played:
        return self._players.played()


class _There:
    """In a forked process of its own."""

    def __init__(
        self,
        today: Today,
        controller: ExposureController,
        visits: NDArray[Any],
        levels: NDArray[Any],
        lately: NDArray[Any],
    ) -> None:
        context = multiprocessing.get_context("fork")
        self._line, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, today, controller, visits, levels, lately), daemon=True
        )
        self._process.start()
        theirs.close()

    def begin(self, until_ms: int, dual_variables: DualVariables) -> None:
        self._ask((until_ms, dual_variables))

    def counted(self) -> list[Counted]:
        counted: list[Counted] = self._answer()
        return counted

    def played(self) -> Played:
        self._ask(None)
        played: Played = self._answer()
        return played

    def end(self) -> None:
        self._line.close()
        self._process.terminate()
        self._process.join()

    def _ask(self, what: tuple[int, DualVariables] | None) -> None:
        with self._told():
            self._line.send(what)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            self._process.join()
            raise Unavailable(
                f"a process that plays users ended with {self._process.exitcode} (-9: killed, often for "
                "memory); `karec lab simulate --resume` goes on from the last day"
            ) from error

    def _answer(self) -> Any:
        """What the process sends; an error there is raised here, and Unavailable where the process is
        gone."""
        with self._told():
            answer = self._line.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(
    line: Connection,
    today: Today,
    controller: ExposureController,
    visits: NDArray[Any],
    levels: NDArray[Any],
    lately: NDArray[Any],
) -> None:
    end_with_parent()
    try:
        players = Players(today, visits, levels, lately)
        while (asked := line.recv()) is not None:
            until, dual_variables = asked
            controller.set_newest(dual_variables)
            line.send(players.play(until))
        line.send(players.played())
    except Exception as error:
        line.send(error)
