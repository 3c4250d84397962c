"""Reading a rank log: what the ranker said of every work it ranked. The towers learn from it.

One row a ranked work: request_id, user_id, item_id, position (by fused score), scene, time_ms, model_version,
logit_<task> for each task, fused, shadow, prerank. The rows of a shadow request are its whole pool, scored
after the answer, with prerank's score beside the ranker's; in all others prerank is null. A log is a folder
of Parquet parts, of any number of writers (``karec.logs.write``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import LogSchemaError
from karec.logs.parts import arrow_parquet, read_part, read_part_schema


@dataclass(frozen=True, eq=False)
class RankLog:
    """M rows of a rank log, in order of time.

    request_id, scene (M,) object; user_id, item_id, time_ms, model_version (M,) int64; position (M,) int32;
    shadow (M,) bool; logits (M, T) float32, in the order of ``tasks``; fused (M,) float32; prerank (M,)
    float32, NaN where the log has none.
    """

    request_id: NDArray[Any]
    user_id: NDArray[Any]
    item_id: NDArray[Any]
    position: NDArray[Any]
    scene: NDArray[Any]
    time_ms: NDArray[Any]
    model_version: NDArray[Any]
    logits: NDArray[Any]
    fused: NDArray[Any]
    shadow: NDArray[Any]
    prerank: NDArray[Any]
    tasks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.item_id)

    def take(self, selector: NDArray[Any] | slice) -> RankLog:
        """The rows at ``selector`` (indices, a boolean mask or a slice)."""
        arrays = {
            field.name: getattr(self, field.name)[selector] for field in fields(self) if field.name != "tasks"
        }
        return replace(self, **arrays)

    def requests(self) -> Iterator[RankLog]:
        """The log of each request; the pool of a shadow request comes apart from what was ranked to be
        shown."""
        if not len(self):
            return
        same = (self.request_id[1:] == self.request_id[:-1]) & (self.shadow[1:] == self.shadow[:-1])
        cuts = np.flatnonzero(~same) + 1
        for begin, end in zip([0, *cuts], [*cuts, len(self)], strict=True):
            yield self.take(slice(int(begin), int(end)))


def read_rank_log(
    folder: Path,
    tasks: Sequence[str],
    model_versions: Collection[int] | None = None,
    *,
    version: int | None = None,
) -> RankLog:
    """Every row of the log in ``folder``, in order of time, without repeats.

    Of repeats of (request, item, shadow) the one with the lowest fused score stays. The result does not
    depend on which part holds a row, or where. Parts of an older format are read as ``parts.ABSENT`` says.
    With ``model_versions``, rows of any other version are refused; with ``version`` they are passed over.

    Raises LogSchemaError. It names the file when a part is cut short, damaged or of a newer format; the
    column too when it is missing, is there twice or has another type; and the row too when a cell is empty, a
    score is not finite or the model version is not wanted.
    """
    table = arrow_parquet().concat_tables(
        [read_part(part, tasks, model_versions, version) for part in log_parts(folder)]
    )
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
    """The tasks of the log in ``folder``: those that its first part has logits of."""
    names = read_part_schema(log_parts(folder)[0]).names
    return tuple(name.removeprefix("logit_") for name in names if name.startswith("logit_"))


def log_parts(folder: Path) -> list[Path]:
    """The log's part files, by name. Raises LogSchemaError when there is none."""
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        raise LogSchemaError(f"{folder} holds no rank log: expected part-*.parquet")
    return parts


def _coded(column: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """(the distinct texts, sorted; (M,) the index into them of each row's): a text of many rows is held
    once."""
    encoded = column.combine_chunks().dictionary_encode()
    order = arrow_parquet().compute.array_sort_indices(encoded.dictionary).to_numpy()
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return encoded.dictionary.take(order).to_numpy(zero_copy_only=False), place[encoded.indices.to_numpy()]
