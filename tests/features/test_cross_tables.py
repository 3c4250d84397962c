"""Tables of wide towers equal the terms of each item's cross features, and damaged weights are refused."""

from dataclasses import replace

import numpy as np
import pytest

from karec.aggregates.advance import advance
from karec.errors import BundleError, ContractError
from karec.features.affinities import AffinityPriors
from karec.features.cross_tables import CrossWeights
from karec.features.encoder import Encoder
from karec.features.prerank_scores import WideScores
from karec.index import IndexSchema, ItemIndex
from karec.pipeline.types import Request

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


def make_weights(encoder, seed=0):
    """Returns random weights of all cross features that a table can hold."""
    generator = np.random.default_rng(seed)
    columns = np.array([at for at, name in enumerate(encoder.cross_categories) if name is not None])
    low = np.sort(generator.normal(size=(len(columns), 3)), axis=1).astype(np.float32)
    per_width = generator.uniform(0.5, 1000.0, low.shape).astype(np.float32)
    weights = generator.normal(size=(1 + len(encoder.tasks), len(columns), 4)).astype(np.float32)
    return CrossWeights(columns, low, per_width, weights)


def item_codes(encoder, items):
    return dict(zip(encoder.names["item_ids"], items["item_ids"].T, strict=True))


def test_tables_equal_the_terms_of_each_item(any_encoder, later):
    weights = make_weights(any_encoder)
    items = any_encoder.encode_items(later, np.arange(-1, len(later.works)), later.time_ms)
    n_used = n_unseen = 0
    for user_id in (*later.users.ids.tolist(), UNKNOWN_USER):
        user = any_encoder.encode_user(later, user_id, later.time_ms, 0)
        crosses = any_encoder.encode_crosses(user, items)["crosses"]
        expected = weights.terms(crosses).sum(axis=1)
        tables = weights.make_tables(any_encoder, user)
        np.testing.assert_allclose(tables.score(item_codes(any_encoder, items)), expected, atol=1e-9)
        n_used += len(np.unique(expected)) > 2
        n_unseen += sum(len(table.unseen) for table in tables.tables.values())
    assert n_used >= 10
    assert (n_unseen > 0) == (len(any_encoder.works.vocabularies[1]) < len(set(later.works["creator_id"])))


def test_tables_have_one_value_for_all_codes_outside_the_users_lists(any_encoder, later):
    user = any_encoder.encode_user(later, int(later.users.ids[0]), later.time_ms, 0)
    for table in make_weights(any_encoder).make_tables(any_encoder, user).tables.values():
        newer = np.array([2**62 + 5, 10**6])  # unseen ids, and a code that no table was made for
        assert (table.look_up(newer) == table.known[-1]).all()


def test_tables_of_a_user_without_lists_only_separate_missing_values(encoder, later):
    user = encoder.encode_user(later, UNKNOWN_USER, later.time_ms, 0)
    for table in make_weights(encoder).make_tables(encoder, user).tables.values():
        assert np.ptp(table.known[1:]) == 0 and not len(table.unseen)


def test_tables_leave_out_the_items_id_and_cowatch(encoder):
    names = dict(zip(encoder.names["crosses"], encoder.cross_categories, strict=True))
    assert names["creator_followed"] == "creator_id" and names["tag_in_history"] == "tag"
    assert names["id_in_history"] is None and names["affinity_id"] is None
    assert "id" not in make_weights(encoder).categories(encoder)


def test_cross_weights_are_read_as_they_were_saved(encoder, tmp_path):
    weights = make_weights(encoder)
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
    weights = make_weights(encoder)
    (name, damage), path = next(iter(change.items())), tmp_path / "weights.npz"
    replace(weights, **{name: damage(getattr(weights, name))}).save(path)
    with pytest.raises(BundleError, match=r"weights\.npz"):
        CrossWeights.load(path, encoder)


def test_cross_weights_refuse_a_file_without_an_array(encoder, tmp_path):
    np.savez(tmp_path / "weights.npz", columns=np.arange(3))
    with pytest.raises(BundleError, match="low"):
        CrossWeights.load(tmp_path / "weights.npz", encoder)


def served(later, columns):
    vectors = np.random.default_rng(2).normal(size=(len(later.works), 8)).astype(np.float32)
    values = {name: np.asarray(later.works[name]) for name in columns}
    return ItemIndex.build(np.asarray(later.works.ids), vectors, columns=values)


def test_wide_scores_add_tables_to_the_inner_product(encoder, later):
    weights = make_weights(encoder)
    index = served(later, weights.categories(encoder))
    index.block([int(later.works.ids[3])])
    user = encoder.encode_user(later, int(later.users.ids[0]), later.time_ms, 0)
    vector = np.random.default_rng(3).normal(size=(1, 8)).astype(np.float32)
    request = Request(1, view=index.pinned()).with_features({**user, "user_vector": vector})
    rows = request.index.lookup(later.works.ids[[5, 3, 0]])
    scores = WideScores(index.schema, encoder, weights).score(request, rows)
    items = encoder.encode_items(later, np.array([5, 0]), later.time_ms)
    terms = weights.terms(encoder.encode_crosses(user, items)["crosses"]).sum(axis=1)
    expected = index.embeddings(np.array([5, 0])) @ vector[0] + terms
    np.testing.assert_allclose(scores[[0, 2]], expected, rtol=1e-5)
    assert scores[1] == -np.inf
    without_lists = Request(1, view=index.pinned()).with_features({"user_vector": vector})
    with pytest.raises(ContractError, match="user_features"):
        WideScores(index.schema, encoder, weights).score(without_lists, rows)


def test_wide_scores_need_a_column_of_each_category(encoder):
    schema = IndexSchema(8, {"tag": np.dtype(np.int32)})
    with pytest.raises(BundleError, match="creator_id"):
        WideScores(schema, encoder, make_weights(encoder))
