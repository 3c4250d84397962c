"""Tests of the choice of the number of IVF lists to read."""

import json

import numpy as np
import pytest
from small_bundle import publish_small_bundle

from karec.bundle import Bundle
from karec.bundle.manifest import MANIFEST
from karec.errors import BundleError
from karec.index import CodeTable, ItemIndex
from karec.refresh import ivf_lists as lists
from karec.refresh import publish_run as publish
from karec.refresh.ivf_lists import (
    MIN_RECALL,
    MIN_RECALL_WIDE,
    SAMPLE,
    K,
    SampledUsers,
    build_measured_lists,
    would_read_too_many,
)


def gathered(n, seed):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((40, 16))
    return (2 * centres[rng.integers(0, 40, n)] + rng.standard_normal((n, 16))).astype(np.float32)


@pytest.fixture(scope="module")
def vectors():
    return gathered(20_000, 1)


def recalls(index, users, n_probe):
    exact, probed = index.search(users, K), index.search(users, K, n_probe=n_probe)
    return [len(set(a) & set(b)) / K for a, b in zip(exact.ids.tolist(), probed.ids.tolist(), strict=True)]


def test_n_probe_is_the_smallest_for_the_choosing_half(vectors):
    index, users = ItemIndex.build(np.arange(len(vectors)), vectors), gathered(80, 2)
    measured = build_measured_lists(index, SampledUsers(users))
    assert measured.n_lists == index.n_lists and 1 < measured.n_probe < measured.n_lists / 2
    for n_probe, enough in ((measured.n_probe, True), (measured.n_probe - 1, False)):
        of_half = np.array(recalls(index, users[:40], n_probe))
        assert (of_half.mean() - lists.ERRORS * of_half.std() / 40**0.5 >= MIN_RECALL) == enough
    measured_recalls = recalls(index, users[40:], measured.n_probe)
    assert (measured.file, measured.k, measured.users) == ("index.karec", K, 40)
    assert (
        measured.recall == pytest.approx(np.mean(measured_recalls), abs=1e-4)
        and measured.recall >= MIN_RECALL
    )
    assert measured.lowest == pytest.approx(min(measured_recalls), abs=1e-4)


def test_recall_below_the_minimum_is_refused_with_the_remedy(vectors):
    """The choosing users are in the middle of a list, the measuring ones between lists."""
    index = ItemIndex.build(np.arange(len(vectors)), vectors)
    among = 30 * np.random.default_rng(3).standard_normal((12, 16)).astype(np.float32)
    choosing = np.repeat(vectors[:1], 12, axis=0)
    with pytest.raises(
        BundleError,
        match=r"index.karec: recall@1,000 is 0\.\d+ over 12 users .* without lists",
    ):
        build_measured_lists(index, SampledUsers(np.concatenate([choosing, among])))


@pytest.mark.parametrize(("boost", "has_lists"), [(0.5, True), (1000.0, False)])
def test_lists_of_wide_towers_are_compared_with_the_scan_of_the_whole_score(vectors, boost, has_lists):
    """A large value of a code finds its items in all lists, which a source would have to read."""
    codes = {"tag": np.arange(len(vectors), dtype=np.uint32) % 10}
    index = ItemIndex.build(np.arange(len(vectors)), vectors, codes=codes)
    tables = [{"tag": CodeTable(np.array([3], np.uint32), np.array([boost], np.float32))}] * 40
    users = SampledUsers(gathered(40, 2), tables)
    sample = np.random.default_rng(0).permutation(len(vectors))[::SAMPLE]
    part = ItemIndex.build(sample, vectors[sample], codes={"tag": codes["tag"][sample]})
    assert would_read_too_many(part, users) == (not has_lists)
    measured = build_measured_lists(index, users)
    assert (measured is not None) == has_lists
    if measured is not None:
        assert measured.recall >= MIN_RECALL_WIDE and measured.n_probe <= index.n_lists / 2
        exact = index.search(users.vectors[20:], K, tables=tables[20:]).ids
        probed = index.search(users.vectors[20:], K, tables=tables[20:], n_probe=measured.n_probe).ids
        recalls = [np.isin(best, found).mean() for best, found in zip(exact, probed, strict=True)]
        assert measured.recall == pytest.approx(np.mean(recalls), abs=1e-4)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Publishes bundles of 40 items, the minimum for lists in this test."""
    monkeypatch.setattr(publish, "MIN_ITEMS", 40)
    return publish_small_bundle


def test_index_is_published_with_lists_and_a_manifest_fact(published, tmp_path):
    bundle = published(tmp_path)
    measured = bundle.facts["lists"]
    assert measured["file"] == "index.karec"
    assert bundle.index.n_lists == measured["n_lists"] > 1
    assert (
        bundle.n_probe == measured["n_probe"] and measured["recall"] >= MIN_RECALL and measured["users"] == 6
    )


def test_small_catalog_has_no_lists(tmp_path):
    bundle = publish_small_bundle(tmp_path)
    assert bundle.index.n_lists == 0 and bundle.n_probe is None and "lists" not in bundle.facts


@pytest.mark.parametrize(
    "measured",
    [
        7,
        {},
        {"file": "other.karec", "n_probe": 1},
        {"file": "index.karec", "n_probe": 0},
        {"file": "index.karec", "n_probe": 999},
    ],
)
def test_manifest_with_lists_of_no_index_is_refused(published, tmp_path, measured):
    folder = published(tmp_path).path
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["facts"]["lists"] = measured
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"manifest.json: the fact 'lists' is .*, which no index of it has"):
        Bundle.open(folder)
