import pytest


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """First trainings, which the simulations of all tests share: they are of one world."""
    return tmp_path_factory.mktemp("models")
