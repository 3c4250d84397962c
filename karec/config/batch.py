"""Pages for many users in one Parquet file, for nightly jobs.

A row is an item of a page:

    user_id (as in the users' file)   position int32   item_id (string or int64)   score float32
    sources (list of strings)

While a job runs, OUT.parts/ has a file for each PART_USERS users, and job.json, which identifies the job. At
the end one rename makes them OUT. A killed job continues with the first missing part.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karec.errors import DataError
from karec.files import file_aside, write_text_aside
from karec.logs.parts import arrow_parquet
from karec.pipeline.cascade import Cascade
from karec.pipeline.deadline import usable_cores
from karec.pipeline.types import PageItem, Request
from karec.times import Progress

PART_USERS = 10_000
JOB = "job.json"


@dataclass(frozen=True)
class BatchJob:
    """Pages of ``k`` items for the users of a file, at ``time_ms``.

    users      Parquet, or CSV by its suffix
    column     column of user ids; None: "user_id", or the first one
    identity   identifies config and bundle: parts of another job are not continued
    """

    users: Path
    column: str | None
    out: Path
    k: int
    time_ms: int
    identity: str

    def run(self, cascade: Cascade, progress: Progress | None = None) -> int:
        """Writes ``out`` and returns the number of users.

        Raises DataError if the users cannot be read, ``out`` exists, or OUT.parts is of another job.
        """
        if self.out.exists():
            raise DataError(f"{self.out} exists. Move it, or name another file.")
        users = self._read_users(is_text=_has_text_ids(cascade))
        folder = self.out.with_name(f"{self.out.name}.parts")
        self._claim(folder, len(users))
        starts = range(0, len(users), PART_USERS)
        paths = [folder / f"{start:012}.parquet" for start in starts]
        with ThreadPoolExecutor(usable_cores()) as pool:
            for start, path in zip(starts, paths, strict=True):
                part = users[start : start + PART_USERS]
                if not path.exists():
                    pages = list(pool.map(lambda user: self._page_items(cascade, user), part.to_pylist()))
                    self._write(path, part, pages)
                if progress is not None:
                    progress(start + len(part), len(users), "pages")
        self._join(paths)
        shutil.rmtree(folder)
        return len(users)

    def _page_items(self, cascade: Cascade, user: int | str) -> list[PageItem]:
        request_id = f"recommend-{user}"
        request = Request(user, self.k, cascade.scene, self.time_ms, request_id=request_id, arms={})
        return list(cascade.run(request))  # a Page would keep all its candidates in memory

    def _read_users(self, *, is_text: bool) -> Any:
        """Returns the column of user ids as one Arrow array. ``is_text``: ids of a CSV file are texts."""
        pa = arrow_parquet()
        is_csv = self.users.suffix.lower() == ".csv"
        try:
            names = _csv_names(self.users) if is_csv else pa.parquet.read_schema(self.users).names
            column = self.column or ("user_id" if "user_id" in names else names[0])
            if column not in names:
                raise DataError(f"{self.users}: no column {column!r}. Name one of {names} with --column.")
            if is_csv:
                users = _read_csv_column(self.users, column, pa.string() if is_text else pa.int64())
            else:
                users = pa.parquet.read_table(self.users, columns=[column])[column].combine_chunks()
            if pa.types.is_dictionary(users.type):
                users = users.dictionary_decode()
        except (OSError, pa.ArrowException) as error:
            kind = "CSV" if is_csv else "Parquet"
            raise DataError(f"{self.users} cannot be read as {kind}: {error}") from error
        kinds = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
        if not any(is_kind(users.type) for is_kind in kinds):
            raise DataError(f"{self.users}: column {column!r} is {users.type}, expected integers or strings")
        if users.null_count or not len(users):
            raise DataError(
                f"{self.users}: column {column!r} has {len(users)} rows, {users.null_count} of them missing"
            )
        return users

    def _claim(self, folder: Path, n_users: int) -> None:
        """Creates the folder of the parts. Raises DataError if it is of another job."""
        with self.users.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        job = {"users": digest, "n": n_users, "column": self.column, "k": self.k, "time_ms": self.time_ms}
        text = json.dumps({**job, "identity": self.identity, "part_users": PART_USERS})
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / JOB).exists():
            write_text_aside(folder / JOB, text)
        elif (folder / JOB).read_text(encoding="utf-8") != text:
            raise DataError(
                f"{folder} has parts of another job: users, config, bundle, k or time differ. Remove it."
            )

    def _write(self, path: Path, users: Any, pages: Sequence[Sequence[PageItem]]) -> None:
        pa = arrow_parquet()
        items = [item for page in pages for item in page]
        user_rows = [row for row, page in enumerate(pages) for _ in page]
        item_ids = [item.item_id for item in items]
        id_type = pa.int64()
        if any(isinstance(item_id, str) for item_id in item_ids):  # item types of a page may have both kinds
            item_ids, id_type = [str(item_id) for item_id in item_ids], pa.string()
        table = pa.table(
            {
                "user_id": users.take(pa.array(user_rows, pa.int64())),
                "position": pa.array([item.position for item in items], pa.int32()),
                "item_id": pa.array(item_ids, id_type),
                "item_type": pa.array([item.item_type for item in items], pa.string()),
                "score": pa.array([item.score for item in items], pa.float32()),
                "sources": pa.array([list(item.sources) for item in items], pa.list_(pa.string())),
            }
        )
        with file_aside(path) as file:
            pa.parquet.write_table(table, file)

    def _join(self, paths: Sequence[Path]) -> None:
        """Writes all parts with rows to ``out``; the type of item ids of an empty part is unknown."""
        pa = arrow_parquet()
        parts = [path for path in paths if pa.parquet.ParquetFile(path).metadata.num_rows]
        if not parts:
            raise DataError(f"{self.users}: no user has a page")
        schema = pa.parquet.read_schema(parts[0])
        with file_aside(self.out) as file, pa.parquet.ParquetWriter(file, schema) as writer:
            for path in parts:
                writer.write_table(pa.parquet.read_table(path))


def _has_text_ids(cascade: Cascade) -> bool:
    naming = None if cascade.bundle is None else cascade.bundle.naming
    return naming is not None and naming.users.kind == "string"


def _csv_names(path: Path) -> list[str]:
    """Returns the names of the columns of a CSV file with commas."""
    with arrow_parquet().csv.open_csv(path) as file:
        return list(file.schema.names)


def _read_csv_column(path: Path, column: str, kind: Any) -> Any:
    """Returns one column as Arrow ``kind``; an empty cell is missing."""
    csv = arrow_parquet().csv
    options = csv.ConvertOptions(
        include_columns=[column], column_types={column: kind}, null_values=[""], strings_can_be_null=True
    )
    return csv.read_csv(path, convert_options=options)[column].combine_chunks()
