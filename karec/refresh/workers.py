"""Workers that compute the shards of one round together, each a process on this or another machine.

Shard n of a round belongs to worker n mod S. So the shards, and with them the batches of the item tower, are
the same for every number of workers S, and the vectors are equal bit by bit.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Worker:
    """Worker ``number`` (from 0) of ``count``. Raises ValueError if the number is not below the count."""

    number: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.count:
            raise ValueError(
                f"worker is {self}, expected s/S with S at least 1 and s from 0 to S − 1, for example 0/4"
            )

    @classmethod
    def from_text(cls, text: str) -> Worker:
        """Returns the worker of a text like "2/8"."""
        number, _, count = text.partition("/")
        if not (number.isascii() and number.isdigit() and count.isascii() and count.isdigit()):
            raise ValueError(f"worker is {text!r}, expected s/S, for example 0/4")
        return cls(int(number), int(count))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def shards(self, n_shards: int) -> range:
        """Returns the numbers of the shards of this worker."""
        return range(self.number, n_shards, self.count)

    def owns(self, shard: int) -> bool:
        return shard % self.count == self.number


ONLY = Worker()


@contextmanager
def lock_file(path: Path, *, wait: bool) -> Iterator[bool]:
    """Locks the file ``path`` for the block. Yields False if another block has it; ``wait``: waits for it.

    The file is created, and stays. It is opened for writing, as NFS needs for a lock across machines
    (``man 2 flock``). The lock ends with its process.
    """
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
            fcntl.flock(file, fcntl.LOCK_UN)  # children that were forked in the block hold it too
