"""Tests of recipe retrieval: its cases, the user's inputs, and the validation score."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_settings import SMALL

from karec.learn.distil import retrieval
from karec.learn.distil.retrieval import Cases, Retrieval, start_from_choices, validation_score
from karec.learn.fit.prepare import prepare
from karec.learn.nets.towers import Towers

SETTINGS = SMALL.with_recipe("retrieval").replace(
    optimizer={"batch_size": 32},
    distil={"library_works": 20},
    features={"min_count": 1},
)


@pytest.fixture
def lists(monkeypatch):
    """Few users are enough for cases that are lists."""
    monkeypatch.setattr(retrieval, "MIN_USERS", 1)


def test_cases_of_few_users_without_times_are_single_items(timeless):
    cases = Cases.from_training_data(timeless)
    assert not cases.is_list and cases.lists is not None
    of_users = cases.lists[np.unique(timeless.train.user_rows)]
    np.testing.assert_array_equal(np.sort(cases.items[:, 0]), np.sort(of_users[of_users >= 0]))


@pytest.fixture(scope="module")
def timeless(dataset, tmp_path_factory):
    return prepare(replace(dataset, timeless=True), SETTINGS, tmp_path_factory.mktemp("timeless"))


def towers(prepared):
    torch.manual_seed(0)
    edges = prepared.train_batches.edges(3)
    return Towers(prepared.encoder, edges, dim=4, hidden=16, vector=8, id_dropout=0.0, matching=True).eval()


def test_cases_of_a_log_with_times_are_its_positive_rows(prepared):
    cases = Cases.from_training_data(prepared)
    np.testing.assert_array_equal(cases.rows, np.flatnonzero(prepared.train.labels[:, 0]))
    np.testing.assert_array_equal(cases.items[:, 0], prepared.train.item_rows[cases.rows])
    assert not cases.is_list


def test_cases_of_a_log_without_times_are_users_with_their_items(timeless, lists):
    cases, valid = Cases.from_training_data(timeless), timeless.valid
    user_of_case = timeless.train.user_rows[cases.rows]
    assert cases.is_list and len(np.unique(user_of_case)) == len(user_of_case)
    for row, user in enumerate(valid.user_rows):
        history = valid.relations["history"].take(np.array([row])).latest(timeless.encoder.history_length)[0]
        for items in cases.items[user_of_case == user]:
            assert sorted(items) == sorted(history)


def test_case_history_does_not_contain_the_cases_item(prepared):
    loss = Retrieval(towers(prepared), prepared, SETTINGS)
    rows, own = loss.cases.rows, loss.cases.items
    codes = history_codes(loss._users(rows, own, np.random.default_rng(0)))
    own_codes = prepared.train.items(rows, own[:, 0])["item_ids"][:, 0]
    assert (codes > 0).any()
    assert not (codes.numpy() == own_codes[:, None]).any()


def test_case_history_is_a_part_of_the_users_list(timeless, lists):
    loss = Retrieval(towers(timeless), timeless, SETTINGS)
    rows, chosen = loss.cases.rows, loss.cases.items
    codes = history_codes(loss._users(rows, chosen, np.random.default_rng(0))).numpy()
    item_codes = timeless.encoder.tables(timeless.train.snapshot).works.ids[:, 0]
    is_shown, is_listed = codes > 0, chosen >= 0
    np.testing.assert_array_equal(codes[is_shown], item_codes[chosen[is_shown]])
    assert 0.3 < is_shown.sum() / is_listed.sum() < 0.7


def history_codes(inputs):
    """Returns the code of the item id in each slot of the history."""
    return inputs["works"][inputs["history_at"]][:, :, 0]


def test_towers_start_from_singular_vectors_of_the_choices(timeless, lists):
    model = towers(timeless)
    start_from_choices(model, timeless, seed=0)
    train = timeless.train
    cases = Cases.from_training_data(timeless)
    case, slot = np.nonzero(cases.items >= 0)
    choices = np.zeros((len(cases.rows), 40))
    choices[case, cases.items[case, slot]] = 1.0
    degrees = choices.sum(axis=1, keepdims=True) * choices.sum(axis=0)
    _, values, v = np.linalg.svd(choices / np.sqrt(np.maximum(degrees, 1.0)), full_matrices=False)
    is_chosen = choices.any(axis=0)
    expected = v[:8, is_chosen].T * np.sqrt(values[:8])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    codes = train.encoder.tables(train.snapshot).works.ids[:40, 0][is_chosen]
    vectors = model.user.matching.codes.table.weight.detach().numpy()[codes]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=0.02)


def test_retrieval_loss_depends_only_on_the_step(timeless):
    loss = Retrieval(towers(timeless), timeless, SETTINGS)
    assert loss.loss(3).item() == loss.loss(3).item() != loss.loss(4).item()


def test_validation_score_is_the_recall_of_validation_items(prepared):
    model, valid = towers(prepared), prepared.valid
    everything = validation_score(model, prepared, 0)  # all of the 40 items except those in the history
    known = valid.relations["history"].latest(valid.encoder.history_length)
    shares = {}
    for user in np.unique(valid.user_rows):
        rows = np.flatnonzero((valid.user_rows == user) & (valid.labels[:, 0] > 0))
        if len(rows):
            held = set(valid.item_rows[rows].tolist())
            shares[user] = len(held - set(known[rows[0]].tolist())) / len(held)
    assert everything == pytest.approx(np.mean(list(shares.values())))


def test_log_probabilities_are_none_without_sampled_negatives(prepared):
    assert prepared.sampling_log_probabilities() is None


def test_log_probabilities_follow_the_items_positives(prepared):
    log_chance = replace(prepared, drawn=1.0).sampling_log_probabilities().numpy()[:, 0]
    train = prepared.train
    taken = np.bincount(train.item_rows[train.labels[:, 0] > 0], minlength=40) + 1.0
    np.testing.assert_allclose(log_chance, np.log(taken / taken.mean())[train.item_rows], rtol=1e-5)
    assert not replace(prepared, drawn=0.0).sampling_log_probabilities().any()
