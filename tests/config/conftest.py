"""A karec.toml and a bundle that contains only an index and a snapshot."""

import numpy as np
import pytest

from karec.bundle import publish_folder
from karec.index import ItemIndex


@pytest.fixture
def write_config(tmp_path, platform):
    """Writes a text as karec.toml and returns its path. ``bundles/`` is in the same folder."""

    def write(folder):
        columns = {name: platform.works[name] for name in ("creator_id", "song_id", "upload_ms")}
        index = ItemIndex.build(
            platform.works.ids, np.eye(10, dtype=np.float32), columns=columns, model_version=7
        )
        index.save(folder / "index.karec")
        platform.save(folder / "snapshot")

    publish_folder(tmp_path / "bundles", 7, write)

    def write_text(text):
        path = tmp_path / "karec.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text
