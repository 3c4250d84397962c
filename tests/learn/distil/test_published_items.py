"""Tests of sampling from the items published by a time."""

from dataclasses import replace

import numpy as np
import pytest

from karec.catalog.table import Table
from karec.learn.distil.recall_towers import PublishedItems


def published_at(platform, moments):
    columns = {**platform.works.columns, "upload_ms": np.array(moments)}
    return replace(platform, works=Table(platform.works.ids, columns))


def test_sample_is_uniform_over_published_items(platform):
    library = PublishedItems(published_at(platform, [50, 10, 40, 10, 30, 20, 90, 80, 70, 60]))
    sampled = library.sample(np.full(20_000, 30), np.random.default_rng(0))
    assert library.n_published(np.array([9, 10, 30, 90])).tolist() == [0, 2, 4, 10]
    counts = np.bincount(sampled, minlength=10)
    assert np.flatnonzero(counts).tolist() == [1, 3, 4, 5]
    np.testing.assert_allclose(counts[[1, 3, 4, 5]] / 20_000, 0.25, atol=0.02)


def test_sample_depends_on_each_time(platform):
    library = PublishedItems(published_at(platform, np.arange(10)))
    moments = np.random.default_rng(1).integers(0, 10, 1_000)
    assert (library.sample(moments, np.random.default_rng(2)) <= moments).all()


def test_all_items_are_published_without_publication_times(platform):
    columns = {name: column for name, column in platform.works.columns.items() if name != "upload_ms"}
    library = PublishedItems(replace(platform, works=Table(platform.works.ids, columns)))
    assert library.n_published(np.array([1])).tolist() == [10]


def test_time_before_all_items_is_refused(platform):
    with pytest.raises(ValueError, match=r"no item was published by 5 \(Unix ms\)"):
        PublishedItems(published_at(platform, np.arange(10, 20))).sample(
            np.array([15, 5]), np.random.default_rng(0)
        )
