"""Tests of two model versions in one index."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_bundle import publish_small_bundle, write_next_run
from small_kinds import rooms_of

from karec.bundle import Bundle, publish_folder
from karec.bundle.tower_files import space_id_of
from karec.catalog.table import Table
from karec.errors import BundleError
from karec.features.user_vectors import run_user_towers
from karec.features.vocabulary import Vocabulary
from karec.index import ItemIndex
from karec.refresh.follow import LibraryFollower
from karec.refresh.item_types import build_item_type_index
from karec.refresh.library_state import library_state
from karec.refresh.next_version import LEVELS, fit_line, publish_next_version
from karec.refresh.rolling import open_refresh


@pytest.fixture
def before(published, tmp_path):
    """A copy of version 1."""
    shutil.copytree(published[0].path.parent, tmp_path / "bundles", symlinks=True)
    return Bundle.open(tmp_path / "bundles", verify=False)


def rolled(before, run, sample=10):
    publish_next_version(run, before.snapshot, before.path.parent, sample=sample)
    return Bundle.open(before.path.parent)


def features(bundle, user):
    return bundle.encoder.encode_user(bundle.snapshot, user, bundle.snapshot.time_ms, -1)


def test_next_version_serves_each_row_with_its_versions_user_tower(before, published):
    bundle = rolled(before, published[1])
    assert bundle.model_version == 2 and library_state(bundle, 0).rows == {1: 30, 2: 10}
    old, new = bundle.index.versions
    assert [(version.number, version.n_items) for version in (old, new)] == [(1, 30), (2, 10)]
    assert old.space_id == space_id_of(before.path / "item_tower.onnx")
    assert new.space_id == space_id_of(bundle.path / "item_tower.onnx")
    assert (new.scale, new.offset) == (1.0, 0.0) and old.scale > 0
    assert sorted(bundle.user_towers) == [1, 2]
    old_tower = (bundle.path / "user_tower.v0000000001.onnx").read_bytes()
    assert old_tower == (before.path / "user_tower.onnx").read_bytes()


def test_scores_of_both_versions_are_on_the_new_scale(before, published):
    bundle = rolled(before, published[1])
    index, ids = bundle.index, np.asarray(bundle.snapshot.works.ids)
    user_vectors_by_version = run_user_towers(
        bundle.user_towers, index, features(bundle, int(bundle.snapshot.users.ids[0]))
    )
    line = {version.number: (version.scale, version.offset) for version in index.versions}
    rows = index.lookup(ids)
    expected = []
    for vector, version in zip(index.embeddings(rows), index.model_versions_of(rows).tolist(), strict=True):
        scale, offset = line[version]
        expected.append(
            vector.astype(np.float64) @ user_vectors_by_version[version].astype(np.float64) * scale + offset
        )
    np.testing.assert_allclose(index.scores(user_vectors_by_version, ids=ids), expected, atol=1e-6)
    found = index.search(user_vectors_by_version, 40)
    np.testing.assert_allclose(found.scores, np.sort(expected)[::-1], atol=1e-6)


def test_refresh_moves_all_works_and_drops_the_old_version(before, published):
    bundle = rolled(before, published[1])
    whole = Bundle.open(rolled(before_of(published), published[1], sample=40).path, verify=False)
    with open_refresh(Bundle.open(bundle.path, verify=False)) as work:
        work.run(work.start_round(bundle.snapshot.time_ms, 7))
    LibraryFollower().catch_up(bundle)
    ids = np.asarray(bundle.snapshot.works.ids)
    index, expected = bundle.index, whole.index
    assert index.model_versions == expected.model_versions == (2,)
    np.testing.assert_array_equal(
        index.embeddings(index.lookup(ids)), expected.embeddings(expected.lookup(ids))
    )
    assert list(run_user_towers(bundle.user_towers, index, features(bundle, 1))) == [2]
    for kind in bundle.item_types:
        assert bundle.item_type(kind).index.model_versions == (2,)


def before_of(published):
    """Version 1 in a folder without other files."""
    root = published[0].path.parent.parent / "again"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(published[0].path.parent, root, symlinks=True)
    return Bundle.open(root, verify=False)


def test_next_version_has_new_works_and_no_removed_ones(before, published):
    known, which = before.snapshot.works, np.array([*range(1, 40), 39, 38])
    columns = {name: column[which] for name, column in known.columns.items()}
    works = Table(np.append(known.ids[1:40], [7001, 7002]), columns)
    publish_next_version(published[1], replace(before.snapshot, works=works), before.path.parent, sample=5)
    bundle = Bundle.open(before.path.parent, verify=False)
    index = bundle.index
    assert sorted(index.ids) == sorted(works.ids)
    versions = index.model_versions_of(index.lookup(works.ids))
    assert versions[-2:].tolist() == [2, 2] and np.bincount(versions).tolist() == [0, 34, 7]


def test_next_version_is_refused_until_the_refresh_ends(before, published, tmp_path):
    bundle = rolled(before, published[1])
    third = write_next_run(bundle, tmp_path / "run-3", 3)
    with pytest.raises(
        BundleError, match=r"vectors have model versions \[1, 2\], expected one\. Let karec refresh"
    ):
        rolled(bundle, third)
    with open_refresh(bundle) as work:
        work.run(work.start_round(0))
    after = rolled(bundle, third)
    assert [version.number for version in after.index.versions] == [2, 3]


@pytest.mark.parametrize("history_length", [8, 9])
def test_next_version_refuses_another_encoder(before, published, tmp_path, history_length):
    run, encoder = tmp_path / "run", before.encoder
    shutil.copytree(published[1], run)
    works = Vocabulary(encoder.cowatch.works.keys[::-1])
    other = replace(encoder, cowatch=replace(encoder.cowatch, works=works))
    replace(other if history_length == 8 else encoder, history_length=history_length).save(
        run / "encoder.npz"
    )
    with pytest.raises(BundleError, match=re.escape(f"{run}/encoder.npz: not the encoder of")):
        rolled(before, run)


def test_next_version_may_have_co_watch_vectors_of_past_moments(before, published, tmp_path):
    shutil.copytree(published[1], tmp_path / "run")
    cowatch = before.encoder.cowatch
    past, times = cowatch.vectors[None] / 2, before.snapshot.time_ms - np.array([1, 0])
    als = replace(cowatch.als, vectors=np.repeat(cowatch.als.vectors, 2, 0), grams=np.stack([np.eye(4)] * 2))
    als.grams[0] = cowatch.als.grams[0]
    cowatch = replace(cowatch, past=past, times_ms=times, als=als)
    replace(before.encoder, cowatch=cowatch).save(tmp_path / "run" / "encoder.npz")
    assert rolled(before, tmp_path / "run").encoder.cowatch.past is None


def test_refresh_moves_rooms_to_the_next_version(tmp_path):
    before = publish_small_bundle(tmp_path, kinds=rooms_of)
    run = write_next_run(before, tmp_path / "run-2")
    kinds = rooms_of(before.snapshot)
    publish_next_version(run, before.snapshot, before.path.parent, item_types=kinds, sample=10)
    bundle = Bundle.open(before.path.parent)
    assert bundle.item_type("live").index.model_versions == (1,)
    with open_refresh(Bundle.open(bundle.path, verify=False)) as work:
        work.run(work.start_round(bundle.snapshot.time_ms, 7))
    LibraryFollower().catch_up(bundle)
    for name, kind in kinds.items():
        index = bundle.item_type(name).index
        expected = build_item_type_index(kind, bundle.snapshot, bundle.index)
        assert index.model_versions == (2,)
        vectors = [one.embeddings(one.lookup(expected.ids)) for one in (index, expected)]
        np.testing.assert_array_equal(*vectors)


def republished(bundle, root, change):
    """A bundle with the files of ``bundle``, after ``change(folder)``."""

    def write(folder):
        shutil.copytree(bundle.path, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        change(folder)

    publish_folder(root, bundle.model_version, write, bundle.facts)
    return Bundle.open(root)


def test_rows_without_a_user_vector_are_refused_with_version_and_space(before, published, tmp_path):
    bundle = rolled(before, published[1])
    space = f"{bundle.index.versions[0].space_id:016x}"
    message = (
        rf"index\.karec holds 30 works of model version 1, in the space {space}, which no user vector meets: "
    )
    with pytest.raises(BundleError, match=message + r"user_tower\.v0000000001\.onnx is missing"):
        republished(
            bundle, tmp_path / "other", lambda folder: (folder / "user_tower.v0000000001.onnx").unlink()
        )


def test_index_of_another_item_tower_is_refused_with_its_space(before, tmp_path):
    def change(folder):
        index = ItemIndex.open(folder / "index.karec", copy=True)
        other = ItemIndex.build(
            index.ids,
            index.embeddings(index.lookup(index.ids)),
            columns=index.columns,
            model_version=1,
            space_id=99,
        )
        (folder / "vector_statistics.npz").unlink()
        other.save(folder / "index.karec")

    space = f"{space_id_of(before.path / 'item_tower.onnx'):016x}"
    message = rf"vectors of the space 0000000000000063 as model version 1, and item_tower\.onnx makes {space}"
    with pytest.raises(BundleError, match=message):
        republished(before, tmp_path / "other", change)


@given(scale=st.floats(0.2, 5), offset=st.floats(-2, 2), noise=st.floats(0, 0.2), seed=st.integers(0, 99))
def test_fit_line_maps_scores_to_one_scale(scale, offset, noise, seed):
    rng = np.random.default_rng(seed)
    old = rng.normal(size=(20, 400))
    new = old * scale + offset
    a, b = fit_line(old, new)
    assert a == pytest.approx(scale, rel=1e-6) and b == pytest.approx(offset, abs=1e-6)
    noisy = new + rng.normal(size=new.shape) * noise * scale
    a, b = fit_line(old, noisy)
    assert a > 0
    for level in LEVELS[[0, 10, 18]]:  # near the top too
        assert np.quantile(old * a + b, level) == pytest.approx(np.quantile(noisy, level), abs=0.15 * scale)


def test_fit_line_is_identity_for_constant_scores():
    assert fit_line(np.zeros((3, 5)), np.ones((3, 5))) == (1.0, 0.0)
