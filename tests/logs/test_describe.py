"""What a rank log holds, said for people."""

import numpy as np
from small_rank_log import TASKS, append

from karec.logs.describe import describe_rank_log
from karec.logs.write import RankLogWriter


def append_shadow(writer, request_id, ids, time_ms, model_version):
    n = len(ids)
    writer.append(
        request_id=request_id,
        user_id=1,
        item_ids=np.array(ids),
        scene="home",
        time_ms=time_ms,
        model_version=model_version,
        logits=np.zeros((n, 2), np.float32),
        fused=np.zeros(n, np.float32),
        shadow=True,
    )


def test_a_log_is_described_by_its_counts_tasks_versions_and_moments(tmp_path):
    with RankLogWriter(tmp_path, TASKS) as writer:
        append(writer, "r1", list(range(1200)), time_ms=1_700_000_000_000)
        append(writer, "r2", [1, 2], time_ms=1_700_000_060_000)
    with RankLogWriter(tmp_path, TASKS) as writer:
        append_shadow(writer, "r2", [1, 2, 3], 1_700_000_061_500, 6)
        append_shadow(writer, "r3", [4], 1_700_000_030_000, 7)
    assert describe_rank_log(tmp_path) == {
        "parts": "2",
        "rows": "1,206",
        "requests": "3",
        "shadow requests": "2, 4 rows",
        "tasks": "click, like",
        "model versions": "6, 7",
        "from": "2023-11-14T22:13:20.000 UTC",
        "to": "2023-11-14T22:14:21.500 UTC",
    }
