"""Reads a rank log: all items that a stage scored; the towers learn from the ranker's logits of these items.

A row is a ranked item: request_id, user_id, item_id, position (by fused score), scene, time_ms,
model_version, logit_<task> for each task, fused, shadow, prerank, page_position, propensity, config_version,
item_type (WORK for works), arms (EXPERIMENT=ARM;… of the experiments in which the request counts), degraded
(`Page.degraded`) and sources (those of an item of the page), both joined by ";" and not in RankLog, team (the
arm that placed an item on an interleaved page), steps_ms (`Trace.total_ms` of the page, not in RankLog). A
part has one item type; parts of scenes without a ranker have no logits.
The rows of a shadow request are its whole pool, scored after the response, with the score of pre-ranking;
other rows have prerank null. Items of the page have page_position. Items whose position was random have
propensity, also those that did not reach the page: the probability of each position of the random part.
A log is a folder of Parquet parts from any number of writers (``karec.logs.write``), local or in an object
store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import LogSchemaError
from karec.logs.parts import (
    ARMS,
    ITEM_TYPE,
    LOGIT,
    TEAM,
    LogFolder,
    Part,
    StoredPart,
    arrow_parquet,
    has_soft_labels,
    read_part,
    read_part_schema,
)


@dataclass(frozen=True, eq=False)
class RankLog:
    """M rows of a rank log, ordered by time.

    request_id, scene, config_version          (M,) object
    user_id, item_id, time_ms, model_version   (M,) int64
    position                                   (M,) int32
    logits                                     (M, T) float32, in the order of ``tasks``
    fused                                      (M,) float32
    shadow                                     (M,) bool
    prerank                                    (M,) float32, NaN if the log has none
    page_position                              (M,) int32, −1 for items that are not on the page
    propensity                                 (M,) float32, NaN unless the item's position was random
    item_type                                  (M,) object, WORK for works
    arms                                       (M,) object, "EXPERIMENT=ARM;…", "" for none
    team                                       (M,) object, arm that placed the item on a page, "" for none
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
    page_position: NDArray[Any]
    propensity: NDArray[Any]
    config_version: NDArray[Any]
    item_type: NDArray[Any]
    arms: NDArray[Any]
    team: NDArray[Any]
    tasks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.item_id)

    def take(self, selector: NDArray[Any] | slice) -> RankLog:
        """Returns the rows of ``selector``: indices, a boolean mask or a slice."""
        arrays = {
            field.name: getattr(self, field.name)[selector] for field in fields(self) if field.name != "tasks"
        }
        return replace(self, **arrays)

    def requests(self) -> Iterator[RankLog]:
        """Yields the rows of each request and item type, and the pool of a shadow request separately."""
        if not len(self):
            return
        keys = self.request_id, self.item_type, self.shadow
        is_same = np.all([key[1:] == key[:-1] for key in keys], axis=0)
        cuts = np.flatnonzero(~is_same) + 1
        for begin, end in zip([0, *cuts], [*cuts, len(self)], strict=True):
            yield self.take(slice(int(begin), int(end)))


def read_rank_log(
    folder: LogFolder,
    tasks: Sequence[str],
    *,
    version: int | None = None,
) -> RankLog:
    """Returns the rows of the log in ``folder``, ordered by time, without repeats.

    Of repeats of (request, item type, item, shadow) the row with the lowest fused score is kept. The result
    does not depend on the order of parts and rows.

    Args:
        tasks: tasks of works; parts without their logits are left out. Empty: all parts, without logits.
        version: reads only the rows of this version.

    Raises:
        LogSchemaError: a part that is truncated, damaged or of another format; a column that is missing,
            appears twice or has another type; an empty cell, or a score that is not finite. It names file,
            column and row.
    """
    table = arrow_parquet().concat_tables([read_part(part, tasks, version) for part in list_parts(folder)])
    names, request = _encode_texts(table["request_id"])
    scenes, scene = _encode_texts(table["scene"])
    configs, config = _encode_texts(table["config_version"])
    types, item_type = _encode_texts(table[ITEM_TYPE])
    all_arms, arms = _encode_texts(table[ARMS])
    teams, team = _encode_texts(table[TEAM].fill_null(""))
    log = RankLog(
        request_id=names[request],
        user_id=table["user_id"].to_numpy(),
        item_id=table["item_id"].to_numpy(),
        position=table["position"].to_numpy(),
        scene=scenes[scene],
        time_ms=table["time_ms"].to_numpy(),
        model_version=table["model_version"].to_numpy(),
        logits=np.stack([table[LOGIT + task].to_numpy() for task in tasks], axis=1)
        if tasks
        else np.empty((len(table), 0), np.float32),
        fused=table["fused"].to_numpy(),
        shadow=table["shadow"].to_numpy(),
        prerank=table["prerank"].to_numpy().astype(np.float32, copy=False),
        page_position=table["page_position"].fill_null(-1).to_numpy(),
        propensity=table["propensity"].to_numpy().astype(np.float32, copy=False),
        config_version=configs[config],
        item_type=types[item_type],
        arms=all_arms[arms],
        team=teams[team],
        tasks=tuple(tasks),
    )
    order = np.lexsort((log.fused, log.item_id, log.shadow, item_type, request, log.time_ms))
    key = [column[order] for column in (request, log.item_id, log.shadow, item_type)]
    first = np.ones(len(order), bool)
    first[1:] = np.any([column[1:] != column[:-1] for column in key], axis=0)
    return log.take(order[first])


def read_tasks(folder: LogFolder) -> tuple[str, ...]:
    """Returns the tasks of the log in ``folder``: those of its first part with soft labels."""
    for schema in map(read_part_schema, list_parts(folder)):
        if has_soft_labels(schema):
            return tuple(name.removeprefix(LOGIT) for name in schema.names if name.startswith(LOGIT))
    return ()


def list_parts(folder: LogFolder) -> list[Part]:
    """Returns the part files, ordered by name. Raises LogSchemaError if there is none."""
    parts = find_parts(folder)
    if not parts:
        raise LogSchemaError(f"{folder} holds no rank log: expected part-*.parquet")
    return parts


def find_parts(folder: LogFolder) -> list[Part]:
    """Returns the part files, ordered by name. Empty if there is no such folder."""
    if isinstance(folder, Path):
        return [*sorted(folder.glob("*.parquet"))]
    return [StoredPart(folder, name) for name in folder.names(".parquet")]


def _encode_texts(column: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the distinct texts, sorted, and the (M,) indices of the texts of the rows."""
    encoded = column.combine_chunks().dictionary_encode()
    order = arrow_parquet().compute.array_sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return encoded.dictionary.take(order).to_numpy(zero_copy_only=False), rank[encoded.indices.to_numpy()]
