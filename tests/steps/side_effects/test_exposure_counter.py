"""ExposureCounter: when it counts pages."""

import json

import numpy as np
import pytest
from exposure_setup import TARGETS, index_with_50_items, items_at, make_controller, make_request

from karec.pipeline.trace import Trace
from karec.pipeline.types import Page
from karec.steps.side_effects.exposure_counter import ExposureCounter


@pytest.fixture
def index():
    return index_with_50_items()


def test_exposure_counter_flushes_pending_pages(index):
    controller = make_controller(index, targets=TARGETS)
    counter, request = ExposureCounter(controller), make_request(controller)
    assert counter.due() is None
    counter.run(request, Page(request, items_at(index, [1, 2]), Trace()))
    assert counter.due() is not None and controller.n_pending == 1
    counter.flush()
    assert counter.due() is None
    assert counter.counts() == {"dual_variables_version": 1, "underexposed_items": 0}


def test_exposure_counter_counts_an_unknown_item_for_no_group(index):
    controller = make_controller(index, targets=TARGETS)
    counter, request = ExposureCounter(controller), make_request(controller)
    counter.run(request, Page(request, items_at(index, [1]).with_rows(np.array([-1])), Trace()))
    counter.close()
    state = json.loads(controller.to_json())
    assert (state["n_pages"], state["impressions"]) == (1, 1.0)
    assert [impressions for _, impressions in state["targets"].values()] == [0, 0]
