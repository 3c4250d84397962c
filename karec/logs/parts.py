"""Part file of a rank log: columns, format, and checks on reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from karec.aggregates.events import WORK
from karec.errors import LogSchemaError, MissingExtra
from karec.object_store import ObjectFolder, is_url

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
FORMAT_KEY = b"karec.rank_log"
RANKER_KEY = b"karec.ranker"
ITEM_TYPE = "item_type"  # column, and key of the metadata unless it is WORK
ARMS = "arms"  # column: EXPERIMENT=ARM, joined by ";", in the order of the names
LOGIT = "logit_"  # prefix of columns
DEGRADED = "degraded"  # column: `Page.degraded`, joined by ";"
SOURCES = "sources"  # column: the sources of an item of the page, joined by ";"
TEAM = "team"  # column: the arm that placed the item on an interleaved page
STEPS_MS = "steps_ms"  # column: `Trace.total_ms` of the page
NULLABLE = ("prerank", "page_position", "propensity", TEAM, STEPS_MS)
REPAIR = "restore it, or remove it from the folder: its rows are then missing"
LogFolder = Path | ObjectFolder


@dataclass(frozen=True)
class StoredPart:
    """A part in an object store."""

    folder: ObjectFolder
    name: str

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"


Part = Path | StoredPart


def to_log_folder(text: str) -> LogFolder:
    """Returns the folder of a rank log by its path or URL."""
    return ObjectFolder(text) if is_url(text) else Path(text)


def arrow_parquet() -> Any:
    """Imports pyarrow with its CSV, Parquet and compute modules. Raises MissingExtra without pyarrow."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "online", "the rank log") from error
    return pyarrow


def rank_log_schema(tasks: Sequence[str], ranker: str = "", item_type: str = WORK) -> pa.Schema:
    """Returns the columns of a rank log. ``ranker``: fingerprint of the ranker, "" if it has none."""
    metadata = {FORMAT_KEY: str(FORMAT), RANKER_KEY: ranker, ITEM_TYPE: item_type}
    arrow = arrow_parquet()
    return arrow.schema(
        [
            ("request_id", arrow.string()),
            ("user_id", arrow.int64()),
            ("item_id", arrow.int64()),
            ("position", arrow.int32()),
            ("scene", arrow.string()),
            ("time_ms", arrow.int64()),
            ("model_version", arrow.int64()),
            *[(f"{LOGIT}{task}", arrow.float32()) for task in tasks],
            ("fused", arrow.float32()),
            ("shadow", arrow.bool_()),
            ("prerank", arrow.float32()),
            ("page_position", arrow.int32()),
            ("propensity", arrow.float32()),
            ("config_version", arrow.string()),
            (ITEM_TYPE, arrow.string()),
            (ARMS, arrow.string()),
            (DEGRADED, arrow.string()),
            (SOURCES, arrow.string()),
            (TEAM, arrow.string()),
            (STEPS_MS, arrow.float32()),
        ],
        metadata={key: value for key, value in metadata.items() if value},
    )


def read_part(part: Part, tasks: Sequence[str], version: int | None = None) -> pa.Table:
    """Returns the rows with the columns of ``rank_log_schema``, after the checks of ``read_rank_log``.

    With ``tasks``, a part without soft labels has no rows.
    """
    table = _read_columns(part, rank_log_schema(tasks))
    if version is not None:
        table = table.filter(arrow_parquet().compute.equal(table["model_version"], version))
    _check_cells(part, table)
    return table


def open_part(part: Part) -> Any:
    """Returns what pyarrow reads: the path, or an open file of the object store."""
    return part if isinstance(part, Path) else part.folder.open_input(part.name)


def read_part_schema(part: Part) -> pa.Schema:
    """Returns the columns of a part. Raises LogSchemaError if it is truncated or not a Parquet file."""
    arrow = arrow_parquet()
    try:
        return arrow.parquet.read_schema(open_part(part))
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise LogSchemaError(f"{part} is not a Parquet file: {error}; {REPAIR}") from error


def has_soft_labels(schema: pa.Schema) -> bool:
    """Returns True if the part has logits of works: the ranker has other tasks for other item types."""
    is_of_works = ITEM_TYPE.encode() not in (schema.metadata or {})
    return is_of_works and any(name.startswith(LOGIT) for name in schema.names)


def _read_columns(part: Part, expected: pa.Schema) -> pa.Table:
    arrow = arrow_parquet()
    actual = read_part_schema(part)
    version = (actual.metadata or {}).get(FORMAT_KEY, b"missing").decode(errors="replace")
    if version != str(FORMAT):
        raise LogSchemaError(
            f"{part}: rank log format is {version[:60]}, expected {FORMAT}. Move the part out of the folder"
        )
    if len(expected) > len(rank_log_schema(())) and not has_soft_labels(actual):
        return expected.empty_table()
    for column in expected:
        if actual.names.count(column.name) > 1:
            raise LogSchemaError(
                f"{part}: column {column.name!r} appears {actual.names.count(column.name)} times"
            )
        at = actual.get_field_index(column.name)
        if at < 0:
            raise LogSchemaError(f"{part}: column {column.name!r} is missing; it has {actual.names}")
        if actual.field(at).type != column.type:
            raise LogSchemaError(
                f"{part}: column {column.name!r} is {actual.field(at).type}, expected {column.type}"
            )
    try:
        source = open_part(part)
        table = arrow.parquet.read_table(source, columns=expected.names, page_checksum_verification=True)
        table.validate(full=True)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise LogSchemaError(f"{part} is damaged: {error}; {REPAIR}") from error
    return table.select(expected.names).replace_schema_metadata(expected.metadata)


def _check_cells(part: Part, table: pa.Table) -> None:
    for name in table.column_names:
        column = table[name]
        if column.null_count and name not in NULLABLE:
            row = int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise LogSchemaError(f"{part}: column {name!r}, row {row}: the cell is empty")
        if name.startswith(LOGIT) or name in ("fused", "prerank", "propensity"):
            values = column.to_numpy()
            bad = np.flatnonzero(~np.isfinite(values) & column.is_valid().to_numpy())
            if len(bad):
                raise LogSchemaError(
                    f"{part}: column {name!r}, row {int(bad[0])}: {values[bad[0]]} is not finite"
                )
