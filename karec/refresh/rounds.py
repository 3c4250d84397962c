"""One round of a refresh: every work of a bundle's snapshot that has a vector, once, in shards, in a kept
order.

Order     Works whose vectors are worst come first: age · (1 + log(1 + exposures)), largest first, equal ones
          by id. So old vectors do not grow older than a round, and what many users see is renewed before what
          nobody sees.
Moment    Of all features of a round: when it began. A round that was killed and goes on ends in the same
          vectors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec._stored import json_of, read_npz
from karec.errors import DataError
from karec.files import file_aside

FILE, FORMAT = "round.npz", 1


@dataclass(frozen=True, eq=False)
class Round:
    """``order (N,)`` ids of works; shard n has those from n·size on. ``spaces``: {file: space_id} of item
    towers."""

    number: int
    began_ms: int
    size: int
    order: NDArray[Any]
    model_version: int
    spaces: dict[str, int]

    @property
    def n_shards(self) -> int:
        return -(-len(self.order) // self.size)

    def ids(self, shard: int) -> NDArray[Any]:
        return np.asarray(self.order[shard * self.size : (shard + 1) * self.size])

    def save(self, library: Path) -> None:
        """The round is begun when this returns; before, the former one is what ``library`` says."""
        head = {
            "format": FORMAT,
            "round": self.number,
            "began_ms": self.began_ms,
            "size": self.size,
            "model_version": self.model_version,
            "spaces": {name: f"{space:016x}" for name, space in self.spaces.items()},
        }
        with file_aside(library / FILE) as file:
            np.savez(file, head=np.frombuffer(json.dumps(head).encode(), np.uint8), order=self.order)

    @classmethod
    def open(cls, library: Path) -> Round | None:
        """None where no round was begun. DataError: the file is not what ``save`` writes."""
        path = library / FILE
        if not path.exists():
            return None
        try:
            arrays = read_npz(path)
            head: Any = json_of(arrays["head"].tobytes())
            if head["format"] != FORMAT:
                raise ValueError(f"it has format {head['format']}, this karec reads {FORMAT}")
            spaces = {str(name): int(space, 16) for name, space in head["spaces"].items()}
            numbers = [int(head[name]) for name in ("round", "began_ms", "size", "model_version")]
            order = arrays["order"]
            if order.dtype != np.int64 or order.ndim != 1 or numbers[0] < 1 or numbers[2] < 1:
                raise ValueError("its order is no list of ids, or its numbers are below 1")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} is not a round of a refresh ({error}): remove it, and a new round begins"
            ) from error
        return cls(numbers[0], numbers[1], numbers[2], order, numbers[3], spaces)


def order_of(ids: NDArray[Any], age_ms: NDArray[Any], exposed: NDArray[Any]) -> NDArray[Any]:
    """``ids (N,)`` with the works first whose vectors are to be renewed first, as above. O(N log N)."""
    worst = np.maximum(age_ms, 0) * (1.0 + np.log1p(np.maximum(exposed, 0)))
    return np.asarray(ids[np.lexsort((ids, -worst))], np.int64)
