"""The folder of uploads: its days, their shards, and checks of their files. Only footers are read.

uploads/day=2026-11-03/part-0.parquet …
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from karec.errors import DataError, MissingExtra, nearest, one_line

if TYPE_CHECKING:
    import pyarrow as pa

ColumnType = Literal["integer", "number", "boolean", "text", "numbers", "other"]
IDS: tuple[ColumnType, ...] = ("integer", "text")
LISTS: tuple[ColumnType, ...] = ("numbers",)
FOLDER = re.compile(r"day=(\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True)
class Shard:
    """A Parquet file. ``digest``: of its size and footer, which has each column's extremes."""

    path: Path
    rows: int
    digest: str
    column_types: Mapping[str, ColumnType]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Day:
    day: date
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def column_types(self) -> Mapping[str, ColumnType]:
        return self.shards[0].column_types

    @property
    def paths(self) -> list[str]:
        return [str(shard.path) for shard in self.shards]


def day_folders(folder: Path) -> dict[date, Path]:
    """Returns {day: its folder}, by day, without names that start with . or _ and files that are not Parquet.

    Raises DataError if there is no day, or a folder or Parquet file that is not a day.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder, expected one with day=YYYY-MM-DD/*.parquet")
    folders: dict[date, Path] = {}
    for path in _visible_paths(folder):
        match = FOLDER.fullmatch(path.name)
        try:
            day = date.fromisoformat(match[1] if match else "")
        except ValueError:
            raise DataError(f"{path}: name is {path.name!r}, expected day=YYYY-MM-DD") from None
        folders[day] = path
    if not folders:
        raise DataError(f"{folder}: no days, expected day=YYYY-MM-DD/*.parquet")
    return folders


def window_days(
    folders: Mapping[date, Path], last: date | None, max_days: int | None, missing: Collection[date]
) -> tuple[list[date], list[date]]:
    """Returns the days of the window until ``last`` (None: the latest), and the days before it.

    Raises DataError if ``last`` is not there, or a day of the window is neither there nor in ``missing``.
    """
    last = max(folders) if last is None else last
    if last not in folders:
        raise DataError(f"no uploads of {last}; there are days from {min(folders)} to {max(folders)}")
    first = min(folders) if max_days is None else max(min(folders), last - timedelta(max_days - 1))
    days = [first + timedelta(n) for n in range((last - first).days + 1)]
    absent = [day for day in days if day not in folders and day not in missing]
    if absent:
        others = f" and {len(absent) - 1} more days" if len(absent) > 1 else ""
        raise DataError(
            f"{folders[last].parent}: {absent[0]}{others} missing. Add the uploads, or set missing_days = "
            f"[{absent[0]}] in screen.toml."
        )
    return [day for day in days if day in folders], [day for day in sorted(folders) if day < first]


def read_day(day: date, folder: Path) -> Day:
    """Returns the day with its shards, by name.

    Raises DataError for a file that is not Parquet or truncated, for columns that differ from the first
    shard, and for other entries, which would not be read.
    """
    paths = _visible_paths(folder)
    for path in paths:
        if path.suffix != ".parquet" or path.is_dir():
            raise DataError(f"{path}: not a file *.parquet. Move its content to {folder}, or rename it.")
    if not paths:
        raise DataError(f"{folder}: no *.parquet. Add one, or remove it and set missing_days = [{day}].")
    shards = tuple(map(_read_shard, paths))
    for shard in shards:
        for name, column_type in shards[0].column_types.items():
            if shard.column_types.get(name) != column_type:
                actual = f"is {shard.column_types[name]}" if name in shard.column_types else "is missing"
                raise DataError(
                    f"{shard.path}: column {name!r} {actual}, expected {column_type} as in "
                    f"{shards[0].path.name}"
                )
    return Day(day, shards)


def check_days(days: Sequence[Day], needed: Mapping[str, Collection[ColumnType]]) -> None:
    """Raises DataError if a ``needed`` column is missing or of another type, or a shard appears twice."""
    seen: dict[str, Path] = {}
    for day in days:
        for name, types in needed.items():
            actual = day.column_types.get(name)
            if actual is None:
                raise DataError(f"{day.shards[0].path}: no column {name!r}{nearest(name, day.column_types)}")
            for shard in day.shards:
                similar = [other for other in shard.names if other.casefold() == name.casefold()]
                if len(similar) > 1:
                    columns = " and ".join(map(repr, similar))
                    raise DataError(
                        f"{shard.path}: columns {columns} differ at most in capital letters. Rename one of "
                        f"them."
                    )
            if actual not in types:
                raise DataError(
                    f"{day.shards[0].path}: column {name!r} is {actual}, expected {' or '.join(types)}"
                )
            if actual != days[0].column_types[name]:
                first = days[0].shards[0].path
                raise DataError(
                    f"{day.shards[0].path}: column {name!r} is {actual}, expected "
                    f"{days[0].column_types[name]} as in {first}"
                )
        for shard in day.shards:
            other = seen.setdefault(shard.digest, shard.path)
            if other != shard.path and shard.rows and other.read_bytes() == shard.path.read_bytes():
                raise DataError(f"{shard.path} and {other} have the same content. Remove one of them.")


def _read_shard(path: Path) -> Shard:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("pyarrow", "screen", "screening") from error
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        digest = hashlib.sha256(_footer(path)).hexdigest()[:32]
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these two
        raise DataError(f"{path}: truncated or not a Parquet file: {one_line(str(error))}") from error
    column_types = {field.name: _column_type(field.type) for field in schema}
    return Shard(path, metadata.num_rows, digest, column_types, tuple(schema.names))


def _visible_paths(folder: Path) -> list[Path]:
    """Returns folders and Parquet files in ``folder``, by name, that are not hidden."""
    paths = (path for path in folder.iterdir() if not path.name.startswith((".", "_")))
    return sorted(
        path for path in paths if path.is_dir() or path.suffix.lower() in (".parquet", ".parq", ".pq")
    )


def _footer(path: Path) -> bytes:
    """Returns the file's size and its footer; the footer's length is 8 bytes before the end."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 8, 0))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(size - 8 - length, 0))
        return str(size).encode() + file.read(length)


def _column_type(data_type: pa.DataType) -> ColumnType:
    from pyarrow import types

    value: Any = data_type.value_type if types.is_dictionary(data_type) else data_type
    if types.is_integer(value):
        return "integer"
    if types.is_floating(value) or types.is_decimal(value):
        return "number"
    if types.is_boolean(value):
        return "boolean"
    if types.is_string(value) or types.is_large_string(value):
        return "text"
    is_list = types.is_list(value) or types.is_large_list(value) or types.is_fixed_size_list(value)
    if is_list and (types.is_integer(value.value_type) or types.is_floating(value.value_type)):
        return "numbers"
    return "other"


def merge_needs(names: Iterable[tuple[str, Collection[ColumnType]]]) -> dict[str, Collection[ColumnType]]:
    """Returns {column: types that all its readers can read}. Raises DataError if there are none."""
    needed: dict[str, Collection[ColumnType]] = {}
    for name, types in names:
        before = needed.get(name, types)
        needed[name] = [kind for kind in types if kind in before]
        if not needed[name]:
            raise DataError(
                f"screen.toml reads column {name!r} as {' or '.join(before)} and as {' or '.join(types)}"
            )
    return needed
