"""First trainings shared by all simulations of a test run: they are of one world."""

import pytest


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")
