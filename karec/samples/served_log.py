"""Reads a service's rank log for training: checks its ranker, and selects the usable rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.impressions import Impressions
from karec.catalog.snapshot import Snapshot
from karec.errors import DataError, LogSchemaError
from karec.logs.contents import PartContents, count_rows_by_version, read_log_contents
from karec.logs.parts import LogFolder
from karec.logs.read import RankLog, read_rank_log
from karec.models.onnx_model import OnnxModel
from karec.samples.arms import ArmRows
from karec.samples.lists import list_bounds


@dataclass(frozen=True, eq=False)
class ServedLog:
    """``log``: the usable rows. ``notes``: a line on the rows read, and on each reason to leave rows out."""

    log: RankLog
    notes: tuple[str, ...]

    def requests(self, snapshot: Snapshot, size: int) -> Impressions:
        """Returns the R requests with a list of at least ``size`` items as rows for training.

        They have no outcome: labels are 0, and each names the first item of its list.
        """
        starts, ends = list_bounds(self.log)
        starts = starts[ends - starts >= size]
        keys = np.stack([self.log.time_ms[starts], self.log.user_id[starts]])
        starts = starts[np.unique(keys, axis=1, return_index=True)[1]]
        scenes = {name: code for code, name in enumerate(snapshot.labels.get("scene", []))}
        scene = np.array([scenes.get(name, -1) for name in self.log.scene[starts]], np.int32)
        labels = {task: np.zeros(len(starts), np.uint8) for task in self.log.tasks}
        return Impressions(
            self.log.user_id[starts], self.log.item_id[starts], self.log.time_ms[starts], scene, labels
        )


def read_served_log(
    folder: LogFolder,
    ranker: OnnxModel | None,
    tasks: Sequence[str],
    snapshot: Snapshot,
    until_ms: int,
    version: int | None = None,
    arm_rows: ArmRows | None = None,
) -> ServedLog:
    """Returns the log in ``folder``, which ``ranker`` wrote while serving, with its logits of ``tasks``.

    Left out and counted: rows without logits of works, repeats of (request, item, shadow), rows of users or
    items that ``snapshot`` lacks, and requests before it or after ``until_ms``, the start of the test.

    Args
      ranker    None: only the items of requests are used, so rankers of any version may have written the log
      version   use only rows of this model version
      arm_rows  use only requests of these arms

    Raises
      LogSchemaError   rows of several versions that are not all this ranker's, a ``version`` that the log
                       lacks, a part of another ranker (it has another encoder), or as ``read_rank_log``
      DataError        no row is left
    """
    parts = read_log_contents(folder)
    contents = [part for part in parts if part.has_soft_labels]
    if not contents:
        raise LogSchemaError(f"{folder}: no part has logits of works. Log a scene with the step ranker.")
    n_without = sum(count_rows_by_version(part for part in parts if not part.has_soft_labels).values())
    by_version = _checked_versions(folder, contents, ranker, version)
    log = read_rank_log(folder, tasks, version=version)
    rows = sum(by_version.values()) if version is None else by_version[version]
    reasons = {
        "of users that the data do not contain": snapshot.users.lookup(log.user_id) < 0,
        "of items that the data do not contain": snapshot.works.lookup(log.item_id) < 0,
        "of requests before the start of the data": log.time_ms < snapshot.time_ms,
        "of requests after the start of the test": log.time_ms > until_ms,
    }
    if arm_rows is not None:
        arm_rows.check_log(log.arms)
        reasons["of other arms"] = ~arm_rows.keep(log.arms, log.request_id)
    is_usable = np.ones(len(log), bool)
    left_out = [f"{n_without:,} rows without logits of works"] if n_without else []
    left_out += [f"{rows - len(log):,} rows repeated"] if rows > len(log) else []
    for reason, is_bad in reasons.items():
        if n_rows := int((is_usable & is_bad).sum()):
            left_out.append(f"{n_rows:,} rows {reason}")
        is_usable &= ~is_bad
    if not is_usable.any():
        raise DataError(
            f"{folder}: no usable row: {'; '.join(left_out)}. Check that log and data belong together."
        )
    note = (
        f"served log {folder}: {rows:,} rows of model version {_listed(by_version, version)}, "
        f"{int(is_usable.sum()):,} usable"
    )
    return ServedLog(log.take(is_usable), (note, *[f"served log: {reason}, left out" for reason in left_out]))


def _checked_versions(
    folder: LogFolder, contents: Sequence[PartContents], ranker: OnnxModel | None, version: int | None
) -> dict[int, int]:
    """Returns {model version: rows}. Raises LogSchemaError for rows of another ranker."""
    rows = count_rows_by_version(contents)
    listed = ", ".join(f"{number} ({count:,} rows)" for number, count in rows.items())
    if version is not None and version not in rows:
        raise LogSchemaError(f"{folder}: no row of model version {version}, only of {listed}")
    if ranker is None:
        return rows
    selected = [part for part in contents if version is None or version in part.rows]
    is_own = all(part.ranker == ranker.fingerprint for part in selected)
    if is_own and ranker.fingerprint:
        return rows
    if version is None and len(rows) > 1:
        raise LogSchemaError(
            f"{folder}: rows have the model versions {listed}, and not all are of the ranker {ranker.path}. "
            "Select one with --log-version."
        )
    for part in selected:
        if part.ranker and ranker.fingerprint and part.ranker != ranker.fingerprint:
            raise LogSchemaError(
                f"{part.part}: written by the ranker {part.ranker}, which has another encoder, expected "
                f"{ranker.fingerprint} as {ranker.path}. Name the run whose ranker served with --run, or "
                "select its rows with --log-version."
            )
    (version_of_rows,) = rows if version is None else (version,)
    if version_of_rows != ranker.model_version and version is None:
        raise LogSchemaError(
            f"{folder}: rows have model version {listed} and do not name their ranker, expected version "
            f"{ranker.model_version} as {ranker.path}. Name the run whose ranker served with --run, or "
            f"confirm the version with --log-version {version_of_rows}."
        )
    return rows


def _listed(by_version: dict[int, int], version: int | None) -> str:
    return ", ".join(map(str, by_version)) if version is None else str(version)


def concat_impressions(parts: Sequence[Impressions], tasks: Sequence[str]) -> Impressions:
    """Returns the exposures of ``parts``, concatenated, with the labels ``tasks``.

    They have positions if the first part has them, 0 in parts without.
    """

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    labels = {task: np.concatenate([part.labels[task] for part in parts]) for task in tasks}
    positions = [np.zeros(len(part), np.int16) if part.position is None else part.position for part in parts]
    return Impressions(
        column("user_id"),
        column("work_id"),
        column("time_ms"),
        column("scene").astype(np.int32),
        labels,
        position=None if parts[0].position is None else np.concatenate(positions),
    )
