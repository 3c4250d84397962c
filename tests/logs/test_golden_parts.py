"""The golden part of a rank log is read with its values, and the writer writes it."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from karec.aggregates.events import WORK
from karec.logs.parts import FORMAT
from karec.logs.read import read_rank_log, read_tasks
from karec.logs.write import RankLogWriter

GOLDEN = Path(__file__).parent / "golden" / f"format-{FORMAT}.parquet"
TASKS = ("click", "like")


def request(at, n, **more):
    """Arguments of ``RankLogWriter.append``."""
    return {
        "request_id": f"r{at}",
        "user_id": 5 + at,
        "item_ids": np.array([30, 10, 20, 40][:n], np.int64) + 100 * at,
        "scene": ("home", "city")[at],
        "time_ms": 1_700_000_000_000 + at,
        "model_version": 7,
        "logits": (np.arange(2 * n, dtype=np.float32).reshape(n, 2) - 3) / 4 + at,
        "fused": np.array([0.25, 0.75, 0.25, 0.5], np.float32)[:n],
        **more,
    }


# of a page whose first three positions were random; the third has no item
ARMS = {"fusion": "control", "dpp": "diverse"}
DEGRADED = ("recall.social", "rank: fallback")
PAGE = {
    "page_ids": np.array([20, 40]),
    "random_ids": (20, 40, 50),
    "page_sources": ("follow;model", "fresh"),
    "page_teams": ("diverse", "control"),
    "steps_ms": 12.5,
}
ON_PAGE = request(0, 4, config_version="4f2a", arms=ARMS, degraded=DEGRADED, **PAGE)
SHADOW = request(1, 4, shadow=True, prerank=np.array([0.5, np.nan, -1, 2], np.float32))


def test_golden_part_is_read_with_its_values(tmp_path):
    shutil.copy(GOLDEN, tmp_path / "part-0.parquet")
    assert read_tasks(tmp_path) == TASKS
    ranked, *others = read_rank_log(tmp_path, TASKS).requests()
    np.testing.assert_array_equal(ranked.item_id, [10, 20, 30, 40])
    np.testing.assert_array_equal(ranked.position, [0, 3, 2, 1])
    np.testing.assert_array_equal(ranked.fused, np.array([0.75, 0.25, 0.25, 0.5], np.float32))
    np.testing.assert_array_equal(ranked.logits, [[-0.25, 0], [0.25, 0.5], [-0.75, -0.5], [0.75, 1]])
    np.testing.assert_array_equal(ranked.page_position, [-1, 0, -1, 1])
    np.testing.assert_array_equal(ranked.propensity, np.float32([np.nan, 1 / 3, np.nan, 1 / 3]))
    assert set(ranked.config_version) == {"4f2a"} and set(ranked.item_type) == {WORK}
    assert set(ranked.arms) == {"dpp=diverse;fusion=control"}
    assert ranked.team.tolist() == ["", "diverse", "", "control"]
    assert set(ranked.request_id) == {"r0"} and set(ranked.user_id) == {5} and set(ranked.scene) == {"home"}
    assert set(ranked.time_ms) == {1_700_000_000_000} and set(ranked.model_version) == {7}
    assert not ranked.shadow.any() and np.isnan(ranked.prerank).all()
    assert [(log.scene[0], bool(log.shadow[0]), len(log)) for log in others] == [
        ("city", False, 3),
        ("city", True, 4),
    ]
    np.testing.assert_array_equal(others[0].page_position, [-1, -1, 0])
    assert np.isnan(others[0].propensity).all() and (others[1].page_position == -1).all()
    np.testing.assert_array_equal(others[-1].prerank, np.array([np.nan, -1, 0.5, 2], np.float32))


def test_writer_writes_the_golden_part(tmp_path):
    with RankLogWriter(tmp_path, TASKS) as writer:
        for entry in (ON_PAGE, request(1, 3, page_ids=np.array([130])), SHADOW):
            writer.append(**entry)
    (part,) = tmp_path.iterdir()
    written, golden = pq.read_table(part), pq.read_table(GOLDEN)
    assert written.schema.equals(golden.schema, check_metadata=True)
    assert written.equals(golden)
