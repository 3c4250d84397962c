"""The log of a service as a teacher: whose ranker wrote it, which of its rows can teach, and what was left
out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.impressions import Impressions
from karec.catalog.snapshot import Snapshot
from karec.errors import DataError, LogSchemaError
from karec.logs.contents import PartContents, log_contents, rows_by_version
from karec.logs.read import RankLog, read_rank_log
from karec.models.onnx_model import OnnxModel
from karec.samples.lists import list_bounds


@dataclass(frozen=True, eq=False)
class ServedLog:
    """``log``: the rows that teach. ``notes``: what was read and why rows were left out, a line each."""

    log: RankLog
    notes: tuple[str, ...]

    def requests(self, snapshot: Snapshot, size: int) -> Impressions:
        """The R requests that have a list of at least ``size`` works, as rows that training can look up: no
        outcome belongs to them, so that their labels are 0, and each names the first work of its list."""
        starts, ends = list_bounds(self.log)
        starts = starts[ends - starts >= size]
        moments = np.stack([self.log.time_ms[starts], self.log.user_id[starts]])
        starts = starts[np.unique(moments, axis=1, return_index=True)[1]]
        scenes = {name: code for code, name in enumerate(snapshot.labels.get("scene", []))}
        scene = np.array([scenes.get(name, -1) for name in self.log.scene[starts]], np.int32)
        labels = {task: np.zeros(len(starts), np.uint8) for task in self.log.tasks}
        return Impressions(
            self.log.user_id[starts], self.log.item_id[starts], self.log.time_ms[starts], scene, labels
        )


def read_served_log(
    folder: Path,
    ranker: OnnxModel | None,
    tasks: Sequence[str],
    snapshot: Snapshot,
    until_ms: int,
    version: int | None = None,
) -> ServedLog:
    """The log in ``folder``, which ``ranker`` wrote while it served; its logits of ``tasks``. None: which
    works met which requests is asked alone, and rankers of any versions may have written it.

    Left out and counted: repeats of (request, work, shadow), rows of users or works that ``snapshot`` does
    not hold, and requests before it or after ``until_ms``, where the test begins. With ``version``, rows of
    other model versions are passed over.

    Raises LogSchemaError, naming versions with their rows, for rows of several versions that are not all this
    ranker's, for a ``version`` that the log lacks, and for a part that another ranker wrote, which had an
    encoder of its own; DataError when no row is left; and LogSchemaError as ``read_rank_log``.
    """
    contents = log_contents(folder)
    by_version = _checked_versions(folder, contents, ranker, version)
    log = read_rank_log(folder, tasks, version=version)
    rows = sum(by_version.values()) if version is None else by_version[version]
    early, late = log.time_ms < snapshot.time_ms, log.time_ms > until_ms
    users = snapshot.users.lookup(log.user_id) < 0
    works = snapshot.works.lookup(log.item_id) < 0
    reasons = {
        "of users that the data do not hold": users,
        "of works that the data do not hold": works & ~users,
        "of requests before the data begin": early & ~users & ~works,
        "of requests after the test begins": late & ~users & ~works,
    }
    kept = ~(users | works | early | late)
    counts = {"repeated": rows - len(log), **{why: int(found.sum()) for why, found in reasons.items()}}
    left_out = [f"{count:,} rows {why}" for why, count in counts.items() if count]
    if not kept.any():
        raise DataError(f"{folder}: no row can teach: {'; '.join(left_out)}: is it of these data?")
    told = (
        f"served log {folder}: {rows:,} rows of model version {_listed(by_version, version)}, "
        f"{int(kept.sum()):,} teach"
    )
    return ServedLog(log.take(kept), (told, *[f"served log: {why}, left out" for why in left_out]))


def _checked_versions(
    folder: Path, contents: Sequence[PartContents], ranker: OnnxModel | None, version: int | None
) -> dict[int, int]:
    """{model version: rows}, once it is clear that ``ranker``, where there is one, wrote the rows that are
    wanted."""
    rows = rows_by_version(contents)
    told = ", ".join(f"{each} ({count:,} rows)" for each, count in rows.items())
    if version is not None and version not in rows:
        raise LogSchemaError(f"{folder} has no row of model version {version}; it has {told}")
    if ranker is None:
        return rows
    wanted = [part for part in contents if version is None or version in part.rows]
    own = all(part.ranker == ranker.fingerprint for part in wanted)
    if own and ranker.fingerprint:
        return rows
    if version is None and len(rows) > 1:
        raise LogSchemaError(
            f"{folder} holds rows of the model versions {told}, and not all are of the ranker {ranker.path}: "
            "take those of one with --log-version"
        )
    for part in wanted:
        if part.ranker and ranker.fingerprint and part.ranker != ranker.fingerprint:
            raise LogSchemaError(
                f"{part.part} was written by the ranker {part.ranker}, which has an encoder of its own; "
                f"{ranker.path} is {ranker.fingerprint}: name the run whose ranker served with --run, or its "
                "rows with --log-version"
            )
    (only,) = rows if version is None else (version,)
    if only != ranker.model_version and version is None:
        raise LogSchemaError(
            f"{folder} is of model version {told} and does not name its ranker; {ranker.path} is of version "
            f"{ranker.model_version}: name the run whose ranker served with --run, or say that it is with "
            f"--log-version {only}"
        )
    return rows


def _listed(by_version: dict[int, int], version: int | None) -> str:
    return ", ".join(map(str, by_version)) if version is None else str(version)


def joined(parts: Sequence[Impressions], tasks: Sequence[str]) -> Impressions:
    """The exposures of ``parts``, one after the other, with the labels ``tasks``."""

    def each(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    labels = {task: np.concatenate([part.labels[task] for part in parts]) for task in tasks}
    return Impressions(
        each("user_id"), each("work_id"), each("time_ms"), each("scene").astype(np.int32), labels
    )
