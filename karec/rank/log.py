"""The rank log: what the ranker said of every work it ranked, kept as Parquet. The towers learn from it.

One row a ranked work: request_id, user_id, item_id, position (by fused score), scene, time_ms, model_version,
logit_<task> for each task, fused. A folder of part files, each written aside and renamed, so that a reader never sees
half a part. Parts carry a name drawn for their writer and a running number, so any number of writers share a folder.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from karec.errors import LogSchemaError, MissingExtra
from karec.onnx_model import OnnxModel
from karec.stage import Observer
from karec.types import Array, Recommendation, Request

if TYPE_CHECKING:
    import pyarrow as pa


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "log", "the rank log") from error
    return pyarrow


def rank_log_schema(tasks: Sequence[str]) -> pa.Schema:
    """The columns of a rank log whose ranker predicts ``tasks``."""
    arrow = _arrow()
    return arrow.schema(
        [
            ("request_id", arrow.string()),
            ("user_id", arrow.int64()),
            ("item_id", arrow.int64()),
            ("position", arrow.int32()),
            ("scene", arrow.string()),
            ("time_ms", arrow.int64()),
            ("model_version", arrow.int64()),
            *[(f"logit_{task}", arrow.float32()) for task in tasks],
            ("fused", arrow.float32()),
        ]
    )


@dataclass(frozen=True, eq=False)
class RankLog:
    """A rank log read back: ``request_id (M,) object``, ids int64, ``logits (M, T) float32`` in ``tasks``' order."""

    request_id: Array
    user_id: Array
    item_id: Array
    position: Array
    scene: Array
    time_ms: Array
    model_version: Array
    logits: Array
    fused: Array
    tasks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.item_id)


class RankLogWriter:
    """Buffers requests and writes a part file every ``part_rows`` rows. Not thread-safe: one writer a thread.

    ``close`` (or leaving the ``with`` block) writes what is left.
    """

    def __init__(self, folder: Path, tasks: Sequence[str], part_rows: int = 100_000) -> None:
        self.folder = folder
        self.tasks = tuple(tasks)
        self.part_rows = part_rows
        self._schema = rank_log_schema(self.tasks)
        self._pending: list[tuple[str, int, Array, str, int, int, Array, Array]] = []
        self._n_pending = 0
        self._writer = uuid4().hex[:12]
        self._n_parts = 0
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> RankLogWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(
        self,
        *,
        request_id: str,
        user_id: int,
        item_ids: Array,
        scene: str,
        time_ms: int,
        model_version: int,
        logits: Array,
        fused: Array,
    ) -> None:
        """Log one request: ``item_ids (N,) int64``, ``logits (N, T) float32``, ``fused (N,) float32``."""
        n = len(item_ids)
        if logits.shape != (n, len(self.tasks)) or fused.shape != (n,):
            raise ValueError(
                f"rank log: {n} items and {len(self.tasks)} tasks, but logits {logits.shape} and fused {fused.shape}"
            )
        self._pending.append((request_id, user_id, item_ids, scene, time_ms, model_version, logits, fused))
        self._n_pending += n
        if self._n_pending >= self.part_rows:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one part file. What cannot be written is given up, so that a full disk costs rows,
        not memory; the OSError says so.
        """
        pending, n_pending = self._pending, self._n_pending
        self._pending, self._n_pending = [], 0
        if not n_pending:
            return
        arrow = _arrow()
        lengths = [len(entry[2]) for entry in pending]
        logits = np.concatenate([entry[6] for entry in pending]).astype(np.float32, copy=False)
        fused = np.concatenate([entry[7] for entry in pending]).astype(np.float32, copy=False)
        positions = np.concatenate([_positions(entry[7]) for entry in pending])
        columns = [
            np.repeat(np.array([entry[0] for entry in pending], object), lengths),
            np.repeat(np.array([entry[1] for entry in pending], np.int64), lengths),
            np.concatenate([entry[2] for entry in pending]),
            positions,
            np.repeat(np.array([entry[3] for entry in pending], object), lengths),
            np.repeat(np.array([entry[4] for entry in pending], np.int64), lengths),
            np.repeat(np.array([entry[5] for entry in pending], np.int64), lengths),
            *[np.ascontiguousarray(logits[:, t]) for t in range(len(self.tasks))],
            fused,
        ]
        table = arrow.table([arrow.array(c) for c in columns], schema=self._schema)
        part = self.folder / f"part-{self._writer}-{self._n_parts:06d}.parquet"
        aside = part.with_suffix(".writing")
        arrow.parquet.write_table(table, aside)
        aside.rename(part)
        self._n_parts += 1

    def close(self) -> None:
        self.flush()


def _positions(fused: Array) -> Array:
    """Rank of each item by fused score, ties by input order: 0 is the best."""
    position = np.empty(len(fused), np.int32)
    position[np.argsort(-fused, kind="stable")] = np.arange(len(fused), dtype=np.int32)
    return position


def read_rank_log(folder: Path, tasks: Sequence[str]) -> RankLog:
    """Every row of the log in ``folder``, in order of time; of repeats of (request, item) the one with the least score.

    Which part a row stands in, and where, does not matter.

    Raises LogSchemaError naming file and column when a part lacks a column or has another type, and naming the row
    when a logit is not finite.
    """
    arrow = _arrow()
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        raise LogSchemaError(f"{folder} holds no rank log: expected part-*.parquet")
    wanted = rank_log_schema(tasks)
    tables = [_read_part(arrow, part, wanted, tasks) for part in parts]
    table = arrow.concat_tables(tables)
    log = RankLog(
        request_id=np.asarray(table["request_id"].to_numpy(zero_copy_only=False), object),
        user_id=table["user_id"].to_numpy(),
        item_id=table["item_id"].to_numpy(),
        position=table["position"].to_numpy(),
        scene=np.asarray(table["scene"].to_numpy(zero_copy_only=False), object),
        time_ms=table["time_ms"].to_numpy(),
        model_version=table["model_version"].to_numpy(),
        logits=np.stack([table[f"logit_{task}"].to_numpy() for task in tasks], axis=1),
        fused=table["fused"].to_numpy(),
        tasks=tuple(tasks),
    )
    return _in_order(log)


def describe_rank_log(folder: Path) -> dict[str, str]:
    """What a log holds, for people: parts, rows, tasks, model versions, first and last moment."""
    arrow = _arrow()
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        raise LogSchemaError(f"{folder} holds no rank log: expected part-*.parquet")
    tasks = [n.removeprefix("logit_") for n in arrow.parquet.read_schema(parts[0]).names if n.startswith("logit_")]
    log = read_rank_log(folder, tasks)
    versions = ", ".join(str(version) for version in np.unique(log.model_version))
    first, last = (np.datetime64(int(moment), "ms") for moment in (log.time_ms.min(), log.time_ms.max()))
    return {
        "parts": str(len(parts)),
        "rows": f"{len(log):,}",
        "requests": f"{len(set(log.request_id)):,}",
        "tasks": ", ".join(tasks),
        "model versions": versions,
        "from": f"{first} UTC",
        "to": f"{last} UTC",
    }


def _read_part(arrow: Any, part: Path, wanted: Any, tasks: Sequence[str]) -> Any:
    try:
        found = arrow.parquet.read_schema(part)
    except arrow.ArrowInvalid as error:
        raise LogSchemaError(f"{part} is not a Parquet file: {error}") from error
    for column in wanted:
        at = found.get_field_index(column.name)
        if at < 0:
            raise LogSchemaError(f"{part}: column {column.name!r} is missing; it has {found.names}")
        if found.field(at).type != column.type:
            raise LogSchemaError(f"{part}: column {column.name!r} is {found.field(at).type}, expected {column.type}")
    table = arrow.parquet.read_table(part, columns=wanted.names).select(wanted.names)
    for task in tasks:
        bad = np.flatnonzero(~np.isfinite(table[f"logit_{task}"].to_numpy()))
        if len(bad):
            raise LogSchemaError(f"{part}: column 'logit_{task}', row {int(bad[0])}: the logit is not finite")
    return table


def _in_order(log: RankLog) -> RankLog:
    order = np.lexsort((log.fused, log.item_id, log.request_id.astype(str), log.time_ms))
    request, item = log.request_id[order], log.item_id[order]
    first = np.ones(len(order), bool)
    first[1:] = (request[1:] != request[:-1]) | (item[1:] != item[:-1])
    kept = order[first]
    return RankLog(
        **{
            name: getattr(log, name)[kept]
            for name in (
                "request_id",
                "user_id",
                "item_id",
                "position",
                "scene",
                "time_ms",
                "model_version",
                "logits",
                "fused",
            )
        },
        tasks=log.tasks,
    )


class RankLogObserver(Observer):
    """Logs every work that the stage ``stage`` scored, for every request, into ``folder`` (relative to
    the config's). Threads may share it.

    Rows reach the disk every ``part_rows`` rows and at ``close``.
    """

    def __init__(
        self, ranker: OnnxModel, config_folder: Path, folder: str, stage: str = "rank", part_rows: int = 100_000
    ) -> None:
        if part_rows <= 0:
            raise ValueError(f"part_rows must be positive, got {part_rows}")
        self.stage = stage
        self.model_version = ranker.model_version
        self._writer = RankLogWriter(config_folder / folder, ranker.tasks, part_rows)
        self._lock = threading.Lock()

    def observe(self, request: Request, recommendation: Recommendation) -> None:
        ranked = recommendation.scored[self.stage]
        if request.time_ms is None:
            raise ValueError("a request without time_ms cannot be logged")
        with self._lock:
            self._writer.append(
                request_id=request.request_id,
                user_id=request.user_id,
                item_ids=ranked.ids,
                scene=request.scene,
                time_ms=request.time_ms,
                model_version=self.model_version,
                logits=ranked.columns["logits"],
                fused=ranked.scores,
            )

    def close(self) -> None:
        with self._lock:
            self._writer.close()
