"""Items of the user's lists are dropped."""

from dataclasses import replace

import numpy as np
import pytest
from small_dataset import make_dataset

from karec.catalog.relation import Relation
from karec.pipeline.types import Candidates, Request
from karec.steps.filters.not_seen import NotSeen


@pytest.fixture(scope="module")
def snapshot():
    """A snapshot with counters: 40 items, nine creators, 600 exposures."""
    from karec.aggregates.advance import advance

    dataset = make_dataset()
    return advance(dataset.snapshot, dataset.exposures, int(dataset.exposures.time_ms[-1]) + 1)


def test_not_seen_drops_items_of_history_and_skipped(snapshot):
    ids = np.asarray(snapshot.works.ids)
    seen = {
        "history": Relation.from_pairs(np.array([0, 0, 1]), ids[[3, 4, 5]], 12),
        "skipped": Relation.from_pairs(np.array([0, 2]), ids[[6, 7]], 12),
    }
    step = NotSeen(replace(snapshot, relations={**snapshot.relations, **seen}))
    kept = step.keep(Request(int(snapshot.users.ids[0])), Candidates.from_ids(ids))
    assert np.flatnonzero(~kept).tolist() == [3, 4, 6]
    assert step.keep(Request(999), Candidates.from_ids(ids)).all()
    assert NotSeen(replace(snapshot, relations={})).keep(Request(1), Candidates.from_ids(ids)).all()
