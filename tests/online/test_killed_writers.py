"""SIGKILL at random moments of processes that write to one store.

Acknowledged events are in the store, once. The state equals a replay of the events of the store.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
from event_platform import HEAD, START, USERS, WORKS, everything, platform

from karec.aggregates.events import Events
from karec.online.apply_events import EventApplier
from karec.online.export import read_events
from karec.online.store.contents import StoreContents
from karec.online.store.sqlite import SqliteStore

CONTENTS = StoreContents(platform(), HEAD)
N_PROCESSES = 2


def batch(process: int, number: int) -> Events:
    """Returns three impressions and a follow: the batch of a process with this number."""
    rng = np.random.default_rng([process, number])
    is_shown = np.arange(4) < 3
    return Events.from_columns(
        np.array([0, 0, 0, 3], np.uint8),
        source=process,
        number=4 * number + np.arange(4),
        time_ms=START + rng.integers(0, 1000, 4),
        logged_ms=START + 1000,
        user_id=rng.choice(USERS, 4),
        item_id=np.where(is_shown, rng.choice(WORKS, 4), -1),
        creator_id=np.where(is_shown, -1, 3),
        labels=np.where(is_shown, rng.integers(0, 16, 4), 0),
        scene=rng.integers(-1, 3, 4),
        request_id=f"request {number}",
    )


def append_forever(path: Path, process: int, first: int, acknowledgements: int) -> None:
    """Stores batches and writes the number of each to the pipe ``acknowledgements``. Repeats some."""
    store, applier = SqliteStore(path), EventApplier(CONTENTS)
    number = first
    while True:
        store.append(batch(process, number), applier)
        os.write(acknowledgements, number.to_bytes(4))
        if number % 7 == 0:
            store.append(batch(process, number), applier)
        number += 1


def kill_writers(path: Path, first: list[int], random_: random.Random) -> list[int]:
    """Kills two writers at random moments. Returns the numbers of batches that each acknowledged so far."""
    pipes, children = [], []
    for process in range(N_PROCESSES):
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                append_forever(path, process, first[process], write)
            finally:
                os._exit(1)
        os.close(write)
        pipes.append(read)
        children.append(child)
    n_read = [0] * N_PROCESSES
    for process in random_.sample(range(N_PROCESSES), N_PROCESSES):
        for _ in range(random_.choice((0, 1, 2, 5))):
            n_read[process] += len(os.read(pipes[process], 4)) // 4
        sum(range(random_.randrange(60_000)))  # a random delay
        os.kill(children[process], signal.SIGKILL)
        assert os.waitpid(children[process], 0)[1] == signal.SIGKILL, "the process ended by itself"
    for process, pipe in enumerate(pipes):
        while more := os.read(pipe, 1 << 16):
            n_read[process] += len(more) // 4
        os.close(pipe)
    return [begin + n for begin, n in zip(first, n_read, strict=True)]


@pytest.mark.parametrize("n_kills", [20, pytest.param(200, marks=pytest.mark.long)])
def test_killed_writers_lose_no_event_and_count_none_twice(tmp_path, n_kills):
    path, random_ = tmp_path / "online.db", random.Random(16)
    n_stored = [0] * N_PROCESSES
    for _ in range(n_kills // N_PROCESSES):
        acknowledged = kill_writers(path, n_stored, random_)
        store = SqliteStore(path)
        events = read_events(store, HEAD, None, 0)
        for process in range(N_PROCESSES):
            numbers = np.sort(events.number[events.source == process])
            n_stored[process] = len(numbers) // 4
            assert numbers.tolist() == [*range(4 * n_stored[process])]  # whole batches, each once
            assert n_stored[process] in (acknowledged[process], acknowledged[process] + 1)
        store.close()
    store, replayed = SqliteStore(path), SqliteStore(None)
    replayed.append(events, EventApplier(CONTENTS))
    assert everything(store) == everything(replayed)
    assert sum(n_stored) > n_kills
    store.close()
