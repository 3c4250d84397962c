"""Encoded training rows on disk: Parquet files by day (UTC) and bucket of users.

    FOLDER/day=2026-11-30/part-00007.parquet    rows of bucket 7 on that day

A Parquet row is one user side with its N examples; each column is a list. Inputs of users have one row of
values; ``history``, ``skipped``, ``follows`` and ``friends`` have no padding. Inputs of items, ``labels``,
``item_row`` and ``number`` have N rows, one after the other (``EncodedRows`` defines the values). A row group
has about GROUP_ROWS examples. The metadata of each file is a ``PartHead``. A file is complete when it has its
name, and never changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from karec.errors import DataError
from karec.features.crosses import SOCIAL_EDGES
from karec.features.encoder import USER_SIDE
from karec.files import file_aside, parse_json, to_struct
from karec.logs.parts import arrow_parquet
from karec.samples.encoded_rows import LISTS, EncodedRows, encode_rows
from karec.samples.examples import Examples

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT: Literal[1] = 1
METADATA_KEY = b"karec.rows"
GROUP_ROWS = 8_192  # a shuffle buffer mixes row groups, so small ones mix better; smaller ones compress worse
UNPADDED = (*LISTS, *SOCIAL_EDGES)
DAMAGE = (OSError, ValueError, LookupError)  # besides pyarrow's, the errors of a file with wrong bytes
WRITE_AGAIN = "Remove it and write the rows again; finished parts are kept."


class RowsManifest(msgspec.Struct, frozen=True):
    """Origin and parts of a folder of rows.

    source      identifies the data and the settings of the rows
    encoder     SHA-256 of the encoder's file
    n_buckets   buckets of users
    tasks       number of labels
    inputs      {input: values in one row}; unpadded lists: most values
    days        days with rows, YYYY-MM-DD, ascending
    """

    source: str
    encoder: str
    n_buckets: int
    tasks: int
    inputs: dict[str, int]
    days: tuple[str, ...]
    format: Literal[1] = FORMAT

    @property
    def parts(self) -> list[PartHead]:
        return [PartHead(day, bucket, self) for day in self.days for bucket in range(self.n_buckets)]


class PartHead(msgspec.Struct, frozen=True):
    """Metadata of a part."""

    day: str
    bucket: int
    manifest: RowsManifest

    def path(self, folder: Path) -> Path:
        return folder / f"day={self.day}" / f"part-{self.bucket:05d}.parquet"


@dataclass(frozen=True)
class RowGroup:
    """A row group of a part, and its number of examples."""

    path: Path
    group: int
    n_rows: int


@dataclass(frozen=True)
class RowFolder:
    """A complete folder of rows. ``groups``: by day and bucket. Any number of threads may call."""

    path: Path
    manifest: RowsManifest
    groups: tuple[RowGroup, ...]

    @classmethod
    def open(cls, path: Path, manifest: RowsManifest | None = None) -> RowFolder:
        """Reads every part once and checks it. Costs about a second for a million rows.

        Raises DataError that names a part that is missing, damaged, or made by something else than
        ``manifest``, default that of the first part.
        """
        files = sorted(path.glob("day=*/*.parquet"))
        if manifest is None:
            if not files:
                raise DataError(f"{path} has no training rows. Write them first.")
            manifest = _read_head(files[0]).manifest
        groups = [group for part in manifest.parts for group in check_part(path, part)]
        unknown = sorted({*files} - {part.path(path) for part in manifest.parts})
        if unknown:
            raise DataError(f"{unknown[0]}: not a part of these rows. Move it out of the folder.")
        return cls(path, manifest, tuple(groups))

    def read(self, group: RowGroup) -> EncodedRows:
        """Returns the examples of ``group``. Raises DataError if the part is damaged."""
        arrow = arrow_parquet()
        try:
            with arrow.parquet.ParquetFile(group.path, page_checksum_verification=True) as file:
                return _from_table(file.read_row_group(group.group, use_threads=False), self.manifest)
        except (arrow.ArrowException, *DAMAGE) as error:
            raise DataError(f"{group.path} is damaged: {error}. {WRITE_AGAIN}") from error


def check_part(folder: Path, part: PartHead) -> list[RowGroup]:
    """Reads the part and returns its row groups. Raises DataError if it is missing, damaged or foreign."""
    arrow, path = arrow_parquet(), part.path(folder)
    if not path.is_file():
        raise DataError(f"{path} is missing. Write the rows again; finished parts are kept.")
    head = _read_head(path)
    if head != part:
        raise DataError(f"{path}: made by {str(head)[:200]}, expected {str(part)[:200]}. {WRITE_AGAIN}")
    try:
        with arrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            column = file.schema_arrow.get_field_index("number")
            sizes = [file.metadata.row_group(i).column(column).num_values for i in range(file.num_row_groups)]
            for group in range(file.num_row_groups):
                file.read_row_group(group, use_threads=False)
    except (arrow.ArrowException, *DAMAGE) as error:
        raise DataError(f"{path} is damaged: {error}. {WRITE_AGAIN}") from error
    return [RowGroup(path, group, n_rows) for group, n_rows in enumerate(sizes) if n_rows]


def _read_head(path: Path) -> PartHead:
    arrow = arrow_parquet()
    try:
        return to_struct(parse_json(arrow.parquet.read_schema(path).metadata[METADATA_KEY]), PartHead)
    except (arrow.ArrowException, TypeError, *DAMAGE) as error:
        raise DataError(f"{path} is damaged, or no part: {error}. {WRITE_AGAIN}") from error


def write_part(folder: Path, part: PartHead, examples: Examples, numbers: NDArray[Any]) -> None:
    """Writes ``examples`` (M,) with their ``numbers`` (M,), a row group at a time."""
    arrow, path, names = arrow_parquet(), part.path(folder), [*part.manifest.inputs]
    _, side = examples.user_sides()
    order = np.argsort(side, kind="stable")
    first = np.flatnonzero(np.diff(side[order], prepend=-1))
    begins = first[np.unique(first // GROUP_ROWS, return_index=True)[1]] if len(order) else np.zeros(1, int)
    path.parent.mkdir(parents=True, exist_ok=True)
    with file_aside(path) as file:
        writer = None
        for rows in np.split(order, begins[1:]):
            table = _to_table(encode_rows(examples, rows, names), numbers[rows])
            if writer is None:
                schema = table.schema.with_metadata({METADATA_KEY: msgspec.json.encode(part)})
                options = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
                writer = arrow.parquet.ParquetWriter(file, schema, write_page_checksum=True, **options)
            writer.write_table(table.replace_schema_metadata(writer.schema.metadata), max(len(table), 1))
        assert writer is not None
        writer.close()


def _to_table(rows: EncodedRows, numbers: NDArray[Any]) -> pa.Table:
    """``rows``: ordered by user side."""
    arrow = arrow_parquet()
    n_rows = np.bincount(rows.sides, minlength=len(rows.inputs["context"]))

    def lists(values: NDArray[Any], lengths: NDArray[Any]) -> pa.Array:
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return arrow.ListArray.from_arrays(arrow.array(offsets), arrow.array(values.ravel()))

    columns = {}
    for name, values in rows.inputs.items():
        width = int(np.prod(values.shape[1:]))
        if name in UNPADDED:
            is_filled = values >= 0 if name in LISTS else values > 0
            columns[name] = lists(values[is_filled], is_filled.sum(axis=1))
        else:
            columns[name] = lists(values, width * (np.ones_like(n_rows) if name in USER_SIDE else n_rows))
    columns["labels"] = lists(rows.labels, n_rows * rows.labels.shape[1])
    columns["item_row"] = lists(rows.item_rows.astype(np.int32), n_rows)
    columns["number"] = lists(numbers.astype(np.int64), n_rows)
    return arrow.table(columns)


def _from_table(table: pa.Table, manifest: RowsManifest) -> EncodedRows:
    def values(name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        column = table[name].combine_chunks()
        return column.flatten().to_numpy(zero_copy_only=False), np.diff(column.offsets.to_numpy())

    inputs = {}
    numbers, n_rows = values("number")
    for name, width in manifest.inputs.items():
        flat, lengths = values(name)
        if name in UNPADDED:
            columns = width if name in LISTS else lengths.max(initial=1)
            padded = np.full((len(lengths), columns), -1 if name in LISTS else 0, np.int32)
            padded[np.arange(columns) < lengths[:, None]] = flat
            inputs[name] = padded
        else:
            inputs[name] = flat.reshape(len(n_rows if name in USER_SIDE else numbers), width)
    sides = np.repeat(np.arange(len(n_rows)), n_rows)
    labels, items = (
        values("labels")[0].reshape(len(numbers), manifest.tasks),
        values("item_row")[0].astype(np.int64),
    )
    return EncodedRows(inputs, sides, labels, items, numbers)
