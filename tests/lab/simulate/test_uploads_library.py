"""The synthetic library: deterministic by day, with measurements that depend on the hidden quality."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from karec.lab.simulate.library_files import FIRST_DAY, write_library
from karec.lab.simulate.uploads_library import Library
from karec.screening.library import day_folders, read_day
from karec.screening.settings import read_settings


@pytest.fixture(scope="module")
def uploads():
    return Library(20_000, FIRST_DAY).day(2)


def test_day_is_a_function_of_seed_and_number(uploads):
    repeated = Library(20_000, FIRST_DAY).day(2)
    assert np.array_equal(repeated.vectors, uploads.vectors)
    assert np.array_equal(repeated.long_views, uploads.long_views)
    assert np.array_equal(repeated.columns["pitch_score"], uploads.columns["pitch_score"])
    assert not np.array_equal(Library(20_000, FIRST_DAY, 1).day(2).vectors, uploads.vectors)


def test_ids_are_unique_over_days(uploads):
    ids = np.concatenate([uploads.columns["work_id"], Library(20_000, FIRST_DAY).day(3).columns["work_id"]])
    assert len(np.unique(ids)) == 40_000


def test_uploads_have_forty_columns(uploads):
    assert len(uploads.columns) + 1 == 40


def test_better_works_have_more_impressions_and_long_views(uploads):
    better = uploads.quality > np.median(uploads.quality)
    shares = [uploads.long_views[part].sum() / uploads.exposures[part].sum() for part in (better, ~better)]
    assert shares[0] > 1.3 * shares[1]
    assert uploads.exposures[better].mean() > 1.3 * uploads.exposures[~better].mean()
    assert (uploads.long_views <= uploads.exposures).all()


def test_copies_have_the_song_and_measures_of_the_source(uploads):
    """Measures are rounded, so those of a copy equal those of its source."""
    measures = np.stack([uploads.columns[name] for name in ("tempo_bpm", "bitrate_kbps", "reverb")])
    _, source, count = np.unique(measures, axis=1, return_inverse=True, return_counts=True)
    assert 0.03 < (count - 1).sum() / 20_000 < 0.06
    order = np.argsort(source.ravel(), kind="stable")
    same = np.flatnonzero(np.diff(source.ravel()[order]) == 0)
    works, copies = order[same], order[same + 1]
    assert np.array_equal(uploads.columns["song_id"][works], uploads.columns["song_id"][copies])
    vectors = uploads.vectors.astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (vectors[works] * vectors[copies]).sum(axis=1).min() > 0.95


def test_library_files_are_read_by_screening(tmp_path):
    write_library(tmp_path, 3000, 5)
    settings = read_settings(tmp_path / "screen.toml")
    days = day_folders(tmp_path / settings.uploads)
    assert list(days) == [FIRST_DAY.replace(day=n) for n in range(1, 6)] and settings.keep == 300
    assert [read_day(day, folder).rows for day, folder in days.items()] == [600] * 5
    outcomes = pq.read_table(next((tmp_path / "outcomes").glob("day=2026-10-01/*.parquet")))
    assert outcomes.column_names == ["work_id", "exposures", "long_views"]


@pytest.mark.parametrize(("works", "days"), [(100, 2), (2, 3)])
def test_library_rejects_too_small_sizes(tmp_path, works, days):
    with pytest.raises(ValueError, match="at least three days and one work per day"):
        write_library(tmp_path, works, days)
