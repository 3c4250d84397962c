"""Tests of recipe retrieval: its cases, the user's inputs, and the validation score."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_settings import SMALL

from karec.learn.distil import retrieval
from karec.learn.distil.retrieval import (
    Cases,
    ListLoss,
    Retrieval,
    choices_of_users,
    learns_from_lists,
    start_from_choices,
    validation_score,
)
from karec.learn.fit.prepare import prepare
from karec.learn.nets.towers import Towers

SETTINGS = SMALL.with_recipe("retrieval").replace(
    optimizer={"batch_size": 32},
    distil={"library_works": 20},
    features={"min_count": 1},
)


@pytest.fixture
def lists(monkeypatch):
    """Few users are enough for lists of users."""
    monkeypatch.setattr(retrieval, "MIN_USERS", 1)


def test_cases_of_a_log_without_times_are_the_items_of_histories(timeless):
    cases = Cases.from_training_data(timeless)
    assert cases.lists is not None
    of_users = cases.lists[np.unique(timeless.train.user_rows)]
    np.testing.assert_array_equal(np.sort(cases.items), np.sort(of_users[of_users >= 0]))


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
    np.testing.assert_array_equal(cases.items, prepared.train.item_rows[cases.rows])


def test_few_users_do_not_learn_from_lists(timeless):
    assert not learns_from_lists(timeless, SETTINGS)


def test_logs_with_times_and_other_recipes_do_not_learn_from_lists_of_users(prepared, timeless, lists):
    assert learns_from_lists(timeless, SETTINGS)
    assert not learns_from_lists(prepared, SETTINGS)
    assert not learns_from_lists(timeless, SETTINGS.with_recipe("list"))


def test_choices_are_the_positives_and_the_stored_history(timeless):
    train = timeless.train
    history, works = train.snapshot.relations["history"], train.snapshot.works
    expected = {
        (user, int(item))
        for user in range(len(history))
        for item in works.lookup(history.row_values(user))
        if item >= 0
    }
    for row in np.flatnonzero(train.labels[:, 0] > 0):
        expected.add((int(train.user_rows[row]), int(train.item_rows[row])))
    assert set(zip(*map(np.ndarray.tolist, choices_of_users(timeless).nonzero()), strict=True)) == expected


def test_loss_of_lists_is_that_of_the_user_tower_and_all_items(timeless, monkeypatch):
    """Without hidden items, it is the mean −log softmax of a user's items; each item is sampled often."""
    monkeypatch.setattr(retrieval, "SAMPLED", 20_000)
    model, settings = towers(timeless), SETTINGS.replace(distil={"history_dropout": 0.0})
    start_from_choices(model, timeless, seed=0)
    loss = ListLoss(model, timeless, settings)
    pairs, train = np.stack(choices_of_users(timeless).nonzero()), timeless.train
    users = np.unique(pairs[0])
    items = np.arange(len(train.snapshot.works))
    codes = train.items(np.zeros(len(items), np.int64), items)
    with torch.no_grad():
        vectors = model.item({name: torch.from_numpy(codes[name]) for name in model.item.inputs})
        expected = []
        for user in users:
            own = torch.from_numpy(pairs[1][pairs[0] == user])
            history = {
                name: torch.from_numpy(value[:1])
                for name, value in timeless.valid.inputs(np.arange(1)).items()
            }
            history["history"] = torch.from_numpy(codes["item_ids"])[own].unsqueeze(0)
            history["skipped"] = torch.from_numpy(codes["item_ids"])[:5].unsqueeze(0)  # has no weight
            scores = model.user(history).user_vector[0] @ vectors.T / settings.distil.contrast_temperature
            expected.append(-torch.log_softmax(scores, dim=0)[own].mean().item())
        actual = loss(torch.arange(len(users)), 0).item()
    assert actual == pytest.approx(np.mean(expected), abs=0.02)


def test_case_history_does_not_contain_the_cases_item(prepared):
    loss = Retrieval(towers(prepared), prepared, SETTINGS)
    rows, own = loss.cases.rows, loss.cases.items
    codes = history_codes(loss._users(rows, own, np.random.default_rng(0)))
    own_codes = prepared.train.items(rows, own)["item_ids"][:, 0]
    assert (codes > 0).any()
    assert not (codes.numpy() == own_codes[:, None]).any()


def history_codes(inputs):
    """Returns the code of the item id in each slot of the history."""
    return inputs["works"][inputs["history_at"]][:, :, 0]


def test_towers_start_from_singular_vectors_of_the_choices(timeless, lists):
    model = towers(timeless)
    start_from_choices(model, timeless, seed=0)
    train = timeless.train
    choices = choices_of_users(timeless).toarray()[:, :40]
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
