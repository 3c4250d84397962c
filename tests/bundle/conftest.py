import pytest
from small_bundle import publish_small_bundle, without_spaces


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    """The folder of a published bundle that serves (fixtures/small_bundle.py); nobody changes it.

    Its index does not say which item tower made it, so that other towers may take its tower's place.
    """
    return without_spaces(publish_small_bundle(tmp_path_factory.mktemp("good")))
