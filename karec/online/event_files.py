"""Exported events: one Parquet file for each day (UTC) of event time.

    event_id                     16 bytes, source and number, big-endian
    event, scene                 names
    time_ms, logged_ms           int64 Unix ms
    user_id, item_id, creator_id, position, play_ms     null if missing
    labels                       list of names
    request_id, text             "" if missing
    item_type                    type of the item, "" for works

The metadata holds the labels and scenes of the store, so that a file can be read without the store.
"""

from __future__ import annotations

import datetime
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import COLUMNS, KINDS, NONE, Events, Head
from karec.errors import LogSchemaError, MissingExtra
from karec.files import file_aside
from karec.object_store import ObjectFolder, is_url
from karec.times import DAY_MS

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
METADATA_KEY = b"karec.events"
NAMES = re.compile(r"events-(\d{4}-\d{2}-\d{2})\.parquet")
IDS = ("user_id", "item_id", "creator_id", "position", "play_ms")  # missing: null
TEXTS = ("request_id", "text", "item_type")


class EventFiles:
    """The event files of one folder or object-store URL. Threads may share it.

    Args:
        location: a folder, or a URL, such as ``s3://bucket/events``.
    """

    def __init__(self, location: str) -> None:
        self._objects = ObjectFolder(location) if is_url(location) else None
        self._folder = Path(location)
        self.display = location if self._objects is None else self._objects.display

    def days(self) -> list[int]:
        """Returns the exported days, as days since 1970, ascending. Empty if there is no such folder."""
        if self._objects is not None:
            names = self._objects.names(".parquet")
        else:
            names = [path.name for path in self._folder.glob("*.parquet")]
        dates = [match[1] for name in names if (match := NAMES.fullmatch(name))]
        return sorted(datetime.date.fromisoformat(date).toordinal() - _EPOCH for date in dates)

    def write(self, day: int, batches: Iterator[Events], head: Head) -> None:
        """Replaces the file of ``day`` by these events, one row group for each batch.

        Readers see the former file until the new one is complete.
        """
        if self._objects is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            with file_aside(self._folder / _name(day)) as file:
                _write_parquet(file, batches, head)
        else:
            with tempfile.NamedTemporaryFile() as local_file:
                _write_parquet(local_file, batches, head)
                local_file.flush()
                self._objects.upload(Path(local_file.name), _name(day))

    def delete_before(self, day: int) -> int:
        """Deletes the files of the days before ``day``. Returns their number."""
        names = [_name(old_day) for old_day in self.days() if old_day < day]
        for name in names:
            (self._folder / name).unlink() if self._objects is None else self._objects.remove(name)
        return len(names)

    def read(self, day: int, head: Head) -> Iterator[Events]:
        """Yields the events of a day by row group, in the order of writing.

        Raises:
            LogSchemaError: the file is damaged, has another format, or labels or scenes that ``head`` lacks.
        """
        import pyarrow as arrow
        from pyarrow import parquet

        name = _name(day)
        try:
            source = self._folder / name if self._objects is None else self._objects.open_input(name)
            with parquet.ParquetFile(source, page_checksum_verification=True) as file:
                for group in range(file.num_row_groups):
                    yield from_table(file.read_row_group(group), head)
        except (arrow.ArrowException, KeyError, OSError, ValueError) as error:
            raise LogSchemaError(
                f"{self.display}/{name}: {error}. Restore this file from a backup"
            ) from error


_EPOCH = datetime.date(1970, 1, 1).toordinal()


def _name(day: int) -> str:
    return f"events-{datetime.date.fromordinal(day + _EPOCH)}.parquet"


def _write_parquet(file: Any, batches: Iterator[Events], head: Head) -> None:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "online", "exported events") from error
    with parquet.ParquetWriter(file, _schema(head), compression="zstd") as writer:
        for events in batches:
            writer.write_table(to_table(events, head))


def day_of(time_ms: NDArray[Any]) -> NDArray[Any]:
    """Returns (M,) days since 1970."""
    return np.asarray(time_ms // DAY_MS)


def to_table(events: Events, head: Head) -> pa.Table:
    """Returns the columns of the module's docstring."""
    import pyarrow as arrow

    ids = np.stack([events.source, events.number], axis=1).astype(">u8").tobytes()
    row, label = np.nonzero(
        events.labels[:, None] >> np.arange(len(head.labels), dtype=np.uint64) & np.uint64(1)
    )
    offsets = np.searchsorted(row, np.arange(len(events) + 1))
    has_scene = (events.scene >= 0) & (events.scene < len(head.scenes))
    names = np.array([*head.scenes, None], object)[np.where(has_scene, events.scene, len(head.scenes))]
    columns: dict[str, Any] = {
        "event_id": arrow.FixedSizeBinaryArray.from_buffers(
            arrow.binary(16), len(events), [None, arrow.py_buffer(ids)]
        ),
        "event": arrow.array(np.array(KINDS, object)[events.kind], arrow.string()),
        "scene": arrow.array(names, arrow.string()),
        "time_ms": events.time_ms,
        "logged_ms": events.logged_ms,
        "labels": arrow.ListArray.from_arrays(
            arrow.array(offsets, arrow.int32()),
            arrow.array(np.array(head.labels, object)[label], arrow.string()),
        ),
    }
    columns |= {name: _with_nulls(getattr(events, name)) for name in IDS}
    columns |= {name: arrow.array(getattr(events, name), arrow.string()) for name in TEXTS}
    schema = _schema(head)
    return arrow.table([columns[name] for name in schema.names], schema=schema)


def from_table(table: pa.Table, head: Head) -> Events:
    """Returns the events of ``to_table``. Raises ValueError for unknown labels, scenes or events."""
    metadata = json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))
    if metadata.get("format") != FORMAT:
        raise ValueError(f"event file format is {metadata.get('format')}, expected {FORMAT}")
    ids = np.frombuffer(b"".join(table["event_id"].to_pylist()), ">u8").reshape(-1, 2)
    columns: dict[str, Any] = {"source": ids[:, 0].astype(np.uint64), "number": ids[:, 1].astype(np.uint64)}
    columns |= {name: table[name].to_numpy() for name in ("time_ms", "logged_ms")}
    columns |= {name: table[name].fill_null(NONE).to_numpy() for name in IDS}
    columns |= {name: np.array(table[name].to_pylist(), object) for name in TEXTS}
    columns["scene"] = _codes(table["scene"].to_pylist(), (*head.scenes,), "scene")
    labels = table["labels"].combine_chunks()
    codes = _codes(labels.flatten().to_pylist(), head.labels, "label").astype(np.uint64)
    bits = np.zeros(len(table), np.uint64)
    rows = np.repeat(np.arange(len(table)), labels.value_lengths().to_numpy())
    np.bitwise_or.at(bits, rows, np.uint64(1) << codes)
    columns["labels"] = bits
    kinds = _codes(table["event"].to_pylist(), KINDS, "event").astype(np.uint8)
    return Events.from_columns(kinds, **columns)


def _schema(head: Head) -> pa.Schema:
    import pyarrow as arrow

    types = {"position": arrow.int32(), "event_id": arrow.binary(16), "labels": arrow.list_(arrow.string())}
    texts = ("event", "scene", *TEXTS)
    names = ("event_id", "event", "time_ms", "logged_ms", "scene", *IDS, "labels", *TEXTS)
    fields = [(name, types.get(name, arrow.string() if name in texts else arrow.int64())) for name in names]
    return arrow.schema(fields, {METADATA_KEY: json.dumps({"format": FORMAT, **asdict(head)})})


def _with_nulls(values: NDArray[Any]) -> Any:
    import pyarrow as arrow

    return arrow.array(values, mask=values == NONE)


def _codes(names: list[Any], known: tuple[str, ...], noun: str) -> NDArray[Any]:
    places = {name: place for place, name in enumerate(known)} | {None: NONE}
    try:
        return np.array([places[name] for name in names], np.int64)
    except KeyError as error:
        raise ValueError(f"{noun} {error} is not one of {list(known)}") from None


assert {*COLUMNS} == {"source", "number", "kind", "time_ms", "logged_ms", "scene", "labels", *IDS, *TEXTS}
