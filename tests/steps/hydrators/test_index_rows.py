"""Rows of the item index, looked up or known from recall."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from karec.index import ItemIndex
from karec.pipeline.types import Candidates, Request
from karec.steps.filters.has_embedding import HasEmbedding
from karec.steps.hydrators.index_rows import IndexRows

works = st.lists(st.integers(0, 40), max_size=12, unique=True)


@given(works, works)
def test_index_rows_gives_rows_and_has_embedding_drops_unknown(held, expected):
    index = ItemIndex.build(np.array(held, np.int64), np.ones((len(held), 2)))
    step = IndexRows(index.schema)
    rows = step.hydrate(Request(1, view=index.pinned()), Candidates.from_ids(expected))["rows"]
    assert rows.tolist() == [held.index(work) if work in held else -1 for work in expected]
    keep = HasEmbedding().keep(Request(1), Candidates.from_ids(expected).with_rows(rows))
    assert keep.dtype == np.bool_ and keep.tolist() == [work in held for work in expected]
    assert step.schema is index.schema, "a cascade compares it with its own"


@given(works, works, st.data())
def test_index_rows_keeps_rows_that_recall_found_in_the_view(held, expected, data):
    index = ItemIndex.build(np.array(held, np.int64), np.ones((len(held), 2)))
    with index.pinned() as view:
        looked_up = view.lookup(np.array(expected, np.int64))
        known = np.array([data.draw(st.booleans()) for _ in expected], bool)
        result = looked_up.tag(np.where(known, looked_up, -1).astype(np.int32))
        candidates = Candidates.from_ids(np.array(expected, np.int64)).with_rows(result)
        rows = IndexRows(index.schema).hydrate(Request(1, view=view), candidates)["rows"]
        assert view.has_rows(rows) and rows.tolist() == looked_up.tolist()
        assert result.tolist() == np.where(known, looked_up, -1).tolist(), (
            "the candidates' own are not written"
        )


def test_index_rows_looks_up_rows_of_another_view():
    index = ItemIndex.build([10, 20, 30], np.ones((3, 2)))
    other = ItemIndex.build([30, 20, 10], np.ones((3, 2)))
    before = index.lookup([10, 20, 30])
    index.remove([20])
    with index.pinned() as view:
        for rows in (before, other.lookup([10, 20, 30]), np.array([2, 2, 2])):
            assert not view.has_rows(rows)
            candidates = Candidates.from_ids(np.array([10, 20, 30])).with_rows(rows)
            result = IndexRows(index.schema).hydrate(Request(1, view=view), candidates)["rows"]
            assert result.tolist() == view.lookup([10, 20, 30]).tolist() == [before[0], -1, before[2]]
