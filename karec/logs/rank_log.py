"""The rank log: what the ranker said of every work it ranked, kept as Parquet. The towers learn from it.

One row a ranked work: request_id, user_id, item_id, position (by fused score), scene, time_ms, model_version,
logit_<task> for each task, fused, shadow, prerank. The rows of a shadow request are its whole pool, scored after the
answer, with prerank's score beside the ranker's; in all others prerank is null. A folder of part files, each written
aside and renamed, so that a reader never sees half a part. Parts carry a name drawn for their writer and a running
number, so any number of writers share a folder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np

from karec.errors import LogSchemaError
from karec.logs.parts import arrow_parquet, rank_log_schema, read_part, read_part_schema
from karec.types import Array


@dataclass(frozen=True, eq=False)
class RankLog:
    """M rows of a rank log, in order of time: ``request_id, scene (M,) object``, ids and moments int64.

    ``shadow (M,) bool``, ``logits (M, T) float32`` in ``tasks``' order, ``fused`` and ``prerank (M,) float32``, the
    last NaN where the log has none.
    """

    request_id: Array
    user_id: Array
    item_id: Array
    position: Array
    scene: Array
    time_ms: Array
    model_version: Array
    logits: Array
    fused: Array
    shadow: Array
    prerank: Array
    tasks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.item_id)

    def take(self, selector: Array | slice) -> RankLog:
        """The rows at ``selector`` (indices, a boolean mask or a slice)."""
        arrays = {field.name: getattr(self, field.name)[selector] for field in fields(self) if field.name != "tasks"}
        return replace(self, **arrays)

    def requests(self) -> Iterator[RankLog]:
        """The log request by request, a shadow request's pool apart from what was ranked to be shown."""
        if not len(self):
            return
        same = (self.request_id[1:] == self.request_id[:-1]) & (self.shadow[1:] == self.shadow[:-1])
        cuts = np.flatnonzero(~same) + 1
        for begin, end in zip([0, *cuts], [*cuts, len(self)], strict=True):
            yield self.take(slice(int(begin), int(end)))


class _Request(NamedTuple):
    request_id: str
    user_id: int
    item_ids: Array
    scene: str
    time_ms: int
    model_version: int
    logits: Array
    fused: Array
    shadow: bool
    prerank: Array


class RankLogWriter:
    """Buffers requests and writes a part file every ``part_rows`` rows. Not thread-safe: one writer a thread.

    ``close`` (or leaving the ``with`` block) writes what is left.
    """

    def __init__(self, folder: Path, tasks: Sequence[str], part_rows: int = 100_000) -> None:
        self.folder = folder
        self.tasks = tuple(tasks)
        self.part_rows = part_rows
        self._schema = rank_log_schema(self.tasks)
        self._pending: list[_Request] = []
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
        shadow: bool = False,
        prerank: Array | None = None,
    ) -> None:
        """Log one request: ``item_ids (N,) int64``, ``logits (N, T) float32``, ``fused (N,) float32``.

        ``prerank (N,) float32``: prerank's score of each work, NaN where it had none; all of them without it.
        """
        n = len(item_ids)
        if logits.shape != (n, len(self.tasks)) or fused.shape != (n,):
            raise ValueError(
                f"rank log: {n} items and {len(self.tasks)} tasks, but logits {logits.shape} and fused {fused.shape}"
            )
        prerank = np.full(n, np.nan, np.float32) if prerank is None else prerank
        if prerank.shape != (n,):
            raise ValueError(f"rank log: {n} items, but prerank {prerank.shape}")
        request = _Request(request_id, user_id, item_ids, scene, time_ms, model_version, logits, fused, shadow, prerank)
        self._pending.append(request)
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
        arrow = arrow_parquet()
        lengths = [len(request.item_ids) for request in pending]

        def each(name: str, dtype: Any) -> Array:
            return np.repeat(np.array([getattr(request, name) for request in pending], dtype), lengths)

        def joined(name: str, dtype: Any) -> Array:
            return np.concatenate([getattr(request, name) for request in pending]).astype(dtype, copy=False)

        logits = joined("logits", np.float32)
        columns = [
            each("request_id", object),
            each("user_id", np.int64),
            joined("item_ids", np.int64),
            np.concatenate([_positions(request.fused) for request in pending]),
            each("scene", object),
            each("time_ms", np.int64),
            each("model_version", np.int64),
            *[np.ascontiguousarray(logits[:, t]) for t in range(len(self.tasks))],
            joined("fused", np.float32),
            each("shadow", bool),
            joined("prerank", np.float32),
        ]
        nulls = [None] * (len(columns) - 1) + [np.isnan(columns[-1])]
        arrays = [arrow.array(column, mask=null) for column, null in zip(columns, nulls, strict=True)]
        table = arrow.table(arrays, schema=self._schema)
        part = self.folder / f"part-{self._writer}-{self._n_parts:06d}.parquet"
        aside = part.with_suffix(".writing")
        arrow.parquet.write_table(table, aside, write_page_checksum=True)
        aside.rename(part)
        self._n_parts += 1

    def close(self) -> None:
        self.flush()


def _positions(fused: Array) -> Array:
    """Rank of each item by fused score, ties by input order: 0 is the best."""
    position = np.empty(len(fused), np.int32)
    position[np.argsort(-fused, kind="stable")] = np.arange(len(fused), dtype=np.int32)
    return position


def read_rank_log(folder: Path, tasks: Sequence[str], model_versions: Collection[int] | None = None) -> RankLog:
    """Every row of the log in ``folder``, in order of time; of repeats of (request, item) the one with the least score.

    Which part a row stands in, and where, does not matter; a request's shadow rows repeat none of its others. Parts of
    an older format are read as ``log_parts.LACKING`` says. With ``model_versions`` rows of any other are refused.

    Raises LogSchemaError naming the file when a part is cut short, damaged or of a newer format, the column too when it
    is missing, stands there twice or is of another type, and the row too when a cell is empty, a score is not finite or
    its model version is not wanted.
    """
    table = arrow_parquet().concat_tables([read_part(part, tasks, model_versions) for part in _parts(folder)])
    names, request = _coded(table["request_id"])
    scenes, scene = _coded(table["scene"])
    log = RankLog(
        request_id=names[request],
        user_id=table["user_id"].to_numpy(),
        item_id=table["item_id"].to_numpy(),
        position=table["position"].to_numpy(),
        scene=scenes[scene],
        time_ms=table["time_ms"].to_numpy(),
        model_version=table["model_version"].to_numpy(),
        logits=np.stack([table[f"logit_{task}"].to_numpy() for task in tasks], axis=1),
        fused=table["fused"].to_numpy(),
        shadow=table["shadow"].to_numpy(),
        prerank=table["prerank"].to_numpy().astype(np.float32, copy=False),
        tasks=tuple(tasks),
    )
    order = np.lexsort((log.fused, log.item_id, log.shadow, request, log.time_ms))
    key = [column[order] for column in (request, log.item_id, log.shadow)]
    first = np.ones(len(order), bool)
    first[1:] = np.any([column[1:] != column[:-1] for column in key], axis=0)
    return log.take(order[first])


def logged_tasks(folder: Path) -> tuple[str, ...]:
    """The tasks of the log in ``folder``, by the columns of its first part."""
    names = read_part_schema(_parts(folder)[0]).names
    return tuple(name.removeprefix("logit_") for name in names if name.startswith("logit_"))


def describe_rank_log(folder: Path) -> dict[str, str]:
    """What a log holds, for people: parts, rows, tasks, model versions, first and last moment."""
    log = read_rank_log(folder, logged_tasks(folder))
    versions = ", ".join(str(version) for version in np.unique(log.model_version))
    first, last = (np.datetime64(int(moment), "ms") for moment in (log.time_ms.min(), log.time_ms.max()))
    return {
        "parts": str(len(_parts(folder))),
        "rows": f"{len(log):,}",
        "requests": f"{len(set(log.request_id)):,}",
        "shadow requests": f"{len(set(log.request_id[log.shadow])):,}, {int(log.shadow.sum()):,} rows",
        "tasks": ", ".join(log.tasks),
        "model versions": versions,
        "from": f"{first} UTC",
        "to": f"{last} UTC",
    }


def _parts(folder: Path) -> list[Path]:
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        raise LogSchemaError(f"{folder} holds no rank log: expected part-*.parquet")
    return parts


def _coded(column: Any) -> tuple[Array, Array]:
    """(the distinct texts in order, (M,) which of them each row has): a text is held once, however often it stands."""
    encoded = column.combine_chunks().dictionary_encode()
    order = arrow_parquet().compute.array_sort_indices(encoded.dictionary).to_numpy()
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return encoded.dictionary.take(order).to_numpy(zero_copy_only=False), place[encoded.indices.to_numpy()]
