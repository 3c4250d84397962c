"""The source of open rooms, on the platform of conftest.py: later items are watched more often."""

import numpy as np
import pytest

from karec.index import ItemIndex
from karec.pipeline.types import Request
from karec.steps.sources.open_now import OpenNow


@pytest.fixture
def index(platform):
    return ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))


def ids_of(step, index):
    with index.pinned() as view:
        return step.recall(Request(1).with_view(view)).ids.tolist()


def test_open_now_returns_open_items_most_popular_first(platform, index):
    step = OpenNow(index.schema, platform, 4)
    assert ids_of(step, index) == [109, 108, 107, 106]
    index.block([108, 107])
    assert ids_of(step, index) == [109, 106, 105, 104]
    index.unblock([108])
    assert ids_of(step, index) == [109, 108, 106, 105]


def test_open_now_reads_the_view_of_the_request(platform, index):
    step = OpenNow(index.schema, platform, 2)
    with index.pinned() as before:
        index.block([109])
        assert ids_of(step, index) == [108, 107]
        assert step.recall(Request(1).with_view(before)).ids.tolist() == [109, 108]


def test_open_now_places_new_rooms_last(platform, index):
    step = OpenNow(index.schema, platform, 20)
    index.upsert([500], np.ones((1, 10), np.float32))
    index.remove([100])
    assert ids_of(step, index) == [*range(109, 100, -1), 500]
    index.block(index.ids[index.present])
    assert ids_of(step, index) == []
