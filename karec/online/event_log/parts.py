"""Part files: their names, and the sealed form, a Parquet file whose name holds the CRC-32 of its bytes.

Columns are those of ``Events``, with kind and scene by name (null: no scene) and, in place of ``labels``, one
column of 0 and 1 for each label of the log, so that DuckDB, Arrow and ``karec data`` read it as it is.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import COLUMNS, KINDS, NONE, Events, Head
from karec.errors import LogSchemaError, MissingExtra
from karec.files import open_regular
from karec.online.event_log.frames import whole_frames
from karec.times import HOUR_MS

FORMAT_KEY = b"karec.event_log"
REPAIR = "restore it, or take it out of the folder: its events are then missing"
_HOUR = re.compile(r"\d{4}-\d\d-\d\dT\d\d")
_PART = re.compile(r"part-([0-9a-f]{12})-(\d{6})(?:\.open|-([0-9a-f]{8})\.parquet)")
_AS_THEY_ARE = [name for name in COLUMNS if name not in ("kind", "scene", "labels")]


def hour_name(time_ms: int) -> str:
    """The folder of the hour of a moment, by UTC."""
    return str(np.datetime64(time_ms // HOUR_MS, "h"))


def hour_start(name: str) -> int:
    """The moment, Unix ms, at which the hour of a folder begins."""
    return int(np.datetime64(name, "h").astype(np.int64)) * HOUR_MS


def hours(folder: Path) -> list[str]:
    """The names of the hours that the log has, oldest first. A tail asks at each look: no call for each of
    them."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if _is_hour(entry.name) and entry.is_dir())


@lru_cache(maxsize=100_000)
def _is_hour(name: str) -> bool:
    try:
        return _HOUR.fullmatch(name) is not None and hour_name(hour_start(name)) == name
    except ValueError:  # no such day
        return False


@dataclass(frozen=True, order=True)
class Part:
    """One part file. ``crc`` is None while it is open. Parts of a writer have rising numbers."""

    hour: str
    writer: str
    number: int
    path: Path
    crc: int | None

    @property
    def open_path(self) -> Path:
        """Where the part is while it is open."""
        return self.path.parent / f"part-{self.writer}-{self.number:06d}.open"


def parts_of(folder: Path, hour: str) -> list[Part]:
    """The parts of one hour by writer and number. One that is there in both forms, by a kill between sealing
    and removing the open form, is named once, sealed.
    """
    found: dict[tuple[str, int], Part] = {}
    try:
        names = sorted(path.name for path in (folder / hour).iterdir())
    except FileNotFoundError:  # retired meanwhile
        return []
    for name in names:
        match = _PART.fullmatch(name)
        if match:
            crc = int(match[3], 16) if match[3] else None
            part = Part(hour, match[1], int(match[2]), folder / hour / name, crc)
            key = part.writer, part.number
            if key not in found or found[key].crc is None:
                found[key] = part
    return [found[key] for key in sorted(found)]


def all_parts(folder: Path) -> Iterator[Part]:
    for hour in hours(folder):
        yield from parts_of(folder, hour)


def read_part(part: Part, head: Head) -> Events:
    """All events of a part, in the order in which they were appended; of an open one what is whole by now."""
    if part.crc is not None:
        return _read_sealed(part, head)
    try:
        with open_regular(part.path) as file:
            return Events.concatenate([Events.empty(), *whole_frames(file.read())[0]])
    except FileNotFoundError:  # sealed since its folder was listed
        for again in parts_of(part.path.parents[1], part.hour):
            if (again.writer, again.number) == (part.writer, part.number):
                return _read_sealed(again, head)
        return Events.empty()


def sealed_bytes(events: Events, head: Head) -> bytes:
    """The Parquet file of the events."""
    arrow = arrow_parquet()
    scenes = arrow.array([*head.scenes], arrow.string())
    columns = {name: arrow.array(getattr(events, name), _arrow_type(name)) for name in _AS_THEY_ARE}
    columns["kind"] = arrow.array([*KINDS]).take(arrow.array(events.kind))
    unnamed = (events.scene < 0) | (events.scene >= len(head.scenes))
    columns["scene"] = scenes.take(arrow.array(events.scene, mask=unnamed))
    for bit, label in enumerate(head.labels):
        columns[label_column(label)] = arrow.array(
            (events.labels >> np.uint64(bit) & np.uint64(1)).astype(np.uint8)
        )
    table = arrow.table(columns).replace_schema_metadata({FORMAT_KEY: b"1"})
    file = BytesIO()
    arrow.parquet.write_table(table, file, compression="zstd", write_page_checksum=True)
    return file.getvalue()


def label_column(label: str) -> str:
    return f"label_{label}"


def sealed_name(part: Part, data: bytes) -> str:
    return f"part-{part.writer}-{part.number:06d}-{zlib.crc32(data):08x}.parquet"


def _read_sealed(part: Part, head: Head) -> Events:
    """Raises LogSchemaError naming a part that is damaged, cut short, or lacks a column."""
    arrow = arrow_parquet()
    try:
        with open_regular(part.path) as file:
            data = file.read()
    except FileNotFoundError:  # retired meanwhile
        return Events.empty()
    except (OSError, ValueError) as error:
        raise LogSchemaError(f"{part.path} cannot be read: {error}; {REPAIR}") from error
    if zlib.crc32(data) != part.crc:
        raise LogSchemaError(
            f"{part.path} is damaged: its bytes have CRC-32 {zlib.crc32(data):08x}; {REPAIR}"
        )
    try:
        table = arrow.parquet.read_table(BytesIO(data))
        columns = {name: _plain(table[name], name) for name in _AS_THEY_ARE}
        columns["kind"] = _coded(table["kind"], KINDS).astype(np.uint8)
        columns["scene"] = _coded(table["scene"], head.scenes)
        columns["labels"] = np.zeros(len(table), np.uint64)
        for bit, label in enumerate(head.labels):
            columns["labels"] |= table[label_column(label)].to_numpy().astype(np.uint64) << np.uint64(bit)
    except (arrow.ArrowException, KeyError, ValueError) as error:
        raise LogSchemaError(f"{part.path} is damaged: {error}; {REPAIR}") from error
    return Events(**columns)


def _plain(column: Any, name: str) -> NDArray[Any]:
    values: NDArray[Any] = column.to_numpy()
    return values if COLUMNS[name][0] is object else values.astype(COLUMNS[name][0], copy=False)


def _coded(column: Any, names: tuple[str, ...]) -> NDArray[Any]:
    """(M,) int32 places in ``names``, −1 for a null. ValueError for another name."""
    encoded = column.combine_chunks().dictionary_encode()
    places = np.array([names.index(name) for name in encoded.dictionary.to_pylist()] + [NONE], np.int32)
    coded: NDArray[Any] = places[encoded.indices.fill_null(len(places) - 1).to_numpy(zero_copy_only=False)]
    return coded


def _arrow_type(name: str) -> Any:
    arrow = arrow_parquet()
    return (
        arrow.string() if COLUMNS[name][0] is object else arrow.from_numpy_dtype(np.dtype(COLUMNS[name][0]))
    )


def arrow_parquet() -> Any:
    """The pyarrow package with its Parquet reader and writer."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "live", "the event log") from error
    return pyarrow
