from pathlib import Path

import pytest
from demo_folder import write_demo_folder


@pytest.fixture
def demo_folder(tmp_path: Path) -> Path:
    """A folder with a small bundle in `demo`."""
    write_demo_folder(tmp_path / "demo")
    return tmp_path
