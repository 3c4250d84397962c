"""Bundles of wide towers: writers of item vectors write codes, and scores have the tables of the user."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from damage import reseal
from small_bundle import publish_small_bundle, write_next_run
from wide_towers import terms_of_items

from karec.bundle import Bundle
from karec.bundle.tower_files import CROSS_WEIGHTS
from karec.catalog.relation import Relation
from karec.catalog.table import Table
from karec.errors import BundleError
from karec.features.user_vectors import user_query, user_tables
from karec.index import ItemIndex
from karec.online.changed_items import ChangedItems, IndexUpdate
from karec.pipeline.types import Request
from karec.refresh import ivf_lists, publish_run
from karec.refresh.follow import LibraryFollower
from karec.refresh.next_version import publish_next_version
from karec.refresh.rolling import open_refresh
from karec.refresh.uploads import Uploads
from karec.steps.query.user_features import UserFeatures
from karec.steps.query.user_tower import UserTower

NEW, NEW_CREATOR = 9001, 77_001


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    root = tmp_path_factory.mktemp("wide")
    bundle = publish_small_bundle(root, is_wide=True)
    return bundle, write_next_run(bundle, root / "run-2")


@pytest.fixture
def before(wide, tmp_path):
    shutil.copytree(wide[0].path.parent, tmp_path / "bundles", symlinks=True)
    return Bundle.open(tmp_path / "bundles", verify=False)


def hydrated(bundle, user_id):
    """Returns a request in the current view with the user's features."""
    request = Request(user_id, time_ms=bundle.snapshot.time_ms, scene="home", view=bundle.index.pinned())
    steps = (
        UserFeatures(bundle.snapshot, bundle.encoder),
        UserTower(bundle.user_towers, bundle.cross_tables),
    )
    for step in steps:
        request = request.with_features(step.hydrate_request(request))
    return request


def check_scores(bundle, items, user_ids):
    """Compares scores with the inner product plus the terms of the cross features of each of ``items``."""
    for user_id in user_ids:
        request = hydrated(bundle, user_id)
        view, ids = request.index, np.asarray(items.works.ids)
        scores = view.scores(user_query(request), ids=ids, tables=user_tables(request))
        plain = view.scores(user_query(request), ids=ids)
        line = {version.number: version.scale for version in view.versions}
        versions = view.model_versions_of(view.lookup(ids)).tolist()
        terms = {version: terms_of_items(bundle, user_id, items, version) for version in line}
        added = [line[version] * terms[version][at] for at, version in enumerate(versions)]
        np.testing.assert_allclose(scores, plain + added, rtol=1e-4, atol=1e-4)
        assert len(np.unique(np.round(scores - plain, 3))) > 3


def test_published_index_scores_items_with_the_tables_of_the_user(before):
    works = before.encoder.works
    assert before.index.code_columns == works.categories
    check_scores(before, before.snapshot, before.snapshot.users.ids[:4].tolist())


def test_user_without_history_has_tables_that_separate_only_missing_values(before):
    tables = user_tables(hydrated(before, 10**12))
    assert {name: table.codes.tolist() for name, table in tables.items()} == {
        name: [0] for name in before.index.code_columns
    }


def test_uploaded_item_of_a_new_creator_has_the_boost_of_its_followers(before):
    snapshot = before.snapshot
    follows = snapshot.relations["follows"]
    counts = np.diff(follows.indptr)
    counts[0] += 1
    indptr, values = np.r_[0, np.cumsum(counts)], np.insert(follows.values, follows.indptr[1], NEW_CREATOR)
    relations = {**snapshot.relations, "follows": Relation(indptr, values)}
    before._parts._values["snapshot"] = replace(snapshot, relations=relations)
    columns = {name: np.array(column[:1]) for name, column in snapshot.works.columns.items()}
    columns["creator_id"] = np.array([NEW_CREATOR], columns["creator_id"].dtype)
    works = Table(np.array([NEW]), columns)
    items = ChangedItems.empty(snapshot, 1)
    items = replace(items, updates=replace(items.updates, works=works))
    rows, none = np.array([0]), np.empty(0, np.int64)
    update = IndexUpdate(rows, np.array([snapshot.time_ms]), none, none, {}, {"scale": {}, "offset": {}})
    Uploads(before).take(items, update)
    follower, other = snapshot.users.ids[:2].tolist()
    code = before.encoder.works.encode_category("creator_id", np.array([NEW_CREATOR]))
    assert code[0] >= 2**62
    for user_id in (follower, other):
        request = hydrated(before, user_id)
        (score,) = request.index.scores(user_query(request), ids=[NEW], tables=user_tables(request))
        (plain,) = request.index.scores(user_query(request), ids=[NEW])
        (terms,) = terms_of_items(before, user_id, items.updates, 1)
        assert score - plain == pytest.approx(terms, rel=1e-4, abs=1e-4)
    tables = [user_tables(hydrated(before, user_id))["creator_id"] for user_id in (follower, other)]
    assert [int((table.codes >= 2**31).sum()) for table in tables] == [1, 0]


def test_next_version_scores_each_row_by_the_tables_of_its_version(before, wide):
    publish_next_version(wide[1], before.snapshot, before.path.parent, sample=10)
    bundle = Bundle.open(before.path.parent)
    assert sorted(bundle.cross_tables) == [1, 2]
    users = bundle.snapshot.users.ids[:4].tolist()
    check_scores(bundle, bundle.snapshot, users)
    with open_refresh(bundle) as work:
        work.run(work.start_round(bundle.snapshot.time_ms, 7))
    LibraryFollower().catch_up(bundle)
    assert bundle.index.model_versions == (2,)
    check_scores(bundle, bundle.snapshot, users)


def test_next_version_brings_whole_scores_to_one_scale(before, wide):
    publish_next_version(wide[1], before.snapshot, before.path.parent, sample=20)
    bundle = Bundle.open(before.path.parent)
    of_version = {1: [], 2: []}
    for user_id in bundle.snapshot.users.ids.tolist():
        request = hydrated(bundle, user_id)
        found = request.index.search(user_query(request), 40, tables=user_tables(request))
        for version, score in zip(
            request.index.model_versions_of(found.rows).tolist(), found.scores.tolist(), strict=True
        ):
            of_version[version].append(score)
    high = [np.quantile(scores, 0.95) for scores in of_version.values()]
    spread = np.std(of_version[2])
    assert abs(high[0] - high[1]) < spread


def test_next_version_refuses_towers_that_are_not_wide(before, wide, tmp_path):
    run = shutil.copytree(wide[1], tmp_path / "run")
    (run / CROSS_WEIGHTS).unlink()
    message = re.escape(f"{run / CROSS_WEIGHTS}: tables are of [], expected ['creator_id', ")
    with pytest.raises(BundleError, match=message + ".*Publish the whole library at once"):
        publish_next_version(run, before.snapshot, before.path.parent)


def test_bundle_of_wide_towers_without_code_columns_is_refused(before):
    index = ItemIndex.open(before.path / "index.karec", copy=True)
    ids = np.asarray(before.snapshot.works.ids)
    (version,) = index.versions
    plain = ItemIndex.build(
        ids,
        index.embeddings(index.lookup(ids)),
        model_version=version.number,
        space_id=version.space_id,
    )
    plain.save(before.path / "index.karec")
    (before.path / "vector_statistics.npz").unlink()
    reseal(before.path)
    message = r"index\.karec: code columns are \[\], expected \['creator_id', .*Publish the run again"
    with pytest.raises(BundleError, match=message):
        Bundle.open(before.path)


def test_item_types_of_wide_towers_have_no_tables(before):
    assert not before.item_type("song").index.code_columns
    assert not before.item_type("song").cross_tables


def test_wide_index_has_lists_only_if_a_sample_of_it_finds_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(publish_run, "MIN_ITEMS", 40)
    monkeypatch.setattr(ivf_lists, "MAX_READ_FRACTION", 1.0)
    assert publish_small_bundle(tmp_path / "all", is_wide=True).index.n_lists > 1
    monkeypatch.setattr(ivf_lists, "MIN_RECALL_WIDE", 1.1)  # no sample finds as much
    bundle = publish_small_bundle(tmp_path / "none", is_wide=True)
    assert bundle.index.n_lists == 0 and "lists" not in bundle.facts
