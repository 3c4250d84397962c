"""A day of an arm that steers exposure, on all cores: every user asks with the same prices.

The day goes in slots of SLOT_MS. Within a slot prices stand still, so that no page depends on another user's,
and each of ``cores`` processes plays its users' pages alone. When all are there, their feeds are counted in
one ledger, here, in order of moment and user, and the prices that come of it go to all processes for the next
slot. So what is played does not depend on how many processes play it. A live platform moves its prices every
ten feeds; so do 2,000 users in a slot.

Cost  as a day without steering, and per slot one exchange with each process: prices out, what exposure counts
      back.
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
from karec.exposure.controller import Steering
from karec.exposure.dual_variables import Prices
from karec.lab.simulate.sessions import NEVER, Counted, Played, Players, Today
from karec.lab.simulate.workers import end_with_parent
from karec.times import DAY_MS, HOUR_MS

SLOT_MS = HOUR_MS // 6


class Team(Protocol):
    """Some users, wherever they are played."""

    def begin(self, until_ms: int, prices: Prices) -> None:
        """Play the pages before ``until_ms``."""

    def counted(self) -> list[Counted]:
        """What was shown since the last ``begin``, when it is there."""

    def played(self) -> Played:
        """The whole day."""


def play_steered(
    today: Today,
    steering: Steering,
    levels: NDArray[Any],
    lately: NDArray[Any],
    cores: int,
    said: Callable[[int, int], None],
) -> Played:
    """Every potential session of the day; ``steering``, which the cascades of ``today`` read, moves on by a
    day. ``said(done, total)`` is called after each slot.
    """
    of, begin = today.population.visits, today.population.first_ms + today.day * DAY_MS
    rows = np.arange(len(of.day))[of.of_day(today.day)]
    users = np.unique(of.user[rows])
    parts = [
        rows[np.isin(of.user[rows], users[core::cores])] for core in range(min(cores, max(len(users), 1)))
    ]
    slots = DAY_MS // SLOT_MS
    with _teams(today, steering, parts, levels, lately) as teams:
        for slot in range(1, slots + 1):
            until = begin + slot * SLOT_MS if slot < slots else NEVER
            for team in teams:
                team.begin(until, steering.newest)
            counted = [each for team in teams for each in team.counted()]
            if counted:
                counted.sort(key=lambda each: each[:2])
                steering.count([feed for _, _, feed in counted])
            said(slot, slots)
        return Played.joined([team.played() for team in teams])


@contextmanager
def _teams(
    today: Today,
    steering: Steering,
    parts: Sequence[NDArray[Any]],
    levels: NDArray[Any],
    lately: NDArray[Any],
) -> Iterator[Sequence[Team]]:
    if len(parts) == 1:
        yield [_Here(Players(today, parts[0], levels, lately))]
        return
    teams = [_There(today, steering, part, levels, lately) for part in parts]
    try:
        yield teams
    finally:
        for team in teams:
            team.end()


class _Here:
    """In this process, whose prices are the newest already."""

    def __init__(self, players: Players) -> None:
        self._players, self._counted = players, list[Counted]()

    def begin(self, until_ms: int, prices: Prices) -> None:
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
        steering: Steering,
        visits: NDArray[Any],
        levels: NDArray[Any],
        lately: NDArray[Any],
    ) -> None:
        context = multiprocessing.get_context("fork")
        self._line, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, today, steering, visits, levels, lately), daemon=True
        )
        self._process.start()
        theirs.close()

    def begin(self, until_ms: int, prices: Prices) -> None:
        self._ask((until_ms, prices))

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

    def _ask(self, what: tuple[int, Prices] | None) -> None:
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
    steering: Steering,
    visits: NDArray[Any],
    levels: NDArray[Any],
    lately: NDArray[Any],
) -> None:
    end_with_parent()
    try:
        players = Players(today, visits, levels, lately)
        while (asked := line.recv()) is not None:
            until, prices = asked
            steering.follow(prices)
            line.send(players.play(until))
        line.send(players.played())
    except Exception as error:
        line.send(error)
