"""Deletes rows of a rank log: those of erased ids, and parts that are older than the log is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from karec.erasure import ErasedIds
from karec.errors import LogSchemaError
from karec.files import file_aside
from karec.logs.parts import REPAIR, LogFolder, Part, arrow_parquet, open_part
from karec.logs.read import find_parts
from karec.logs.write import part_encoding

if TYPE_CHECKING:
    import pyarrow as pa


def erase_from_log(folder: LogFolder, erased: Sequence[ErasedIds], *, is_check: bool) -> int:
    """Returns the number of rows with the ids. Unless ``is_check``, writes their parts without them.

    A service may write, upload and delete parts meanwhile: erase from its folder first, then from the URL.
    Raises LogSchemaError for a damaged part.
    """
    return sum(_erase_from_part(part, erased, is_check=is_check) for part in find_parts(folder))


def delete_old_parts(folder: LogFolder, before_ms: int) -> int:
    """Deletes the parts whose rows are all before ``before_ms``. Returns their number."""
    n_deleted = 0
    for part in find_parts(folder):
        table = _read(part, ["time_ms"])
        if table is not None and np.max(table["time_ms"].to_numpy(), initial=0) < before_ms:
            part.unlink(missing_ok=True) if isinstance(part, Path) else part.folder.remove(part.name)
            n_deleted += 1
    return n_deleted


def _erase_from_part(part: Part, erased: Sequence[ErasedIds], *, is_check: bool) -> int:
    table = _read(part)
    if table is None:
        return 0
    columns = {name: table[name].to_numpy() for name in ("user_id", "item_id", "time_ms")}
    masks = [ids.select(columns[ids.column], columns["time_ms"]) for ids in erased if ids.column in columns]
    is_erased = np.any([np.zeros(len(table), bool), *masks], axis=0)
    if is_erased.any() and not is_check:
        _replace(part, table.filter(arrow_parquet().array(~is_erased)))
    return int(is_erased.sum())


def _read(part: Part, columns: list[str] | None = None) -> pa.Table | None:
    """Returns the rows; None if a service has uploaded or deleted the part meanwhile."""
    arrow = arrow_parquet()
    try:
        return arrow.parquet.read_table(open_part(part), columns=columns, page_checksum_verification=True)
    except (arrow.ArrowException, KeyError, OSError, ValueError) as error:
        if isinstance(part, Path) and not part.exists():
            return None
        raise LogSchemaError(f"{part} is damaged: {error}; {REPAIR}") from error


def _replace(part: Part, table: pa.Table) -> None:
    """Writes the part again with the rows of ``table``."""
    with file_aside(part) if isinstance(part, Path) else tempfile.NamedTemporaryFile() as file:
        write = arrow_parquet().parquet.write_table
        write(table, file, write_page_checksum=True, **part_encoding(table.schema))
        if not isinstance(part, Path):
            file.flush()
            part.folder.upload(Path(file.name), part.name)
