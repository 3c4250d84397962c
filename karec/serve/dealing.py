"""Connections are dealt evenly: whoever accepts one gives it to the ready worker that has fewest.

All workers accept from one listening socket, so that one that is killed takes nobody along who was not
accepted yet. Which of them accepts is chance, and a client keeps its connection: so it is counted who has how
many. A connection that was accepted by a worker with more than another has goes to the other one before
anything is read of it, as an open file over a socket pair. What was given to a worker that died before it
took it the parent hands on to a ready one; where none is ready it waits for the worker in its place.

    open    connections of each worker; each writes its own
    given   (from, to) and ``taken`` (to): what is given and not taken yet is on its way, and counts as the
            receiver's
"""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from karec.serve.board import READY, Board


class Dealing:
    """Made by the parent, before it forks."""

    def __init__(self, board: Board) -> None:
        self.board, n = board, len(board.rows)
        self._memory = mmap.mmap(-1, 8 * n * (n + 2))
        cells: Any = np.frombuffer(self._memory, np.int64)
        self.open, self.taken, self.given = cells[:n], cells[n : 2 * n], cells[2 * n :].reshape(n, n)
        self.inboxes = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(n)]
        for ends in self.inboxes:
            for end in ends:
                end.setblocking(False)

    def fewest(self, worker: int) -> int:
        """Who is to have a connection that ``worker`` accepted: itself where nobody has fewer, or nobody is
        ready."""
        loads = self.open + self.given.sum(axis=0) - self.taken
        ready = np.flatnonzero(self.board.rows["state"] == READY)
        if not len(ready):
            return worker
        best = int(ready[loads[ready].argmin()])
        return best if worker not in ready or loads[best] < loads[worker] else worker

    def hand_on(self, dead: int) -> None:
        """What was given to the worker ``dead``, which has ended, goes to ready ones. By the parent alone."""
        while (to := self.fewest(dead)) != dead:
            try:
                _, files, _, _ = socket.recv_fds(self.inboxes[dead][0], 1, 1)
            except BlockingIOError:
                return
            self.taken[dead] += 1
            for file in files:
                with suppress(OSError):  # it has too many that it did not take: this client connects anew
                    socket.send_fds(self.inboxes[to][1], [b"."], [file])
                    self.given[dead, to] += 1
                os.close(file)


class Dealer:
    """One worker's part. On the event loop's thread. ``connect`` makes the protocol of a connection that was
    given."""

    def __init__(self, dealing: Dealing, worker: int) -> None:
        self._dealing, self._worker = dealing, worker
        self._coming = set[asyncio.Task[Any]]()
        dealing.open[worker] = 0

    def take(self, connect: Callable[[], asyncio.Protocol]) -> None:
        """From now on connections that others give are served."""
        inbox = self._dealing.inboxes[self._worker][0]
        asyncio.get_running_loop().add_reader(inbox.fileno(), self._take, inbox, connect)

    def stop(self) -> None:
        """What comes from now on waits for another worker in this one's place."""
        asyncio.get_running_loop().remove_reader(self._dealing.inboxes[self._worker][0].fileno())

    def has(self, connections: int) -> None:
        self._dealing.open[self._worker] = connections

    def gives(self, transport: asyncio.BaseTransport) -> bool:
        """Whether the connection that this worker accepted is another's from now on."""
        to = self._dealing.fewest(self._worker)
        if to == self._worker:
            return False
        accepted = transport.get_extra_info("socket")
        try:
            socket.send_fds(self._dealing.inboxes[to][1], [b"."], [accepted.fileno()])
        except OSError:  # it has too many that it did not take
            return False
        self._dealing.given[self._worker, to] += 1
        return True

    def _take(self, inbox: socket.socket, connect: Callable[[], asyncio.Protocol]) -> None:
        try:
            _, files, _, _ = socket.recv_fds(inbox, 1, 1)
        except BlockingIOError:
            return
        self._dealing.taken[self._worker] += 1
        for file in files:
            given = socket.socket(fileno=file)
            given.setblocking(False)
            task = asyncio.ensure_future(_connected(given, connect))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)


async def _connected(given: socket.socket, connect: Callable[[], asyncio.Protocol]) -> None:
    with suppress(OSError):  # its client has gone
        await asyncio.get_running_loop().connect_accepted_socket(connect, given)
