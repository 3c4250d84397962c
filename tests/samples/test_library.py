"""Works drawn from the library as it was at a moment."""

from dataclasses import replace

import numpy as np
import pytest

from karec.catalog.table import Table
from karec.samples.sampled_items import Library


def published_at(platform, moments):
    columns = {**platform.works.columns, "upload_ms": np.array(moments)}
    return replace(platform, works=Table(platform.works.ids, columns))


def test_only_works_published_by_the_moment_are_drawn_each_as_often(platform):
    library = Library(published_at(platform, [50, 10, 40, 10, 30, 20, 90, 80, 70, 60]))
    drawn = library.draw(np.full(20_000, 30), np.random.default_rng(0))
    assert library.n_there(np.array([9, 10, 30, 90])).tolist() == [0, 2, 4, 10]
    counts = np.bincount(drawn, minlength=10)
    assert np.flatnonzero(counts).tolist() == [1, 3, 4, 5]
    np.testing.assert_allclose(counts[[1, 3, 4, 5]] / 20_000, 0.25, atol=0.02)


def test_each_moment_has_its_own_library(platform):
    library = Library(published_at(platform, np.arange(10)))
    moments = np.random.default_rng(1).integers(0, 10, 1_000)
    assert (library.draw(moments, np.random.default_rng(2)) <= moments).all()


def test_without_moments_of_publication_every_work_is_there(platform):
    columns = {name: column for name, column in platform.works.columns.items() if name != "upload_ms"}
    library = Library(replace(platform, works=Table(platform.works.ids, columns)))
    assert library.n_there(np.array([1])).tolist() == [10]


def test_a_moment_before_every_work_is_refused(platform):
    with pytest.raises(ValueError, match=r"no work was published by 5 \(Unix ms\)"):
        Library(published_at(platform, np.arange(10, 20))).draw(np.array([15, 5]), np.random.default_rng(0))
