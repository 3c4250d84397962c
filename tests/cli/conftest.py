"""Exports of torch modules are shared."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def exports(shared_exports):
    """Tests of this folder share exports of torch modules."""
