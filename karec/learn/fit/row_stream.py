"""Streams encoded training rows from disk, in random batches, through a buffer of bounded size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.features.encoder import CONTENT, Encoder
from karec.learn._torch import Tensor, torch
from karec.learn.distributed.ranks import rank, world
from karec.learn.fit.batches import Batch, Batches, ItemInputs
from karec.learn.fit.loop import shuffle
from karec.samples.encoded_rows import LISTS, EncodedRows
from karec.samples.examples import Examples
from karec.samples.row_files import RowFolder, RowsManifest
from karec.samples.row_job import days_of, user_buckets, write_rows
from karec.samples.threads import map_in_order
from karec.times import Progress

ROWS = "rows"  # folder of the rows in that of the run
BUFFER_ROWS = 131_072  # examples that are shuffled together
BUCKET_ROWS = 500_000  # mean number of examples of a bucket of users
SAMPLED_GROUPS = 32  # row groups, evenly spaced, from which quantiles of numbers are taken


@dataclass(frozen=True, eq=False)
class RowStream:
    """Rows of one rank of ``n_ranks``: the row groups ``rank``, ``rank + n_ranks``, … of a folder.

    ``len(stream)`` is the number of rows of all ranks in an epoch: each rank has as many as the rank with the
    smallest row groups. Memory: about twice ``buffer_rows`` encoded rows.
    """

    folder: RowFolder
    items: ItemInputs
    device: torch.device
    rank: int = 0
    n_ranks: int = 1
    buffer_rows: int = BUFFER_ROWS

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.n_ranks <= len(self.folder.groups):
            raise ValueError(
                f"{self.folder.path}: rank {self.rank} of {self.n_ranks} with {len(self.folder.groups)} row "
                "groups, expected 0 ≤ rank < ranks ≤ row groups. Use fewer workers."
            )

    def __len__(self) -> int:
        sizes = [group.n_rows for group in self.folder.groups]
        return self.n_ranks * min(sum(sizes[rank :: self.n_ranks]) for rank in range(self.n_ranks))

    def epoch(
        self, generator: torch.Generator, batch_size: int, n_rows: int | None = None, *, by_user: bool
    ) -> Iterator[Batch]:
        """Yields the rank's part, batch_size // n_ranks rows, of ceil(len(self) / batch_size) random batches.

        The rank's row groups are read in random order. Rows are shuffled among those of the buffer; the rows
        of its last batch, if that is not full, move to the next buffer. The order depends on ``generator``,
        the folder and ``buffer_rows``. ``n_rows``: must be ``len(self)``.

        Raises DataError if a part is damaged.
        """
        if n_rows is not None and n_rows != len(self):
            raise ValueError(f"{self.folder.path} has {len(self)} rows, expected {n_rows}")
        groups = self.folder.groups[self.rank :: self.n_ranks]
        order = torch.randperm(len(groups), generator=generator).tolist()
        parts: list[EncodedRows] = []
        rank_size, n_left = max(batch_size // self.n_ranks, 1), -(-len(self) // batch_size)
        decoded = map_in_order(self.folder.read, (groups[at] for at in order), threads=1)
        for n_read, rows in enumerate(decoded, start=1):
            parts.append(rows)
            is_last = n_read == len(groups)
            if not is_last and sum(map(len, parts)) < self.buffer_rows:
                continue
            buffer = EncodedRows.concat(parts)
            block = Batches(buffer, self.items, self.device)
            batches = shuffle(len(block), rank_size, generator, block.sides if by_user else None)
            parts = []
            if not is_last and len(batches[-1]) < rank_size:
                parts, batches = [buffer.take(batches[-1].numpy())], batches[:-1]
            for rows_of_batch in batches:
                if n_left == 0:
                    return
                yield Batch(block.numbers[rows_of_batch], block, rows_of_batch)
                n_left -= 1

    def edges(self, bins: int) -> dict[str, Tensor]:
        """Returns the quantiles of ``Batches.edges`` of the rows of SAMPLED_GROUPS row groups."""
        groups = self.folder.groups[:: max(len(self.folder.groups) // SAMPLED_GROUPS, 1)]
        rows = EncodedRows.concat([self.folder.read(group) for group in groups])
        return Batches(rows, self.items, self.device).edges(bins)


def write_and_stream(
    examples: Examples,
    names: Sequence[str],
    folder: Path,
    source: str,
    device: str,
    progress: Progress | None = None,
) -> RowStream:
    """Writes the parts of ``examples`` that ``folder``/rows lacks, and returns the stream of all.

    Numbers of rows are those of ``examples``. ``folder`` has the encoder's file. ``source`` identifies data
    and settings. Raises DataError if the folder has rows of another source or encoder, or a damaged part.
    """
    n_buckets = -(-len(examples) // BUCKET_ROWS)
    bucket_of_row = user_buckets(examples.exposures.user_id, n_buckets)
    encoder, days = examples.encoder, days_of(examples.exposures.time_ms)
    manifest = manifest_of(encoder, folder / "encoder.npz", source, names, days, n_buckets)

    def rows_of(bucket: int) -> tuple[Examples, NDArray[Any]]:
        rows = np.flatnonzero(bucket_of_row == bucket)
        return examples.take(rows), rows

    write_rows(folder / ROWS, manifest, rows_of, progress=progress)
    items = ItemInputs.from_snapshot(encoder, examples.snapshot)
    rows = RowFolder.open(folder / ROWS, manifest)
    return RowStream(rows, items, torch.device(device), rank(), world())


def manifest_of(
    encoder: Encoder,
    encoder_file: Path,
    source: str,
    names: Sequence[str],
    days: Sequence[str],
    n_buckets: int,
) -> RowsManifest:
    """Returns the manifest of rows with the inputs ``names``; vectors of items are not stored."""
    shapes = {name: encoder.inputs[name][1] for name in names if name != CONTENT}
    shapes |= {name: (encoder.history_length,) for name in LISTS if name in shapes}
    widths = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    with encoder_file.open("rb") as file:
        version = hashlib.file_digest(file, "sha256").hexdigest()
    return RowsManifest(source, version, n_buckets, len(encoder.tasks), widths, tuple(days))
