"""Lists that many requests share: each request gets the rows of its own index view."""

import numpy as np

from karec.index import ItemIndex
from karec.pipeline.types import Request
from karec.steps.shared.fixed_list import FixedList


def test_fixed_list_has_the_rows_of_the_requests_generation():
    index = ItemIndex.build([10, 20, 30], np.ones((3, 2)))
    works = FixedList.from_ids(np.array([30, 99, 10]))
    with index.pinned() as before:
        index.remove([10])
        with index.pinned() as after:
            for view in (before, after, before):
                seen = works.candidates(Request(1, view=view))
                assert seen.ids.tolist() == [30, 99, 10]
                assert seen.rows.tolist() == view.lookup([30, 99, 10]).tolist() and view.has_rows(seen.rows)
    assert len(works) == 3 and works.ids.tolist() == [30, 99, 10]


def test_fixed_list_looks_rows_up_once_per_generation():
    index = ItemIndex.build([10, 20], np.ones((2, 2)))
    works = FixedList.from_ids(np.array([20, 10]))
    with index.pinned() as first, index.pinned() as second:
        assert works.candidates(Request(1, view=first)) is works.candidates(Request(2, view=second))


def test_fixed_list_has_no_rows_without_an_index():
    assert FixedList.from_ids(np.array([20, 10])).candidates(Request(1)).rows.tolist() == [-1, -1]
