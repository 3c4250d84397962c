"""State of one training of several ranks on disk. Another number of ranks can resume from it.

    PATH/current       name of the newest complete state
    PATH/step-STEP/    files of torch.distributed.checkpoint: a file per rank and the metadata

A state is written into a new folder, then ``current`` is replaced: after a kill or on a full disk the state
before is used. ``shared`` has the state that is equal on all ranks, as a file of torch.save. Each rank adds
its rows of the sharded tables and of their optimizer, its random state, and a checksum of its rows. Row i is
on rank i mod W, so ranks of another number read the rows of all old ranks and keep theirs.

Loading a state unpickles DCP's metadata: use only folders of your own trainings. DCP is imported on use: its
import takes as long as that of torch.
"""

from __future__ import annotations

import io
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from karec.files import write_text_aside
from karec.learn._torch import Tensor, torch
from karec.learn.distributed.ranks import rank, share_errors, world
from karec.learn.fit.checkpoint import RESTART_HINT, Checkpoint, CheckpointError, damaged_part

FORMAT = 1
RANDOM = "random"


@dataclass(frozen=True)
class RankCheckpoint:
    """Folder of a training's states, steps between saves, and ``facts``, which identify the training."""

    path: Path
    every_steps: int
    facts: str

    def save(self, step: int, state: Mapping[str, Any], shards: Mapping[str, Tensor]) -> None:
        """Adds the state after ``step`` steps and removes older ones. All ranks call together.

        ``state`` is equal on all ranks; ``shards``: (n, …) rows of this rank, by name. Raises OSError on the
        rank that cannot write, and RankError on the others.
        """
        from torch.distributed.checkpoint.api import CheckpointException
        from torch.distributed.checkpoint.state_dict_saver import save

        folder = self.path / f"step-{step:09d}"
        entries = {f"{name}/{rank()}": rows.detach() for name, rows in shards.items()}
        entries[f"{RANDOM}/{rank()}"] = torch.get_rng_state()
        sums = [_checksum(entries[f"{name}/{rank()}"]) for name in sorted(shards)]
        entries[f"checksums/{rank()}"] = torch.tensor(sums, dtype=torch.int64)
        if rank() == 0:
            buffer = io.BytesIO()
            torch.save({"format": FORMAT, "facts": self.facts, "world": world(), **state}, buffer)
            entries["shared"] = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
        with share_errors():
            try:
                save(entries, checkpoint_id=folder)
            except CheckpointException as error:
                number, (cause, _) = next(iter(error.failures.items()))
                shutil.rmtree(folder, ignore_errors=True)
                raise OSError(f"{folder}: rank {number} cannot write: {cause}") from error
        with share_errors():
            if rank() == 0:
                write_text_aside(self.path / "current", folder.name)
                for old in self.path.glob("step-*"):
                    if old != folder:
                        shutil.rmtree(old, ignore_errors=True)

    def save_weights(self, state: Mapping[str, Any]) -> None:
        """Writes the result of a finished training, with whole tables, as the file that one process writes.

        A later training can start from its weights (``best_weights``).
        """
        with share_errors():
            if rank() == 0:
                path = self.path.with_name(f"{self.path.name}.pt")
                Checkpoint(path, self.every_steps, f"{self.facts}, trained by ranks").save(state)

    def load(self) -> dict[str, Any] | None:
        """Returns the newest state, with this rank's rows by name as ``shards``; None if there is no state.

        If this rank was there at saving, ``random`` also has its random state, as ``torch``. Raises
        CheckpointError if the state is damaged, of another training, or of one process.
        """
        if not (self.path / "current").exists():
            if self.path.with_name(f"{self.path.name}.pt").exists():
                raise CheckpointError(
                    f"{self.path}.pt is of a training in one process: leave out --workers, or {RESTART_HINT}"
                )
            return None
        try:
            stored = _StoredState(self.path / (self.path / "current").read_text())
            shared = io.BytesIO(stored.read("shared").numpy().tobytes())
            if damaged := damaged_part(shared):
                raise ValueError(f"wrong checksum of {damaged}")
            shared.seek(0)
            state: Any = torch.load(shared, weights_only=True)
            old_world = state["world"]
            state["shards"] = {name: stored.rows_of_rank(name, old_world) for name in stored.table_names()}
            if rank() < old_world:
                state["random"]["torch"] = stored.read(f"{RANDOM}/{rank()}")
        except Exception as error:  # a damaged file can raise anything
            raise CheckpointError(f"{self.path}: damaged: {error}; {RESTART_HINT}") from error
        if state.get("format") != FORMAT:
            raise CheckpointError(f"{self.path}: format is {state.get('format')}, expected {FORMAT}")
        if state["facts"] != self.facts:
            raise CheckpointError(
                f"{self.path} belongs to another training: {state['facts']}; this one is {self.facts}. "
                f"Resume with the settings and data of the first start, or {RESTART_HINT}"
            )
        return dict(state)


class _StoredState:
    """Tensors of one folder of DCP."""

    def __init__(self, folder: Path) -> None:
        from torch.distributed.checkpoint.filesystem import FileSystemReader

        self.folder = folder
        self.tensors = FileSystemReader(folder).read_metadata().state_dict_metadata

    def table_names(self) -> list[str]:
        names = {key.rpartition("/")[0] for key in self.tensors}
        return sorted(names - {"", RANDOM, "checksums"})

    def read(self, key: str) -> Tensor:
        from torch.distributed.checkpoint.api import CheckpointException
        from torch.distributed.checkpoint.state_dict_loader import load

        stored: Any = self.tensors[key]
        tensor = torch.empty(stored.size, dtype=stored.properties.dtype)
        try:
            with warnings.catch_warnings():  # torch warns that one process loads
                warnings.simplefilter("ignore", UserWarning)
                load({key: tensor}, checkpoint_id=self.folder, no_dist=True)
        except CheckpointException as error:  # a BaseException
            cause, _ = next(iter(error.failures.values()))
            raise OSError(f"{key}: {cause}") from error
        return tensor

    def rows_of_rank(self, name: str, old_world: int) -> Tensor:
        """Returns the rows i mod W = rank. Holds the rows of at most one old rank in addition."""
        sizes = [self.tensors[f"{name}/{old}"].size for old in range(old_world)]  # type: ignore[union-attr]
        n = sum(size[0] for size in sizes)
        own = torch.empty((len(range(rank(), n, world())), *sizes[0][1:]))
        for old in range(old_world) if old_world != world() else (rank(),):
            rows = self.read(f"{name}/{old}")
            if _checksum(rows) != int(self.read(f"checksums/{old}")[self.table_names().index(name)]):
                raise ValueError(f"wrong checksum of {name} of rank {old}")
            ids = old + old_world * torch.arange(len(rows))
            is_own = ids % world() == rank()
            own[ids[is_own] // world()] = rows[is_own]
        return own


def _checksum(rows: Tensor) -> int:
    return crc32(rows.contiguous().numpy().data)
