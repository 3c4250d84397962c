from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from karec.index import IdMap


@pytest.fixture
def build(tmp_path: Path) -> Callable[[Any], IdMap]:
    """Ids → a map of them, in a file that is verified when it is opened."""

    def of(ids: Any) -> IdMap:
        path = tmp_path / f"ids-{len(list(tmp_path.iterdir()))}.karec"
        IdMap.build(ids, path)
        return IdMap.open(path)

    return of
