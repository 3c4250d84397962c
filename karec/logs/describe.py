"""What a rank log holds, for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from karec.logs.read import log_parts, logged_tasks, read_rank_log


def describe_rank_log(folder: Path) -> dict[str, str]:
    """Parts, rows, requests, tasks, model versions, first and last moment of the log in ``folder``, as
    texts."""
    log = read_rank_log(folder, logged_tasks(folder))
    versions = ", ".join(str(version) for version in np.unique(log.model_version))
    first, last = (np.datetime64(int(moment), "ms") for moment in (log.time_ms.min(), log.time_ms.max()))
    return {
        "parts": str(len(log_parts(folder))),
        "rows": f"{len(log):,}",
        "requests": f"{len(set(log.request_id)):,}",
        "shadow requests": f"{len(set(log.request_id[log.shadow])):,}, {int(log.shadow.sum()):,} rows",
        "tasks": ", ".join(log.tasks),
        "model versions": versions,
        "from": f"{first} UTC",
        "to": f"{last} UTC",
    }
