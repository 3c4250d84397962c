"""A published bundle and a run of the next model version."""

from pathlib import Path

import pytest
from small_bundle import publish_small_bundle, write_next_run

from karec.bundle import Bundle


@pytest.fixture(scope="session", params=[False, True], ids=["one space", "two spaces"])
def published(request, tmp_path_factory) -> tuple[Bundle, Path]:
    """(bundle of version 1, run folder of version 2); with recall's own space or without. Read only."""
    root = tmp_path_factory.mktemp("published")
    bundle = publish_small_bundle(root, recall=request.param)
    return bundle, write_next_run(bundle, root / "run-2")
