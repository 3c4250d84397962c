"""Affinities: what an encoder fits, stores and computes for users of a snapshot."""

from dataclasses import replace

import numpy as np
import pytest

from karec.aggregates.advance import advance
from karec.errors import BundleError
from karec.features.affinities import AffinityPriors
from karec.features.encoder import Encoder
from karec.features.vocabulary import FIRST_UNSEEN, Vocabulary

VOCABULARIES = Vocabulary(np.array([7, 8])), Vocabulary(np.array([3]))
CODES = np.array([[1, 1], [1, 1], [2, 0], [2, 1], [FIRST_UNSEEN, FIRST_UNSEEN + 1]])
ENJOYED = np.array([True, False, True, True, False])


def affinities(encoder, snapshot, user_id):
    user = encoder.encode_user(snapshot, user_id, snapshot.time_ms, 0)
    items = encoder.encode_items(snapshot, np.arange(-1, len(snapshot.works)), snapshot.time_ms)
    names = encoder.names["crosses"]
    columns = [at for at, name in enumerate(names) if name.startswith("affinity_")]
    return encoder.encode_crosses(user, items)["crosses"][:, columns]


@pytest.fixture(scope="module")
def later(dataset):
    return advance(dataset.snapshot, dataset.exposures, dataset.train_until_ms)


def test_affinity_rates_are_smoothed_and_the_first_is_the_mean():
    priors = AffinityPriors.fit(CODES, VOCABULARIES, ENJOYED, has_skipped=True)
    mean = 4 / 7
    np.testing.assert_allclose(priors.rates, [mean, (1 + 20 * mean) / 22, (2 + 20 * mean) / 22])
    assert priors.shares == ()


def test_affinity_shares_count_positives_and_average_rare_values():
    codes = np.concatenate([CODES, [[FIRST_UNSEEN, FIRST_UNSEEN + 1], [FIRST_UNSEEN + 2, 1]]])
    enjoyed = np.append(ENJOYED, [True, True])
    priors = AffinityPriors.fit(codes, VOCABULARIES, enjoyed, has_skipped=False)
    assert not len(priors.rates)
    np.testing.assert_allclose(priors.shares[0], np.array([2, 2, 3]) / (5 + 3))
    np.testing.assert_allclose(priors.shares[1], np.array([2, 4]) / (4 + 2))


def test_affinities_do_not_depend_on_history_length(dataset, encoder, later):
    short = replace(encoder, history_length=1)
    for user_id in later.users.ids.tolist():
        result = affinities(encoder, later, user_id)
        assert result[1:].any() and not result[0].any()  # the first row is the unknown item
        np.testing.assert_array_equal(result, affinities(short, later, user_id))


def test_affinities_forget_all_but_the_last_100_items(dataset, encoder, later):
    history = later.relations["history"].row_values(0)
    others = np.tile(history[history != history[0]], 100)[:100]
    relation = later.relations["history"]
    lists = [np.concatenate([history, others]), others]
    results = []
    for values in lists:
        first = replace(
            relation,
            indptr=np.append(0, np.full(len(later.users), len(values))),
            values=values,
            times=None,
            scenes=None,
        )
        snapshot = replace(later, relations={**later.relations, "history": first})
        results.append(affinities(encoder, snapshot, int(later.users.ids[0])))
    np.testing.assert_array_equal(*results)


def test_affinity_is_high_for_a_taste_that_was_planted(dataset, encoder, later):
    """User u prefers items with tag u % 3 (tests/fixtures/small_dataset.py)."""
    column = encoder.works.category_names.index("tag")
    tags = later.works["tag"]
    differences = []
    for row, user_id in enumerate(later.users.ids.tolist()):
        values = affinities(encoder, later, user_id)[1:, column]
        is_liked = tags % 3 == row % 3
        differences.append(values[is_liked].mean() - values[~is_liked].mean())
    assert np.mean(differences) > 0.2


def test_unknown_user_has_affinities_of_0(encoder, later):
    assert not affinities(encoder, later, 10**9).any()


@pytest.mark.parametrize("has_skipped", [True, False])
def test_loaded_encoder_has_the_same_affinities(dataset, encoder, later, tmp_path, has_skipped):
    codes = encoder.tables(later).works.ids[later.works.lookup(dataset.exposures.work_id)]
    enjoyed = dataset.exposures.labels["click"] > 0
    priors = AffinityPriors.fit(codes, encoder.works.vocabularies, enjoyed, has_skipped=has_skipped)
    changed = replace(encoder, affinities=priors)
    changed.save(tmp_path / "encoder.npz")
    loaded = Encoder.load(tmp_path / "encoder.npz")
    result = affinities(changed, later, 3)
    assert result.any()
    np.testing.assert_array_equal(affinities(loaded, later, 3), result)
    arrays = dict(np.load(tmp_path / "encoder.npz"))
    name = "affinities.rates" if has_skipped else "affinities.shares.1"
    for values, message in (
        (arrays[name][:-1], "expected float64"),
        (np.append(arrays[name][:-1], 0.0), "has a number outside"),
        (np.append(arrays[name][:-1], np.nan), "has a number outside"),
    ):
        np.savez(tmp_path / "damaged.npz", **{**arrays, name: values})
        with pytest.raises(BundleError, match=f"{name}. .*{message}"):
            Encoder.load(tmp_path / "damaged.npz")


def test_encoder_without_affinities_has_the_other_crosses_only(encoder, later, tmp_path):
    replace(encoder, affinities=None).save(tmp_path / "encoder.npz")
    old = Encoder.load(tmp_path / "encoder.npz")
    n = len(old.names["crosses"])
    assert old.names["crosses"] == encoder.names["crosses"][:n] and not affinities(old, later, 3).size
    user = old.encode_user(later, 3, later.time_ms, 0)
    items = old.encode_items(later, np.arange(9), later.time_ms)
    new_user = encoder.encode_user(later, 3, later.time_ms, 0)
    crosses = encoder.encode_crosses(new_user, items)["crosses"]
    np.testing.assert_array_equal(old.encode_crosses(user, items)["crosses"], crosses[:, :n])
