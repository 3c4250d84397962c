"""Writing a rank log: requests are held back and become Parquet parts. ``karec.logs.read`` says what a
row is.

A part is written aside, synced and renamed: a reader never sees a piece of one, and rows counted as written
survive a killed process and a power cut. A request's rows are all in one part. A part's name holds an id
drawn for its writer and a running number, so any number of writers share a folder. What a killed writer left
half written goes when the next writer of the folder begins.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from karec.files import file_aside, remove_leftovers
from karec.logs.parts import arrow_parquet, rank_log_schema

PART_ROWS = 100_000


class _Request(NamedTuple):
    request_id: str
    user_id: int
    item_ids: NDArray[Any]
    scene: str
    time_ms: int
    model_version: int
    logits: NDArray[Any]
    fused: NDArray[Any]
    shadow: bool
    prerank: NDArray[Any]


class RankLogWriter:
    """Holds rows back and writes a part every ``part_rows`` rows; with None, at ``flush`` and ``close``
    alone.

    ``ranker`` is the fingerprint of the model whose scores these are, "" where it has none: each part says
    it. Not thread-safe: one thread calls it at a time; only ``counts`` may be called from any. After a fork
    the child's copy is a new writer: it forgets the parent's rows, which the parent writes, and draws an id
    of its own.
    """

    def __init__(
        self, folder: Path, tasks: Sequence[str], part_rows: int | None = PART_ROWS, *, ranker: str = ""
    ) -> None:
        self.folder = folder
        self.tasks = tuple(tasks)
        self.part_rows = part_rows
        self._schema = rank_log_schema(self.tasks, ranker)
        self._begin()
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, r"part-[0-9a-f]+-[0-9]+\.parquet")

    def _begin(self) -> None:
        self.rows_held = self.rows_written = self.rows_lost = 0
        self._held: list[_Request] = []
        self._id = uuid4().hex[:12]
        self._n_parts = 0
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def counts(self) -> dict[str, int]:
        """``rows_written`` are on the disk, ``rows_held`` are held back, ``rows_lost`` could not be
        written."""
        if self._process != os.getpid():
            return dict.fromkeys(("rows_written", "rows_held", "rows_lost"), 0)
        return {"rows_written": self.rows_written, "rows_held": self.rows_held, "rows_lost": self.rows_lost}

    def append(
        self,
        *,
        request_id: str,
        user_id: int,
        item_ids: NDArray[Any],
        scene: str,
        time_ms: int,
        model_version: int,
        logits: NDArray[Any],
        fused: NDArray[Any],
        shadow: bool = False,
        prerank: NDArray[Any] | None = None,
    ) -> None:
        """Log one request: ``item_ids (N,) int64``, ``logits (N, T) float32``, ``fused (N,) float32``.

        ``prerank (N,) float32``: prerank's score of each work, NaN where it has none; None where no work has
        one. The arrays are kept, not copied, until their part is written. Raises ValueError naming shapes
        that disagree, and what ``flush`` raises.
        """
        n = len(item_ids)
        if logits.shape != (n, len(self.tasks)) or fused.shape != (n,):
            raise ValueError(
                f"rank log: {n} items and {len(self.tasks)} tasks, but logits {logits.shape} and fused "
                f"{fused.shape}"
            )
        prerank = np.full(n, np.nan, np.float32) if prerank is None else prerank
        if prerank.shape != (n,):
            raise ValueError(f"rank log: {n} items, but prerank {prerank.shape}")
        request = _Request(
            request_id, user_id, item_ids, scene, time_ms, model_version, logits, fused, shadow, prerank
        )
        if self._process != os.getpid():
            self._begin()
        self._held.append(request)
        self.rows_held += n
        if self.part_rows is not None and self.rows_held >= self.part_rows:
            self.flush()

    def flush(self) -> None:
        """Write what is held back as one part.

        What cannot be written is given up and counted in ``rows_lost``, so that a full disk costs rows and
        not memory; OSError says why.
        """
        if self._process != os.getpid():
            self._begin()
        held, rows = self._held, self.rows_held
        self._held, self.rows_held = [], 0
        if not rows:
            return
        part = self.folder / f"part-{self._id}-{self._n_parts:06d}.parquet"
        self._n_parts += 1  # a name is used once: a part that was renamed, but not synced, stays
        try:
            arrow = arrow_parquet()
            table = arrow.table(_columns(held, len(self.tasks)), schema=self._schema)
            with file_aside(part) as file:
                arrow.parquet.write_table(table, file, write_page_checksum=True)
        except BaseException:
            self.rows_lost += rows
            raise
        self.rows_written += rows

    def close(self) -> None:
        """Write what is left; as ``flush``."""
        self.flush()


def _columns(requests: Sequence[_Request], n_tasks: int) -> list[object]:
    """Arrow arrays of the requests' rows, in the schema's order."""
    arrow = arrow_parquet()
    lengths = [len(request.item_ids) for request in requests]
    # (rows,) index of the request
    of = arrow.array(np.repeat(np.arange(len(requests), dtype=np.int32), lengths))

    def each(name: str, dtype: object) -> object:
        """One value a request, repeated for its rows."""
        return arrow.array([getattr(request, name) for request in requests], dtype).take(of)

    def joined(name: str, dtype: type) -> NDArray[Any]:
        return np.concatenate([getattr(request, name) for request in requests]).astype(dtype, copy=False)

    logits, prerank = joined("logits", np.float32), joined("prerank", np.float32)
    return [
        each("request_id", arrow.string()),
        each("user_id", arrow.int64()),
        arrow.array(joined("item_ids", np.int64)),
        arrow.array(np.concatenate([_positions(request.fused) for request in requests])),
        each("scene", arrow.string()),
        each("time_ms", arrow.int64()),
        each("model_version", arrow.int64()),
        *[arrow.array(np.ascontiguousarray(logits[:, task])) for task in range(n_tasks)],
        arrow.array(joined("fused", np.float32)),
        each("shadow", arrow.bool_()),
        arrow.array(prerank, mask=np.isnan(prerank)),
    ]


def _positions(fused: NDArray[Any]) -> NDArray[Any]:
    """(N,) int32: each work's place by fused score, 0 the best; ties by input order."""
    position = np.empty(len(fused), np.int32)
    position[np.argsort(-fused, kind="stable")] = np.arange(len(fused), dtype=np.int32)
    return position
