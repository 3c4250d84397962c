"""Blocked items are dropped."""

from karec.steps.filters.is_open import IsOpen


def test_is_open_drops_blocked_items_until_they_are_unblocked(index, kept):
    index.block([101, 105])
    assert kept(IsOpen(index.schema), 1) == [100, 102, 103, 104, 106, 107, 108, 109]
    index.unblock([101])
    assert kept(IsOpen(index.schema), 1) == [100, 101, 102, 103, 104, 106, 107, 108, 109]
