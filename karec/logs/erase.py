"""Rewrites Parquet parts of rank logs and of exported events without the rows of erased ids."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
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
COLUMNS = ("user_id", "item_id", "creator_id", "item_type", "time_ms", "logged_ms")


def erase_from_log(
    folder: LogFolder, erased: Sequence[ErasedIds], on_part: Callable[[], None] = lambda: None
) -> int:
    """Rewrites each part that has rows of the ids, without these rows. Returns their number.

    Readers see the former part until the new one is complete. A service may write, upload and delete parts
    meanwhile: erase from its folder first, then from the URL. Raises LogSchemaError for a damaged part.

    Args:
        on_part: called before each part.
    """
    n_erased = 0
    for part in find_parts(folder):
        on_part()
        with suppress(FileNotFoundError):  # a service has uploaded or deleted it
            n_erased += _erase_from_part(part, erased)
    return n_erased


def _erase_from_part(part: Part, erased: Sequence[ErasedIds]) -> int:
    arrow = arrow_parquet()
    masks = [_select(table, erased) for table in _read_groups(part)]
    n_erased = sum(int(mask.sum()) for mask in masks)
    if not n_erased:
        return 0
    schema = arrow.parquet.read_schema(open_part(part))
    options = {"write_page_checksum": True, **part_encoding(schema)}
    with file_aside(part) if isinstance(part, Path) else tempfile.NamedTemporaryFile() as file:
        with arrow.parquet.ParquetWriter(file, schema, **options) as writer:
            for table, mask in zip(_read_groups(part), masks, strict=True):
                writer.write_table(table.filter(arrow.array(~mask)))
        if not isinstance(part, Path):
            file.flush()
            part.folder.upload(Path(file.name), part.name)
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
    columns = {
        name: table[name].fill_null("" if name == "item_type" else NO_ID).to_numpy()
        for name in COLUMNS
        if name in table.column_names
    }
    return np.asarray(np.any([ids.select(columns) for ids in erased], axis=0))
