"""ExposureControl: penalties on scores, and explored items in the first half of the page."""

import numpy as np
import pytest
from exposure_setup import (
    GUARANTEES,
    NOW,
    TARGETS,
    add_pages,
    index_with_50_items,
    items_at,
    make_controller,
    make_request,
)

from karec.errors import ContractError
from karec.exposure.constraints import Cap
from karec.pipeline.types import Request
from karec.steps.scorers.exposure_control import ExposureControl
from karec.times import HOUR_MS


@pytest.fixture
def index():
    return index_with_50_items()


@pytest.fixture
def controller(index):
    return make_controller(index, targets=TARGETS, rate=0.05)


def test_exposure_control_returns_the_same_scores_before_the_first_page(index):
    controller = make_controller(
        index, targets=TARGETS, caps=(Cap("creator_id", 0.2),), guarantees=GUARANTEES, explore=1
    )
    candidates = items_at(index, range(50), np.random.default_rng(1).normal(size=50).astype(np.float32))
    output = ExposureControl().score(make_request(controller), candidates)
    assert output.value is candidates.scores
    assert output.notes["pages"] == 0
    assert output.notes["dual_variables"] == {"type 1": 0.0, "younger than 12 h": 0.0}


def test_exposure_control_rejects_a_candidate_without_a_row(index, controller):
    add_pages(controller, [1, 3])
    candidates = items_at(index, [1, 2]).with_rows(np.array([1, -1]))
    with pytest.raises(ContractError, match="1 of 2 candidates have no row"):
        ExposureControl().score(make_request(controller), candidates)


def test_exposure_control_rejects_a_request_without_dual_variables(index):
    with pytest.raises(ContractError, match="this request has no dual variables"):
        ExposureControl().score(Request(1), items_at(index, [1, 2]))


def test_request_reads_one_version_after_later_updates(index, controller):
    add_pages(controller, [1, 3])
    request, candidates = make_request(controller), items_at(index, range(50), np.arange(50))
    before = ExposureControl().score(request, candidates)
    add_pages(controller, [1, 3])
    assert controller.newest.version == before.notes["version"] + 1
    again = ExposureControl().score(request, candidates)
    assert again.notes is before.notes and again.value.tobytes() == before.value.tobytes()
    assert (ExposureControl().score(make_request(controller), candidates).value != before.value).any()


def test_explored_items_are_in_the_first_half_of_the_page(index):
    # the bound is so small that boosts change no order
    controller = make_controller(index, guarantees=GUARANTEES, explore=2, bound=1e-9)
    add_pages(controller, [0, 30], time_ms=NOW + HOUR_MS // 2)
    positions = []
    for request_id in map(str, range(60)):
        request = make_request(controller, request_id=request_id)
        scores = -np.arange(50, dtype=np.float32)
        scores[:24] -= 100
        candidates = items_at(index, range(50), scores)
        explored = request.dual_variables.explored_ids(request.seed, ())
        candidates = candidates.with_pinned(np.isin(candidates.ids, explored))
        output = ExposureControl().score(request, candidates)
        assert output.notes["explored"] == 2
        page = candidates.ids[np.argsort(-output.value, kind="stable")][:6].tolist()
        explored = explored[:2].tolist()
        assert set(explored) <= set(page[:4]) and sum(item < 1024 for item in page) == 2
        positions += [page.index(item) for item in explored]
    assert set(positions) == {0, 1, 2, 3}


def test_exposure_control_explores_the_best_draws_and_no_other_pinned_item(index):
    controller = make_controller(index, guarantees=GUARANTEES, explore=2, bound=1e-9)
    add_pages(controller, [0, 30], time_ms=NOW + HOUR_MS // 2)
    for request_id in map(str, range(20)):
        request = make_request(controller, request_id=request_id)
        drawn = request.dual_variables.explored_ids(request.seed, ()).tolist()
        assert len(drawn) == 4
        scores = -np.arange(50, dtype=np.float32)
        scores[:24] -= 100
        candidates = items_at(index, range(50), scores)
        pinned_by_others = candidates.ids[:1].tolist()
        candidates = candidates.with_pinned(np.isin(candidates.ids, [*drawn, *pinned_by_others]))
        filtered = candidates.take(candidates.ids != drawn[0])
        for left, best in ((candidates, drawn[:2]), (filtered, drawn[1:3])):
            output = ExposureControl().score(request, left)
            assert set(left.ids[output.value > left.scores + 1].tolist()) == set(best)
