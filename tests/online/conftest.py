import pytest
from live_bundle import live_config
from object_stores import s3_port  # noqa: F401

from karec.bundle import Bundle

HOUR = 3_600_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle that the tests of one module share; each has a store of its own."""
    folder = tmp_path_factory.mktemp("live")
    live_config(folder)
    return folder


@pytest.fixture(scope="module")
def snapshot(folder):
    return Bundle.open(folder / "bundles").snapshot


@pytest.fixture
def now(snapshot):
    return snapshot.time_ms + HOUR
