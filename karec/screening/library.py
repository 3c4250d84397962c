"""The folder of uploads: its days, their shards, and whether they are whole. Footers alone are read.

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

Kind = Literal["integer", "number", "boolean", "text", "numbers", "other"]
IDS: tuple[Kind, ...] = ("integer", "text")
LISTS: tuple[Kind, ...] = ("numbers",)
FOLDER = re.compile(r"day=(\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True)
class Shard:
    """``digest`` is of its size and its footer, which tells the extent, the least and the most of every
    column."""

    path: Path
    rows: int
    digest: str
    kinds: Mapping[str, Kind]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Day:
    day: date
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def kinds(self) -> Mapping[str, Kind]:
        return self.shards[0].kinds

    @property
    def paths(self) -> list[str]:
        return [str(shard.path) for shard in self.shards]


def day_folders(folder: Path) -> dict[date, Path]:
    """{day: its folder}, by day. What begins with . or _ is passed over, and so are files that are not
    Parquet.

    DataError: ``folder`` has no day, or a folder or Parquet file that is none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: days are wanted there, day=YYYY-MM-DD/*.parquet")
    found: dict[date, Path] = {}
    for path in _told(folder):
        match = FOLDER.fullmatch(path.name)
        try:
            day = date.fromisoformat(match[1] if match else "")
        except ValueError:
            raise DataError(f"{path}: {path.name!r} is no day: day=YYYY-MM-DD is wanted") from None
        found[day] = path
    if not found:
        raise DataError(f"{folder} holds no days: day=YYYY-MM-DD/*.parquet are wanted there")
    return found


def window_days(
    folders: Mapping[date, Path], last: date | None, most: int | None, missing: Collection[date]
) -> tuple[list[date], list[date]]:
    """(days of the window until ``last``, by default the last there is, at ``most`` so many; those before
    it).

    DataError: ``last`` is not there, or a day of the window is neither there nor said to be ``missing``.
    """
    last = max(folders) if last is None else last
    if last not in folders:
        raise DataError(
            f"there are no uploads of {last}: the days there are go from {min(folders)} to {max(folders)}"
        )
    first = min(folders) if most is None else max(min(folders), last - timedelta(most - 1))
    days = [first + timedelta(n) for n in range((last - first).days + 1)]
    absent = [day for day in days if day not in folders and day not in missing]
    if absent:
        more = f" and {len(absent) - 1} more days" if len(absent) > 1 else ""
        raise DataError(
            f"{folders[last].parent} lacks {absent[0]}{more}: put them there, or say missing_days = "
            f"[{absent[0]}] in screen.toml"
        )
    return [day for day in days if day in folders], [day for day in sorted(folders) if day < first]


def read_day(day: date, folder: Path) -> Day:
    """Its shards, by name. DataError names one that is no Parquet file or is cut short, or whose columns are
    not those of the first; or what lies beside them and would not be read.
    """
    paths = _told(folder)
    for path in paths:
        if path.suffix != ".parquet" or path.is_dir():
            raise DataError(f"{path} is no file *.parquet: move what it holds to {folder}, or name it so")
    if not paths:
        raise DataError(
            f"{folder} holds no *.parquet: remove it and say missing_days = [{day}], or put one there"
        )
    shards = tuple(map(_read_shard, paths))
    for shard in shards:
        for name, kind in shards[0].kinds.items():
            if shard.kinds.get(name) != kind:
                held = f"holds {shard.kinds[name]}" if name in shard.kinds else "is missing"
                raise DataError(
                    f"{shard.path}: column {name!r} {held}, in {shards[0].path.name} it holds {kind}"
                )
    return Day(day, shards)


def check_days(days: Sequence[Day], needed: Mapping[str, Collection[Kind]]) -> None:
    """DataError: a day lacks a column that is ``needed`` or holds something else there; or a shard is there
    twice."""
    seen: dict[str, Path] = {}
    for day in days:
        for name, kinds in needed.items():
            held = day.kinds.get(name)
            if held is None:
                raise DataError(f"{day.shards[0].path}: no column {name!r}{nearest(name, day.kinds)}")
            for shard in day.shards:
                alike = [other for other in shard.names if other.casefold() == name.casefold()]
                if len(alike) > 1:
                    both = " and ".join(map(repr, alike))
                    raise DataError(
                        f"{shard.path}: columns {both} differ in capitals at most: rename one of them"
                    )
            if held not in kinds:
                raise DataError(
                    f"{day.shards[0].path}: column {name!r} holds {held}, wanted: {' or '.join(kinds)}"
                )
            if held != days[0].kinds[name]:
                first = days[0].shards[0].path
                raise DataError(
                    f"{day.shards[0].path}: column {name!r} holds {held}, in {first} it holds "
                    f"{days[0].kinds[name]}"
                )
        for shard in day.shards:
            other = seen.setdefault(shard.digest, shard.path)
            if other != shard.path and shard.rows and other.read_bytes() == shard.path.read_bytes():
                raise DataError(f"{shard.path} is {other} once more: remove one of them")


def _read_shard(path: Path) -> Shard:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("pyarrow", "screening", "screening") from error
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        digest = hashlib.sha256(_footer(path)).hexdigest()[:32]
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors or OSErrors
        raise DataError(f"{path} is no whole Parquet file: {one_line(str(error))}") from error
    kinds = {field.name: _kind(field.type) for field in schema}
    return Shard(path, metadata.num_rows, digest, kinds, tuple(schema.names))


def _told(folder: Path) -> list[Path]:
    """Folders and Parquet files in ``folder``, by name, that are not hidden."""
    found = (path for path in folder.iterdir() if not path.name.startswith((".", "_")))
    return sorted(
        path for path in found if path.is_dir() or path.suffix.lower() in (".parquet", ".parq", ".pq")
    )


def _footer(path: Path) -> bytes:
    """The file's size and its footer: the length of the footer stands in the eighth byte from the end."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 8, 0))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(size - 8 - length, 0))
        return str(size).encode() + file.read(length)


def _kind(kind: pa.DataType) -> Kind:
    from pyarrow import types

    value: Any = kind.value_type if types.is_dictionary(kind) else kind
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


def needs(names: Iterable[tuple[str, Collection[Kind]]]) -> dict[str, Collection[Kind]]:
    """{column: the kinds that all who need it can read}. DataError: there is none."""
    found: dict[str, Collection[Kind]] = {}
    for name, kinds in names:
        before = found.get(name, kinds)
        found[name] = [kind for kind in kinds if kind in before]
        if not found[name]:
            raise DataError(
                f"screen.toml reads column {name!r} as {' or '.join(before)} and as {' or '.join(kinds)}"
            )
    return found
