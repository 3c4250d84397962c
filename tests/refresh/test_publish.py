"""Tests of publishing a run with a snapshot."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from karec.aggregates.advance import advance
from karec.bundle import Bundle, publish_folder
from karec.catalog.relation import Relation
from karec.errors import DataError
from karec.features.cowatch import AlsFactors, CowatchVectors
from karec.features.encoder import Encoder
from karec.features.vocabulary import Vocabulary
from karec.refresh.communities import ignored_pairs
from karec.refresh.publish_run import MODELS, publish, with_communities

GOLDEN = Path(__file__).parent.parent / "native" / "golden"


@pytest.fixture
def run(tmp_path):
    """A run folder with models over the platform of small_dataset.py, but no encoder yet."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in MODELS:
        shutil.copyfile(GOLDEN / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def later(dataset):
    return advance(dataset.snapshot, dataset.exposures, dataset.valid_until_ms)


def fit(dataset, snapshot, path):
    Encoder.fit(snapshot, dataset.split()[0], dataset.tasks, min_count=3).save(path)


def test_counters_by_user_and_scene_are_published_unchanged(dataset, later, run, tmp_path):
    fit(dataset, dataset.snapshot, run / "encoder.npz")
    publish(run, later, tmp_path / "bundles")
    bundle = Bundle.open(tmp_path / "bundles", verify=False)  # the models are of another encoder
    assert bundle.encoder.scene_counters.counted == dataset.tasks
    assert bundle.snapshot.user_scene_counters.keys() == later.user_scene_counters.keys()
    for name, column in later.user_scene_counters.items():
        np.testing.assert_array_equal(bundle.snapshot.user_scene_counters[name], column)
    assert len(bundle.index) == len(later.works)


def test_bundle_has_co_watch_vectors_of_the_newest_moment_only(dataset, later, run, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    times = dataset.snapshot.time_ms + np.arange(3)
    als = AlsFactors(vectors, np.stack([np.eye(4)] * 3))
    cowatch = CowatchVectors(Vocabulary(later.works.ids[:4]), vectors[0], vectors[1:], times, als)
    Encoder.fit(later, dataset.split()[0], dataset.tasks, min_count=3, cowatch=cowatch).save(
        run / "encoder.npz"
    )
    trained = (run / "encoder.npz").read_bytes()
    publish(run, later, tmp_path / "bundles")
    served = Bundle.open(tmp_path / "bundles", verify=False).encoder.cowatch
    assert served.past is None and served.vectors.tobytes() == vectors[0].tobytes()
    assert served.als.vectors.tobytes() == vectors[:1].tobytes() and len(served.als.grams) == 1
    assert (run / "encoder.npz").read_bytes() == trained


def test_bundle_has_the_category_codes_of_its_snapshot(dataset, later, run, tmp_path):
    fit(dataset, dataset.snapshot, run / "encoder.npz")
    facts = {"settings": {"features": {"refresh_hours": 24.0}}, "data": {"categories": later.labels}}
    (run / "run.json").write_text(json.dumps(facts))
    works = replace(later.works, columns={**later.works.columns, "type": later.works["type"] + 1})
    moved = replace(later, works=works, labels={**later.labels, "type": ["album", *later.labels["type"]]})
    publish(run, later, tmp_path / "before")
    publish(run, moved, tmp_path / "after")
    before, after = (Bundle.open(tmp_path / name, verify=False) for name in ("before", "after"))
    at = before.encoder.works.category_names.index("type")
    keys, moved_keys = (bundle.encoder.works.vocabularies[at].keys for bundle in (before, after))
    assert len(keys) == 2 and moved_keys.tolist() == (keys + 1).tolist()
    rows = np.arange(len(later.works))
    np.testing.assert_array_equal(after.index.embeddings(rows), before.index.embeddings(rows))


def test_snapshot_without_needed_scene_counters_is_refused(dataset, later, run, tmp_path):
    fit(dataset, dataset.snapshot, run / "encoder.npz")
    message = (
        r"user_scene_counters are missing, but the encoder reads \['click', 'long_view', 'like'\] by user "
        r"and "
        r"scene\. Advance"
    )
    with pytest.raises(DataError, match=message):
        publish(run, replace(later, user_scene_counters=None), tmp_path / "bundles")
    assert not (tmp_path / "bundles").exists()


def test_encoder_without_scene_counters_needs_none_in_the_snapshot(dataset, later, run, tmp_path):
    fit(dataset, replace(dataset.snapshot, labels={}, user_scene_counters=None), run / "encoder.npz")
    publish(run, replace(later, labels={}, user_scene_counters=None), tmp_path / "bundles")
    assert Bundle.open(tmp_path / "bundles", verify=False).snapshot.user_scene_counters is None


def test_training_may_start_without_scene_counters(dataset, run, tmp_path):
    """The published snapshot is the one of the training, advanced, so both count from its time."""
    start = replace(dataset.snapshot, user_scene_counters=None)
    fit(dataset, start, run / "encoder.npz")
    publish(run, advance(start, dataset.exposures, dataset.valid_until_ms), tmp_path / "bundles")
    assert Bundle.open(tmp_path / "bundles", verify=False).snapshot.user_scene_counters["count_click"].any()


def test_manifest_has_the_highest_community_id_ever_used(dataset, later, run, tmp_path):
    """All links of users end and new ones begin, so the new communities have new ids."""
    fit(dataset, dataset.snapshot, run / "encoder.npz")
    root = tmp_path / "bundles"
    publish(run, later, root)
    first = Bundle.open(root, verify=False)
    highest_id = first.facts["communities"]
    assert highest_id == first.snapshot.users["community"].max() >= 0
    assert first.facts["unbound"] == ignored_pairs(first.snapshot)
    none = {name: Relation(of.indptr * 0, of.values[:0]) for name, of in later.relations.items()}
    without_links, kept_id = with_communities(replace(later, relations=none), root)
    assert kept_id == highest_id and "community" not in without_links.users.columns
    publish_folder(
        root,
        first.model_version + 1,
        lambda folder: without_links.save(folder / "snapshot"),
        {"communities": kept_id},
    )
    republished, new_highest = with_communities(later, root)
    column = republished.users["community"]
    assert column[column >= 0].min() == highest_id + 1 and new_highest == column.max()
