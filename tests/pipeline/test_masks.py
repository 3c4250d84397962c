"""Masks of conditions follow the writes of an index."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from karec.index import ItemIndex
from karec.pipeline import masks as masks_module
from karec.pipeline.masks import MAX_MASKS, AllowedRows, MaskCache
from karec.where import Where

N = 5000
CHEAP = Where.from_dict({"all": [{"column": "price", "less": 20}, {"not": {"column": "tag", "in": [1, 4]}}]})
CODES = {"tag": {}}


def columns_of(rng, n):
    price = rng.integers(0, 40, n).astype(np.float32)
    price[rng.random(n) < 0.1] = np.nan
    return {"price": price, "tag": rng.integers(-1, 6, n).astype(np.int32)}


@pytest.fixture
def index():
    rng = np.random.default_rng(2)
    return ItemIndex.build(
        np.arange(N), rng.normal(size=(N, 4)).astype(np.float32), columns=columns_of(rng, N)
    )


def expected_rows(view):
    """The definition of ``CHEAP``, by NumPy."""
    price, tag = view.columns["price"], view.columns["tag"]
    is_open = view.present.copy()
    is_open[is_open] = view.is_open(ids=view.ids[is_open])
    return is_open & (price < 20) & (tag >= 0) & (tag != 1) & (tag != 4)


def write(index, rng, step):
    """One of the writes that change a mask, of a few items."""
    ids = rng.choice(N + 200, int(rng.integers(1, 30)), replace=False)
    if step % 4 == 0:
        index.block(ids)
    elif step % 4 == 1:
        index.unblock(ids)
    elif step % 4 == 2:
        index.remove(ids)
    else:
        index.upsert(ids, rng.normal(size=(len(ids), 4)).astype(np.float32), columns_of(rng, len(ids)))


def test_cached_mask_is_that_of_the_definition_after_each_write(index):
    cache, rng = MaskCache(CODES), np.random.default_rng(3)
    for step in range(120):
        write(index, rng, step)
        if step == 60:
            index.build_lists(4)  # items have other rows now
        if step % 3 == 0:
            with index.pinned() as view:
                assert (cache.get(CHEAP, view).rows == expected_rows(view)).all(), step
                assert cache.get(None, view).n_allowed == view.present.sum() - len(view) + (
                    view.is_open(ids=view.ids[view.present]).sum()
                )


def test_older_view_gets_its_own_mask_and_the_newer_one_stays(index):
    cache, rng = MaskCache(CODES), np.random.default_rng(4)
    with index.pinned() as older:
        for step in range(4):
            write(index, rng, step)
        with index.pinned() as newer:
            kept = cache.get(CHEAP, newer)
            assert (cache.get(CHEAP, older).rows == expected_rows(older)).all()
            assert not np.array_equal(expected_rows(older), expected_rows(newer))
            assert cache.get(CHEAP, newer) is kept


def test_update_evaluates_only_words_of_64_rows_that_changed(index):
    with index.pinned() as view:
        row_filter = view.compile_filter(CHEAP, CODES)
        wrong = ~view.mask(row_filter)
        row = int(view.lookup([130])[0])
    index.block([130])
    with index.pinned() as view:
        expected, first = wrong.copy(), row // 64 * 64
        expected[first : first + 64] = view.mask(row_filter)[first : first + 64]
        assert (view.mask(row_filter, wrong, view.generation - 1) == expected).all()


def test_mask_of_a_newer_generation_is_refused(index):
    with index.pinned() as view:
        row_filter = view.compile_filter(CHEAP, CODES)
        with pytest.raises(ValueError, match="mask is of generation 2, this reads generation 1"):
            view.mask(row_filter, view.mask(row_filter), 2)


def test_cache_keeps_the_masks_of_the_conditions_used_last(index, monkeypatch):
    monkeypatch.setattr(masks_module, "MAX_ROWS", 0)
    cache = MaskCache(CODES)
    conditions = [Where.from_dict({"column": "tag", "equal": tag}) for tag in range(MAX_MASKS)]
    with index.pinned() as view:
        masks = [cache.get(where, view) for where in conditions]
        assert cache.get(Where(column="tag", equal=0), view) is masks[0]
        cache.get(None, view)  # the oldest one leaves: of tag 1
        assert cache.get(conditions[0], view) is masks[0]
        assert cache.get(conditions[1], view) is not masks[1]
    monkeypatch.setattr(masks_module, "MAX_ROWS", 18 * len(index))  # of a small index: more masks
    cache = MaskCache(CODES)
    with index.pinned() as view:
        masks = [cache.get(where, view) for where in conditions]
        cache.get(None, view)
        assert cache.get(conditions[0], view) is masks[0]


def test_threads_that_lack_a_mask_make_it_once(index):
    cache, start = MaskCache(CODES), Barrier(4)
    with index.pinned() as view:

        def get(_):
            start.wait()
            return cache.get(CHEAP, view)

        with ThreadPoolExecutor(4) as pool:
            masks = [*pool.map(get, range(4))]
    assert all(mask is masks[0] for mask in masks)


def test_allowed_rows_of_an_empty_index_have_no_row():
    assert not AllowedRows(np.zeros(0, bool)).at(np.array([-1, -1])).any()
