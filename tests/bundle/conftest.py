import pytest
from object_stores import s3_port  # noqa: F401
from small_bundle import publish_small_bundle, without_spaces


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    """Folder of a valid published bundle (fixtures/small_bundle.py). Tests do not change it.

    Its index does not name its item tower, so a test may put another tower in its place.
    """
    return without_spaces(publish_small_bundle(tmp_path_factory.mktemp("good")))
