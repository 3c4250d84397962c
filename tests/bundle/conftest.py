import pytest
from small_bundle import publish_small_bundle


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    """The folder of a published bundle that serves (fixtures/small_bundle.py); nobody changes it."""
    return publish_small_bundle(tmp_path_factory.mktemp("good")).path
