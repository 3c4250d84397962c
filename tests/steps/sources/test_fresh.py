"""New items, drawn by their counters."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_platform import make_platform, platforms

from karec.catalog.table import Table
from karec.pipeline.types import Request
from karec.steps.sources.fresh import Fresh


def ids_of(source, request_id="a"):
    return source.recall(Request(user_id=1, request_id=request_id)).ids.tolist()


@given(platforms, st.integers(1, 50))
def test_fresh_without_draws_returns_the_newest_items(platform, quota):
    works = platform.works
    newest = sorted(range(len(works)), key=lambda row: (-works["upload_ms"][row], row))
    assert ids_of(Fresh(platform, quota, draws=0)) == works.ids[newest[:quota]].tolist()


@given(platforms, st.integers(1, 20), st.integers(0, 20), st.text())
def test_fresh_repeats_the_draw_of_a_request_id(platform, quota, more, request_id):
    newest = ids_of(Fresh(platform, quota + more, draws=0))
    drawn = ids_of(Fresh(platform, quota, pool=quota + more), request_id)
    assert len(drawn) == min(quota, len(platform.works)) == len(set(drawn)) and set(drawn) <= set(newest)
    assert drawn == ids_of(Fresh(platform, quota, pool=quota + more), request_id)


def test_fresh_gives_requests_different_draws():
    platform = make_platform(seed=5, n_works=40, counters=("count_long_view",), family=False)
    source = Fresh(platform, 10, draws=8)
    assert len({tuple(ids_of(source, f"request-{i}")) for i in range(100)}) == 8


def test_fresh_explores_rarely_shown_items():
    """Of forty new items ten were shown a thousand times and never enjoyed, ten as often and half enjoyed,
    twenty never shown."""
    ids = np.arange(40)
    shows = np.repeat([1000.0, 1000.0, 0.0], [10, 10, 20]).astype(np.float32)
    columns = {
        "upload_ms": np.full(40, 5),
        "creator_id": ids,
        "count_exposed": shows,
        "count_long_view": np.repeat([0.0, 500.0, 0.0], [10, 10, 20]).astype(np.float32),
    }
    platform = replace(make_platform(0, 1, (), False), works=Table(ids, columns))
    draws = [ids_of(Fresh(platform, 10, pool=40), f"r{i}") for i in range(60)]
    assert not {work for draw in draws for work in draw if work < 10}
    unknown = {work for draw in draws for work in draw if work >= 20}
    assert len(unknown) > 10, "items never shown are drawn"
    tried = replace(platform, works=Table(ids, {**columns, "creator_id": np.repeat([1, 2, 1], [10, 10, 20])}))
    known = {work for i in range(60) for work in ids_of(Fresh(tried, 10, pool=40), f"r{i}") if work >= 20}
    assert len(known) < len(unknown), "their creator has items that were shown and never enjoyed"
    without_creators = replace(platform, works=Table(ids, {**columns, "creator_id": np.full(40, -1)}))
    assert [ids_of(Fresh(without_creators, 10, pool=40), f"r{i}") for i in range(60)] == draws, (
        "items without a creator share no counters"
    )


def test_fresh_needs_times_and_orders_by_them_without_counters(platform):
    columns = {"upload_ms": platform.works["upload_ms"]}
    assert ids_of(Fresh(replace(platform, works=Table(platform.works.ids, columns)), quota=3)) == [
        100,
        101,
        102,
    ]
    message = "the source fresh needs the column 'upload_ms' of works, the time when each was published"
    with pytest.raises(ValueError, match=f"^{message}$"):
        Fresh(replace(platform, works=Table(platform.works.ids, {})), quota=3)


def test_fresh_is_empty_without_items():
    assert ids_of(Fresh(make_platform(seed=0, n_works=0, counters=("count_click",), family=False), 5)) == []


def test_fresh_shares_draws_of_equal_settings(platform):
    assert Fresh(platform, 3).orders is Fresh(platform, 3).orders
    assert Fresh(platform, 3).orders is not Fresh(platform, 4).orders


@pytest.mark.parametrize("settings", [(0, None, 1), (5, 4, 1), (5, 9, -1)])
def test_fresh_rejects_wrong_settings(platform, settings):
    with pytest.raises(ValueError, match="fresh needs quota > 0, pool ≥ quota and draws ≥ 0, got"):
        Fresh(platform, *settings)
