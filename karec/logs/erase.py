"""Writes parts of Parquet again without rows of erased ids: rank logs, and exported days of events."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from karec.erasure import ErasedIds
from karec.errors import LogSchemaError
from karec.files import file_aside
from karec.logs.parts import REPAIR, LogFolder, Part, arrow_parquet, open_part
from karec.logs.read import find_parts
from karec.logs.write import part_encoding

if TYPE_CHECKING:
    import pyarrow as pa

NO_ID = -1


def erase_from_log(
    folder: LogFolder, erased: Sequence[ErasedIds], on_part: Callable[[], None] = lambda: None
) -> int:
    """Writes the parts with the ids again without their rows. Returns the number of these rows.

    Readers see the former part until the new one is complete. A service may write, upload and delete parts
    meanwhile: erase from its folder first, then from the URL. Raises LogSchemaError for a damaged part.

    Args:
        on_part: called before each part.
    """
    n_erased = 0
    for part in find_parts(folder):
        on_part()
        try:
            n_rows = sum(int(_select(table, erased).sum()) for table in _read_groups(part))
            if n_rows:
                _replace(part, erased)
        except FileNotFoundError:  # a service has uploaded or deleted it
            continue
        n_erased += n_rows
    return n_erased


def _read_groups(part: Part) -> Iterator[pa.Table]:
    arrow = arrow_parquet()
    try:
        with arrow.parquet.ParquetFile(open_part(part), page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)
    except FileNotFoundError:
        raise
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise LogSchemaError(f"{part} is damaged: {error}; {REPAIR}") from error


def _select(table: pa.Table, erased: Sequence[ErasedIds]) -> NDArray[Any]:
    """Returns (M,) bool: the row has an erased id."""
    columns: dict[str, NDArray[Any]] = {
        name: table[name].fill_null(NO_ID).to_numpy()
        for name in ("user_id", "item_id", "creator_id", "time_ms", "logged_ms")
        if name in table.column_names
    }
    if "item_type" in table.column_names:
        columns["item_type"] = np.array(table["item_type"].to_pylist(), object)
    return np.asarray(np.any([ids.select(columns) for ids in erased], axis=0))


def _replace(part: Part, erased: Sequence[ErasedIds]) -> None:
    arrow = arrow_parquet()
    schema = arrow.parquet.read_schema(open_part(part))
    options = {"write_page_checksum": True, **part_encoding(schema)}
    with file_aside(part) if isinstance(part, Path) else tempfile.NamedTemporaryFile() as file:
        with arrow.parquet.ParquetWriter(file, schema, **options) as writer:
            for table in _read_groups(part):
                writer.write_table(table.filter(arrow.array(~_select(table, erased))))
        if not isinstance(part, Path):
            file.flush()
            part.folder.upload(Path(file.name), part.name)
