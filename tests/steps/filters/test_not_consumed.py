"""Consumed items are dropped, and fill a page at its end if too few others remain."""

from dataclasses import replace

import numpy as np
import pytest
from small_dataset import make_dataset

from karec.catalog.relation import Relation
from karec.pipeline.checks import keep, score
from karec.pipeline.types import Candidates, Request
from karec.steps.filters.not_consumed import NotConsumed
from karec.steps.scorers.consumed_last import ConsumedLast

OWNED = [0, 2, 3, 5]  # of six candidates


@pytest.fixture(scope="module")
def snapshot():
    """A snapshot whose first user consumed four of the first six items."""
    start = make_dataset().snapshot
    ids = np.asarray(start.works.ids)
    consumed = Relation.from_pairs(np.zeros(len(OWNED), np.int64), ids[OWNED], len(start.users))
    return replace(start, relations={**start.relations, "consumed": consumed})


@pytest.fixture
def candidates(snapshot):
    return Candidates.from_ids(snapshot.works.ids[:6], np.array([1, 6, 3, 5, 2, 4], np.float32))


def request(snapshot, k):
    return Request(int(snapshot.users.ids[0]), k=k)


def test_not_consumed_drops_consumed_items_if_enough_others_remain(snapshot, candidates):
    kept, notes = keep(NotConsumed(snapshot), request(snapshot, 2), candidates)
    assert kept.ids.tolist() == candidates.ids[[1, 4]].tolist() and not notes
    assert len(keep(NotConsumed(snapshot), Request(999, k=2), candidates)[0]) == 6


def test_not_consumed_fills_the_page_with_the_best_consumed_items(snapshot, candidates):
    kept, notes = keep(NotConsumed(snapshot), request(snapshot, 4), candidates)
    assert kept.ids.tolist() == candidates.ids[[1, 3, 4, 5]].tolist() and notes == {"n_filled": 2}
    kept, notes = keep(NotConsumed(snapshot), request(snapshot, 9), candidates)
    assert len(kept) == 6 and notes == {"n_filled": 4}


def test_consumed_last_orders_consumed_items_behind_all_others(snapshot, candidates):
    scored, _ = score(ConsumedLast(snapshot), request(snapshot, 4), candidates)
    assert np.argsort(-scored.scores, kind="stable").tolist() == [1, 4, 3, 5, 2, 0]
    unknown_user, _ = score(ConsumedLast(snapshot), Request(999), candidates)
    np.testing.assert_array_equal(unknown_user.scores, candidates.scores)


def test_not_consumed_drops_nothing_if_no_label_means_consumed(candidates):
    snapshot = make_dataset().snapshot
    kept, _ = keep(NotConsumed(snapshot), Request(int(snapshot.users.ids[0]), 2), candidates)
    assert kept.ids.tolist() == candidates.ids.tolist()
