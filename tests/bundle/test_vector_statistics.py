"""vector_statistics.npz: mean and covariance of the index's vectors, and refused files."""

import json
import re

import numpy as np
import pytest

from karec.bundle import Bundle, publish_folder
from karec.bundle.vector_statistics import FILE, VectorStatistics
from karec.errors import BundleError
from karec.index import ItemIndex


def an_index(seed=0, dim=6, version=7):
    vectors = np.random.default_rng(seed).normal(1.0, 0.3, (200, dim)).astype(np.float32)
    vectors[:3] = 0.0
    return ItemIndex.build(np.arange(200), vectors, dtype="float32", model_version=version)


@pytest.fixture
def written(tmp_path):
    """(index, its file, statistics of it, their file)."""
    index = an_index()
    index.save(tmp_path / "index.karec")
    statistics = VectorStatistics.from_index(index, tmp_path / "index.karec")
    statistics.save(tmp_path / FILE)
    return index, tmp_path / "index.karec", statistics, tmp_path / FILE


def test_vector_statistics_are_mean_and_covariance_without_zeros(written):
    index, _, statistics, _ = written
    vectors = index.embeddings(np.arange(3, 200, dtype=np.int32)).astype(np.float64)
    covariance = np.cov(vectors.T, bias=True)
    added = 1e-3 * np.trace(covariance) / 6 * np.eye(6)
    assert statistics.n_items == 197 and statistics.model_version == 7
    np.testing.assert_allclose(statistics.mean, vectors.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        (statistics.axes.T * statistics.variances) @ statistics.axes, covariance + added, atol=1e-7
    )


def test_saved_vector_statistics_open_unchanged(written):
    _, _, statistics, path = written
    opened = VectorStatistics.open(path)
    for name in ("mean", "axes", "variances"):
        np.testing.assert_array_equal(getattr(opened, name), getattr(statistics, name))
    assert (opened.model_version, opened.n_items, opened.xxh64) == (7, 197, statistics.xxh64)


def test_vector_statistics_of_equal_vectors_have_variance_1(tmp_path):
    index = ItemIndex.build(np.arange(4), np.ones((4, 3), np.float32), dtype="float32")
    index.save(tmp_path / "index.karec")
    assert (VectorStatistics.from_index(index, tmp_path / "index.karec").variances == 1.0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": {"format": 2}}, "format"),
        ({"head": {"n_items": -1}}, "n_items"),
        ({"head": {"index_xxh64": "7"}}, "index_xxh64"),
        ({"mean": None}, "the table 'mean' is missing"),
        ({"mean": np.full(6, np.nan)}, "mean is not of finite numbers in float64"),
        ({"mean": np.zeros(5)}, "shapes are"),
        ({"axes": np.zeros((6, 5), np.float32)}, "shapes are"),
        ({"axes": np.zeros((6, 6))}, "axes is not of finite numbers in float32"),
        ({"variances": np.zeros(6)}, "a variance is not above 0"),
    ],
)
def test_altered_vector_statistics_are_refused(written, change, message):
    path = written[3]
    arrays = dict(np.load(path))
    head = json.loads(arrays["head"].tobytes()) | change.get("head", {})
    arrays |= {**change, "head": np.frombuffer(json.dumps(head).encode(), np.uint8)}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(BundleError, match=rf"{FILE} is not a file of vector statistics: .*{message}"):
        VectorStatistics.open(path)


def test_truncated_vector_statistics_are_refused(written):
    path = written[3]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=rf"{FILE} is not a file of vector statistics"):
        VectorStatistics.open(path)


def published(tmp_path, index, statistics_of, version=7):
    def write(folder):
        index.save(folder / "index.karec")
        statistics_of.save(folder.parent / "other.karec")
        made = VectorStatistics.from_index(statistics_of, folder.parent / "other.karec")
        (folder.parent / "other.karec").unlink()
        made.save(folder / FILE)

    return publish_folder(tmp_path / "bundles", version, write)


def test_bundle_accepts_statistics_of_its_own_index(tmp_path):
    statistics = Bundle.open(published(tmp_path, an_index(), an_index())).vector_statistics
    assert statistics is not None and statistics.n_items == 197


def test_bundle_without_statistics_has_none(tmp_path):
    folder = publish_folder(tmp_path / "bundles", 7, lambda folder: an_index().save(folder / "index.karec"))
    assert Bundle.open(folder).vector_statistics is None


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (an_index(seed=1), "was made from another index than"),
        (an_index(version=6), "is of model version 6, its bundle of 7"),
        (an_index(dim=5), "is of 5 dimensions, its index has 6"),
    ],
)
def test_bundle_refuses_statistics_of_another_index(tmp_path, of, message):
    folder = published(tmp_path, an_index(), of)
    with pytest.raises(BundleError, match=rf"{FILE} {re.escape(message)}"):
        Bundle.open(folder)
