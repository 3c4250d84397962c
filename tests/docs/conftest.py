"""A small bundle with the karec.toml of a demo, in place of `karec demo --out demo`."""

from pathlib import Path

import pytest
from small_bundle import TASKS, publish_small_bundle

from karec.config.templates import home_scene_text


@pytest.fixture
def demo_folder(tmp_path: Path) -> Path:
    """A folder with `demo/bundles` and `demo/karec.toml`. Users are 1 to 12, works 100, 107, …, 373."""
    bundle = publish_small_bundle(tmp_path / "demo")
    text = home_scene_text("home", bundle.snapshot, dict.fromkeys(TASKS, 1.0))
    (tmp_path / "demo" / "karec.toml").write_text(text)
    return tmp_path
