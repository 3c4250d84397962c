"""First trainings, which all simulations of a run share: they are of one world."""

import pytest


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")
