from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from karec.index import IdMap


@pytest.fixture
def build(tmp_path: Path) -> Callable[[Any], IdMap]:
    """Returns a function: ids → their IdMap, opened from a file with verification."""

    def build(ids: Any) -> IdMap:
        path = tmp_path / f"ids-{len(list(tmp_path.iterdir()))}.karec"
        IdMap.build(ids, path)
        return IdMap.open(path)

    return build
