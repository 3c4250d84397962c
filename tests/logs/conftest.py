import pytest
from object_stores import s3_port  # noqa: F401
from small_rank_log import TASKS, append

from karec.logs.write import RankLogWriter


@pytest.fixture
def folder(tmp_path):
    """A log of two requests in one part."""
    with RankLogWriter(tmp_path, TASKS) as writer:
        append(writer, "r1", [1, 2, 3], time_ms=10)
        append(writer, "r2", [1, 2], time_ms=5)
    return tmp_path
