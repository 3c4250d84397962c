"""Shares exports of torch modules between the tests of this folder."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def exports(shared_exports):
    """Tests of this folder share exports of torch modules."""
