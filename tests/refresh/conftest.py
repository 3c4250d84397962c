"""A published bundle and a run of the next model version."""

from pathlib import Path

import pytest
from small_bundle import publish_small_bundle, write_next_run

from karec.bundle import Bundle


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> tuple[Bundle, Path]:
    """(bundle of version 1, run folder of version 2). Read only."""
    root = tmp_path_factory.mktemp("published")
    bundle = publish_small_bundle(root)
    return bundle, write_next_run(bundle, root / "run-2")
