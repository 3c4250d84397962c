"""Three hosts for all tests of this folder."""

import pytest
from haproxy import MISSING, PROGRAM
from three_hosts import run_hosts
from valkey_server import PROGRAMS, REASON


@pytest.fixture(scope="package")
def running_hosts(tmp_path_factory):
    if PROGRAM is None:
        pytest.skip(MISSING)
    if not PROGRAMS:
        pytest.skip(REASON)
    with run_hosts(tmp_path_factory.mktemp("hosts")) as hosts:
        yield hosts


@pytest.fixture
def hosts(running_hosts):
    """Three hosts that are ready, with no step degraded."""
    yield running_hosts
    running_hosts.recover()
