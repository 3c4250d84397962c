"""Feeds for many users in one Parquet file: nightly jobs. A run that is killed goes on where it stopped.

While it runs, OUT.parts/ holds a file for each PART_USERS users, and ``job.json``, which says what job they
are of; at the end they become OUT by one rename. A row is a place of a feed:

    user (as in the users' file)   position int32   item (string or int64)   score float32   found_by list of
                                   strings
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karec.errors import DataError
from karec.files import file_aside, write_text_aside
from karec.logs.parts import arrow_parquet
from karec.pipeline.cascade import Cascade
from karec.pipeline.deadline import usable_cores
from karec.pipeline.types import Request
from karec.times import Progress

PART_USERS = 10_000
JOB = "job.json"


@dataclass(frozen=True)
class BatchJob:
    """Feeds of ``k`` works for each user of the column ``column`` of ``users`` (None: its only one, or
    "user"), as of ``time_ms``. ``made_of`` names the config and the bundle: parts of another job are not gone
    on with.
    """

    users: Path
    column: str | None
    out: Path
    k: int
    time_ms: int
    made_of: str

    def run(self, cascade: Cascade, progress: Progress | None = None) -> int:
        """Writes ``out``; how many users there are. DataError: the users cannot be read, ``out`` is there, or
        OUT.parts is of another job.
        """
        if self.out.exists():
            raise DataError(f"{self.out} is there already: move it away, or name another file")
        users = self._users()
        parts = self.out.with_name(f"{self.out.name}.parts")
        self._claim(parts, len(users))
        paths = [parts / f"{begin:012}.parquet" for begin in range(0, len(users), PART_USERS)]
        with ThreadPoolExecutor(usable_cores()) as pool:
            for at, path in enumerate(paths):
                begin = at * PART_USERS
                some = users[begin : begin + PART_USERS]
                if not path.exists():
                    self._write(
                        path, some, list(pool.map(lambda user: self._feed(cascade, user), some.to_pylist()))
                    )
                if progress is not None:
                    progress(begin + len(some), len(users), "feeds")
        self._join(paths)
        shutil.rmtree(parts)
        return len(users)

    def _feed(self, cascade: Cascade, user: int | str) -> list[tuple[int, int | str, float, tuple[str, ...]]]:
        feed = cascade.run(Request(user, self.k, cascade.scene, self.time_ms, request_id=f"recommend-{user}"))
        return [(item.position, item.item_id, item.score, item.sources) for item in feed]

    def _users(self) -> Any:
        """The users' column as one Arrow array."""
        pa = arrow_parquet()
        try:
            file = pa.parquet.ParquetFile(self.users)
            names = file.schema_arrow.names
            column = self.column or (names[0] if len(names) == 1 else "user")
            if column not in names:
                raise DataError(
                    f"{self.users}: no column {column!r}; name one with --column, there are {names}"
                )
            users = file.read([column])[column].combine_chunks()
            if pa.types.is_dictionary(users.type):
                users = users.dictionary_decode()
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.users} cannot be read as Parquet: {error}") from error
        if not (
            pa.types.is_integer(users.type)
            or pa.types.is_string(users.type)
            or pa.types.is_large_string(users.type)
        ):
            raise DataError(f"{self.users}: column {column!r} is {users.type}, ids are integers or texts")
        if users.null_count or not len(users):
            raise DataError(
                f"{self.users}: column {column!r} has {len(users)} rows, {users.null_count} of them missing"
            )
        return users

    def _claim(self, parts: Path, n_users: int) -> None:
        """``parts`` is there, and of this job."""
        with self.users.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        job = {"users": digest, "n": n_users, "column": self.column, "k": self.k, "time_ms": self.time_ms}
        text = json.dumps({**job, "made_of": self.made_of, "part_users": PART_USERS})
        parts.mkdir(parents=True, exist_ok=True)
        if not (parts / JOB).exists():
            write_text_aside(parts / JOB, text)
        elif (parts / JOB).read_text(encoding="utf-8") != text:
            raise DataError(
                f"{parts} holds parts of another job (users, config, bundle, k or moment differ): remove it"
            )

    def _write(self, path: Path, users: Any, feeds: Sequence[Sequence[tuple[Any, ...]]]) -> None:
        pa = arrow_parquet()
        rows = [place for feed in feeds for place in feed]
        of_user = [at for at, feed in enumerate(feeds) for _ in feed]
        positions, items, scores, found_by = (
            (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 4
        )
        table = pa.table(
            {
                "user": users.take(pa.array(of_user, pa.int64())),
                "position": pa.array(positions, pa.int32()),
                "item": pa.array(
                    items, pa.string() if any(isinstance(i, str) for i in items) else pa.int64()
                ),
                "score": pa.array(scores, pa.float32()),
                "found_by": pa.array(found_by, pa.list_(pa.string())),
            }
        )
        with file_aside(path) as file:
            pa.parquet.write_table(table, file)

    def _join(self, paths: Sequence[Path]) -> None:
        pa = arrow_parquet()

        def tables() -> Iterator[Any]:
            for path in paths:
                table = pa.parquet.read_table(path)
                if len(table):
                    yield table

        with file_aside(self.out) as file:
            writer = None
            for table in tables():
                writer = writer or pa.parquet.ParquetWriter(file, table.schema)
                writer.write_table(table)
            if writer is None:
                raise DataError(f"{self.users}: no user has a feed")
            writer.close()
