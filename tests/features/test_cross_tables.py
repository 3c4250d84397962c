"""Tables of wide towers equal the terms of each item's cross features, and damaged weights are refused."""

from dataclasses import replace

import numpy as np
import pytest
from wide_towers import draw_cross_weights

from karec import _native
from karec.aggregates.advance import advance
from karec.errors import BundleError
from karec.features.affinities import AffinityPriors
from karec.features.cross_tables import CrossTables, CrossWeights
from karec.features.crosses import CrossFeatures
from karec.features.encoder import Encoder
from karec.features.vocabulary import Vocabulary

UNKNOWN_USER = 999


@pytest.fixture(scope="module")
def later(dataset):
    return advance(dataset.snapshot, dataset.exposures, dataset.train_until_ms)


@pytest.fixture(scope="module", params=["impressions", "rare creators", "positives only"])
def any_encoder(request, dataset, encoder):
    if request.param == "impressions":
        return encoder
    rows, works = dataset.split()[0], dataset.snapshot.works
    rare = Encoder.fit(dataset.snapshot, rows, dataset.tasks, history_length=8, min_count=60)
    if request.param == "rare creators":
        return rare
    codes = rare.works.encode_ids(works)[works.lookup(rows.work_id)]
    enjoyed = rows.labels["click"] > 0
    priors = AffinityPriors.fit(codes, rare.works.vocabularies, enjoyed, has_skipped=False)
    return replace(rare, affinities=priors)


def look_up(tables, codes):
    """Returns (N,) float64: the sum over the tables of items with ``codes`` {category: (N,) uint32}."""
    sums = 0.0
    for name, table in tables.items():
        at = np.minimum(np.searchsorted(table.codes, codes[name]), len(table.codes) - 1)
        is_own = table.codes[at] == codes[name]
        sums = sums + np.where(is_own, table.values[at], np.float32(table.other)).astype(np.float64)
    return sums


def test_tables_equal_the_terms_of_each_item(any_encoder, later):
    weights = draw_cross_weights(any_encoder)
    tables = CrossTables(any_encoder, weights)
    rows = np.arange(-1, len(later.works))
    items = any_encoder.encode_items(later, rows, later.time_ms)
    codes = any_encoder.item_codes(later, rows, tables.categories)
    n_used = n_unseen = 0
    for user_id in (*later.users.ids.tolist(), UNKNOWN_USER):
        user = any_encoder.encode_user(later, user_id, later.time_ms, 0)
        crosses = any_encoder.encode_crosses(user, items)["crosses"]
        expected = weights.terms(crosses).sum(axis=1)
        made = tables.make(user)
        np.testing.assert_allclose(look_up(made, codes), expected, rtol=1e-5, atol=1e-5)
        n_used += len(np.unique(expected)) > 2
        n_unseen += sum(int((table.codes >= 2**31).sum()) for table in made.values())
    assert n_used >= 10
    assert (n_unseen > 0) == (len(any_encoder.works.vocabularies[1]) < len(set(later.works["creator_id"])))


def test_tables_have_ascending_codes_of_the_users_lists(any_encoder, later):
    user = any_encoder.encode_user(later, int(later.users.ids[0]), later.time_ms, 0)
    tables = CrossTables(any_encoder, draw_cross_weights(any_encoder)).make(user)
    for column, name in enumerate(any_encoder.names["item_ids"][1:], 1):
        own = user["history"][0, :, column]
        assert {*_native.code32(own).tolist(), 0} <= {*tables[name].codes.tolist()}
        assert (np.diff(tables[name].codes.astype(np.int64)) > 0).all()


def test_tables_of_a_user_without_lists_only_have_missing_values(encoder, later):
    user = encoder.encode_user(later, UNKNOWN_USER, later.time_ms, 0)
    for table in CrossTables(encoder, draw_cross_weights(encoder)).make(user).values():
        assert table.codes.tolist() == [0]


def test_codes_of_items_keep_known_values_and_mark_unseen_ones():
    vocabulary = Vocabulary(np.array([30, 10]))
    codes = vocabulary.encode(np.array([-1, 30, 10, 77, 78]))
    codes32 = _native.code32(codes)
    assert codes32.dtype == np.uint32 and codes32[:3].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(codes32[3:], 2**31 | (codes[3:] & (2**31 - 1)))


def test_native_tables_refuse_a_category_or_weights_that_do_not_fit():
    none = np.empty((1, 0), np.int64)
    lists = np.zeros((1, 3, 2), np.int64)
    items = np.empty((0, 2), np.int64)
    inputs = _native.CrossInputs(lists, lists, none, none, none, [], items, 1, None, None, None)
    weights = _native.CrossWeights([1], np.zeros((1, 2)), np.ones((1, 2)), np.ones((1, 3)))
    (table,) = inputs.tables(weights, [1])
    assert table[0].tolist() == [0] and table[2] == 0.0
    with pytest.raises(ValueError, match="category"):
        inputs.tables(weights, [2])
    with pytest.raises(ValueError, match="weights has shape"):
        _native.CrossWeights([1], np.zeros((1, 2)), np.ones((1, 2)), np.ones((1, 2)))
    two_users = np.zeros((2, 3, 2), np.int64)
    empty = np.empty((2, 0), np.int64)
    pairs = _native.CrossInputs(
        two_users, two_users, empty, empty, empty, [], np.zeros((2, 2), np.int64), 1, None, None, None
    )
    with pytest.raises(ValueError, match="one user, got 2"):
        pairs.tables(weights, [1])


def test_tables_leave_out_the_items_id_and_cowatch(encoder):
    names = dict(zip(encoder.names["crosses"], encoder.cross_categories, strict=True))
    assert names["creator_followed"] == "creator_id" and names["tag_in_history"] == "tag"
    assert names["id_in_history"] is None and names["affinity_id"] is None
    assert "id" not in draw_cross_weights(encoder).categories(encoder)


def test_only_as_many_categories_have_tables_as_an_index_has_code_columns():
    categories = ("id", *(f"c{number}" for number in range(20)))
    features = CrossFeatures(categories, ("c3", "c18"), None, None, has_positions=False)
    tabled = {name for name in features.item_categories if name is not None}
    assert tabled == set(categories[1:17]) and len(features.item_categories) == len(features.names)


def test_cross_weights_are_read_as_they_were_saved(encoder, tmp_path):
    weights = draw_cross_weights(encoder)
    weights.save(tmp_path / "weights.npz")
    loaded = CrossWeights.load(tmp_path / "weights.npz", encoder)
    for name, array in vars(weights).items():
        np.testing.assert_array_equal(getattr(loaded, name), array)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": lambda array: np.where(array > 1.0, np.nan, array)},
        {"low": lambda array: array + np.inf},
        {"columns": lambda array: array - 1},  # the first is then that of the item's id
        {"columns": lambda array: array + 1000},
        {"weights": lambda array: array[:1]},
        {"per_width": lambda array: array[:, :1]},
        {"columns": lambda array: array.astype(np.float64)},
        {"low": lambda array: array[0]},
    ],
)
def test_damaged_cross_weights_are_refused(encoder, tmp_path, change):
    weights = draw_cross_weights(encoder)
    (name, damage), path = next(iter(change.items())), tmp_path / "weights.npz"
    replace(weights, **{name: damage(getattr(weights, name))}).save(path)
    with pytest.raises(BundleError, match=r"weights\.npz"):
        CrossWeights.load(path, encoder)


def test_cross_weights_refuse_a_file_without_an_array(encoder, tmp_path):
    np.savez(tmp_path / "weights.npz", columns=np.arange(3))
    with pytest.raises(BundleError, match="low"):
        CrossWeights.load(tmp_path / "weights.npz", encoder)
