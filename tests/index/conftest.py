import pytest
from four_works import four_works

from karec.index import ItemIndex


@pytest.fixture
def index() -> ItemIndex:
    """Four items of model version 7 (fixtures/four_works.py)."""
    return four_works()
