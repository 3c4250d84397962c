"""Writes a rank log as Parquet parts. ``karec.logs.read`` defines its rows.

A part is written to a temporary file, synced and renamed: a reader never sees an incomplete part, and rows
counted as written survive a killed process and a power cut. All rows of a request are in one part. The name
of a part has a random id of its writer and a number, so that any number of writers share a folder. The next
writer of the folder removes temporary files of a killed one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import WORK
from karec.files import file_aside, remove_leftovers
from karec.logs.parts import arrow_parquet, rank_log_schema

if TYPE_CHECKING:
    import pyarrow as pa

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
    page_ids: NDArray[Any]
    random_ids: Sequence[int]
    config_version: str
    arms: str
    degraded: str
    page_sources: Sequence[str]
    page_teams: Sequence[str]
    steps_ms: float | None


class RankLogWriter:
    """Buffers rows and writes a part after ``part_rows`` rows. None: only at ``flush`` and ``close``.

    One thread may call at a time; ``counts`` may be called from any thread. After a fork the copy in the
    child is a new writer with its own id: it drops the buffered rows, which the parent writes.

    ranker     fingerprint of the model of the scores, "" if it has none; written into each part
    item_type  type of the items, WORK for works
    """

    def __init__(
        self,
        folder: Path,
        tasks: Sequence[str],
        part_rows: int | None = PART_ROWS,
        *,
        ranker: str = "",
        item_type: str = WORK,
    ) -> None:
        self.folder = folder
        self.tasks = tuple(tasks)
        self.part_rows = part_rows
        self._item_type = item_type
        self._schema = rank_log_schema(self.tasks, ranker, item_type)
        self._encoding = part_encoding(self._schema)
        # The first array imports pandas if it is there. That fails in `close` at the end of the process.
        arrow_parquet().array([0])
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
        """Returns the numbers of rows on disk, of buffered rows, and of rows that could not be written."""
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
        page_ids: NDArray[Any] | None = None,
        random_ids: Sequence[int] = (),
        config_version: str = "",
        arms: Mapping[str, str] = {},
        degraded: Sequence[str] = (),
        page_sources: Sequence[str] = (),
        page_teams: Sequence[str] = (),
        steps_ms: float | None = None,
    ) -> None:
        """Adds the rows of one request. The arrays are not copied until their part is written.

        Args:
            item_ids: (N,) int64.
            logits: (N, T) float32.
            fused: (N,) float32.
            prerank: (N,) float32 scores of pre-ranking, NaN for items without one. None: no item has one.
            page_ids: (P,) int64 items of the page, in its order. None: there was no page.
            random_ids: first items of the page's list, in uniformly random order; they may exceed P.
            config_version: version of the scene's settings.
            arms: {experiment: arm} of the experiments in which the request counts.
            degraded: `Page.degraded`.
            page_sources: sources of the items of the page, joined by ";", in its order. Empty: not logged.
            page_teams: the arm that placed each of ``page_ids`` on an interleaved page; empty: another page.
            steps_ms: run times of the steps of the page, summed. None: not logged.

        Raises:
            ValueError: shapes that do not fit.
            OSError: as ``flush``.
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
        page_ids = np.empty(0, np.int64) if page_ids is None else page_ids
        row_values = (item_ids, scene, time_ms, model_version, logits, fused, shadow, prerank)
        arms_text = ";".join(f"{experiment}={arm}" for experiment, arm in sorted(arms.items()))
        page_values = (page_ids, random_ids, config_version, arms_text)
        more_values = (";".join(degraded), page_sources, page_teams, steps_ms)
        request = _Request(request_id, user_id, *row_values, *page_values, *more_values)
        if self._process != os.getpid():
            self._begin()
        self._held.append(request)
        self.rows_held += n
        if self.part_rows is not None and self.rows_held >= self.part_rows:
            self.flush()

    def flush(self) -> None:
        """Writes the buffered rows as one part.

        Rows that cannot be written are dropped and counted in ``rows_lost``, so that a full disk does not
        fill the memory. Raises OSError then.
        """
        if self._process != os.getpid():
            self._begin()
        held, rows = self._held, self.rows_held
        self._held, self.rows_held = [], 0
        if not rows:
            return
        part = self.folder / f"part-{self._id}-{self._n_parts:06d}.parquet"
        self._n_parts += 1  # a name is used once: a part may be renamed but not synced
        try:
            arrow = arrow_parquet()
            table = arrow.table(_columns(held, len(self.tasks), self._item_type), schema=self._schema)
            with file_aside(part) as file:
                arrow.parquet.write_table(table, file, write_page_checksum=True, **self._encoding)
        except BaseException:
            self.rows_lost += rows
            raise
        self.rows_written += rows

    def close(self) -> None:
        self.flush()


def part_encoding(schema: pa.Schema) -> dict[str, Any]:
    """Returns options of the Parquet writer.

    Values that differ from row to row are split by bytes, the others are listed once: 1,000 rows of six tasks
    take 27 KB in place of 50, and a fifth of the processor time.
    """
    varied = [
        field.name
        for field in schema
        if field.name in ("item_id", "position")
        or (str(field.type) == "float" and field.name not in ("propensity", "steps_ms"))
    ]
    return {
        "compression": "zstd",
        "column_encoding": dict.fromkeys(varied, "BYTE_STREAM_SPLIT"),
        "use_dictionary": [name for name in schema.names if name not in varied],
    }


def _columns(requests: Sequence[_Request], n_tasks: int, item_type: str) -> list[object]:
    """Returns Arrow arrays of the requests' rows, in the order of the schema."""
    arrow = arrow_parquet()
    lengths = [len(request.item_ids) for request in requests]
    request_of_row = arrow.array(np.repeat(np.arange(len(requests), dtype=np.int32), lengths))

    def repeat(name: str, dtype: object) -> object:
        """Returns the value of each request, repeated for its rows."""
        return arrow.array([getattr(request, name) for request in requests], dtype).take(request_of_row)

    def join(name: str, dtype: type) -> NDArray[Any]:
        return np.concatenate([getattr(request, name) for request in requests]).astype(dtype, copy=False)

    logits, prerank = join("logits", np.float32), join("prerank", np.float32)
    on_page = np.concatenate([_page_positions(request) for request in requests])
    n_random = np.repeat([len(request.random_ids) for request in requests], lengths)
    is_random = np.concatenate([_is_random(request) for request in requests])
    propensity = (1 / np.maximum(n_random, 1)).astype(np.float32)
    return [
        repeat("request_id", arrow.string()),
        repeat("user_id", arrow.int64()),
        arrow.array(join("item_ids", np.int64)),
        arrow.array(np.concatenate([_positions(request.fused) for request in requests])),
        repeat("scene", arrow.string()),
        repeat("time_ms", arrow.int64()),
        repeat("model_version", arrow.int64()),
        *[arrow.array(np.ascontiguousarray(logits[:, task])) for task in range(n_tasks)],
        arrow.array(join("fused", np.float32)),
        repeat("shadow", arrow.bool_()),
        arrow.array(prerank, mask=np.isnan(prerank)),
        arrow.array(on_page, mask=on_page < 0),
        arrow.array(propensity, mask=~is_random),
        repeat("config_version", arrow.string()),
        arrow.repeat(item_type, len(request_of_row)),
        repeat("arms", arrow.string()),
        repeat("degraded", arrow.string()),
        arrow.array(np.concatenate([_sources(request) for request in requests]), arrow.string()),
        arrow.array([team for request in requests for team in _teams(request)], arrow.string()),
        repeat("steps_ms", arrow.float32()),
    ]


def _positions(fused: NDArray[Any]) -> NDArray[Any]:
    """Returns (N,) int32 positions by fused score, 0 is the best. Ties are ordered by input position."""
    position = np.empty(len(fused), np.int32)
    position[np.argsort(-fused, kind="stable")] = np.arange(len(fused), dtype=np.int32)
    return position


def _sources(request: _Request) -> NDArray[Any]:
    """Returns (N,) object: the sources of the ranked items that are on the page, "" for the others."""
    sources = dict(zip(request.page_ids.tolist(), request.page_sources, strict=False))
    return np.array([sources.get(item, "") for item in request.item_ids.tolist()], object)


def _is_random(request: _Request) -> NDArray[Any]:
    """Returns (N,) bool: the item's position was random."""
    if not len(request.random_ids):
        return np.zeros(len(request.item_ids), bool)
    return np.isin(request.item_ids, request.random_ids)


def _page_positions(request: _Request) -> NDArray[Any]:
    """Returns (N,) int32 positions of the ranked items on the page, −1 for items that are not on it."""
    positions = {item: position for position, item in enumerate(request.page_ids.tolist())}
    return np.array([positions.get(item, -1) for item in request.item_ids.tolist()], np.int32)


def _teams(request: _Request) -> Sequence[str | None]:
    """Returns the team of each of the N ranked items, None for items that no team placed."""
    if not request.page_teams:
        return [None] * len(request.item_ids)
    teams = dict(zip(request.page_ids.tolist(), request.page_teams, strict=True))
    return [teams.get(item) for item in request.item_ids.tolist()]
