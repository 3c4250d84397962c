"""Underexposed: which items a request explores."""

import pytest
from exposure_setup import (
    GUARANTEES,
    NOW,
    TARGETS,
    add_pages,
    index_with_50_items,
    make_controller,
    make_request,
)

from karec.pipeline.types import Request
from karec.steps.sources.underexposed import Underexposed
from karec.times import HOUR_MS


@pytest.fixture
def controller():
    """Items 1000 … 1023 are new, and only item 1000 was shown."""
    controller = make_controller(index_with_50_items(), guarantees=GUARANTEES, explore=2)
    add_pages(controller, [0, 30], time_ms=NOW + HOUR_MS // 2)
    return controller


def test_underexposed_draws_items_below_their_guarantee_by_the_request_id(controller):
    source = Underexposed(controller)

    def drawn(**fields):
        result = source.recall(make_request(controller, **fields))
        assert result.pinned.all()
        return tuple(result.ids.tolist())

    underexposed = set(controller.newest.underexposed.ids.tolist())
    assert underexposed and underexposed <= set(range(1001, 1024))
    by_request = {name: drawn(request_id=name) for name in map(str, range(40))}
    assert all(len(ids) == 4 == source.quota and set(ids) <= underexposed for ids in by_request.values())
    assert by_request == {name: drawn(request_id=name) for name in by_request}
    assert len(set(by_request.values())) > 20, "another request explores other items"
    first = by_request["0"][0]
    assert first not in drawn(request_id="0", shown=(first,))


def test_underexposed_is_empty_without_guarantees_or_dual_variables(controller):
    other = make_controller(controller.index, targets=TARGETS)
    assert len(Underexposed(other).recall(make_request(other))) == 0
    assert len(Underexposed(controller).recall(Request(1))) == 0
