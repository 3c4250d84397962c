"""Counts of the codes in users' lists: those that each batch would make, made once, where they are small."""

from dataclasses import replace

import numpy as np
import pytest
from small_settings import SMALL

from karec.lab.simulate.world import make_world
from karec.learn._torch import torch
from karec.learn.distil.round import new_towers
from karec.learn.fit import list_counts
from karec.learn.fit.batches import LISTS, Batches
from karec.learn.fit.prepare import prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(make_world(150, 100, 3000, seed=2).dataset, SMALL, tmp_path_factory.mktemp("prepared"))


def test_counts_are_those_of_the_codes_that_the_lists_hold(prepared):
    examples, sizes = prepared.train, prepared.encoder.sizes["item_ids"]
    rows = np.arange(0, len(examples), 7)
    users = examples.users(rows)
    starts = np.r_[0, sizes[:-1]].cumsum()
    for name in LISTS:
        expected = np.zeros((len(rows), sum(sizes)))
        for at, works in enumerate(users[name]):
            for codes in works[works.max(axis=1) > 0]:
                for column, code in enumerate(codes):
                    expected[at, starts[column] + (code if code < sizes[column] else 0)] += 1
        found = prepared.train_batches.inputs(torch.from_numpy(rows), [name], counted=True)[f"{name}_counts"]
        np.testing.assert_array_equal(found, expected)
        assert expected.any(), "the lists are not empty"


def test_towers_and_their_gradients_are_to_the_bit_those_without(prepared):
    settings = replace(SMALL, towers=replace(SMALL.towers, matching=True))
    rows, found = torch.arange(40), []
    for counted in (True, False):
        towers = new_towers(prepared, settings, vector=8)
        towers.train()
        inputs = prepared.train_batches.inputs(rows, towers.inputs, counted=counted)
        assert ("history_counts" in inputs) == counted
        logits = towers(inputs)
        logits.square().sum().backward()
        found.append([logits, *(parameter.grad for parameter in towers.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_batches_that_follow_others_are_those_of_all_examples(prepared):
    """Some of the later examples have longer lists of followed creators than any of the first ones."""
    names, examples = prepared.train_batches.names, prepared.train
    follows = (prepared.train_batches.inputs(slice(None), ["follows"])["follows"] > 0).sum(dim=1).numpy()
    order = np.argsort(follows, kind="stable")
    cut, whole = int(np.searchsorted(follows[order], follows.max())), Batches(examples.take(order), names)
    joined = Batches(examples.take(order[:cut]), names).followed_by(examples.take(order[cut:]))
    rows = torch.arange(0, len(order), 3)
    expected, found = (each.inputs(rows, counted=True) for each in (whole, joined))
    assert 0 < cut < len(order) and expected.keys() == found.keys() and "skipped_counts" in found
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert torch.equal(whole.labels, joined.labels)


@pytest.mark.parametrize(("limit", "value"), [("MOST", 1000), ("COUNTED", 10), ("LONGEST", 3)])
def test_what_would_be_too_large_is_not_counted(prepared, monkeypatch, limit, value):
    monkeypatch.setattr(list_counts, limit, value)
    works = np.zeros((len(prepared.train), 4), np.int32)
    assert list_counts.ListCounts.made(prepared.train, {"history": works}) is None


def test_a_history_that_stands_in_place_of_the_own_one_is_not_counted(prepared):
    other = torch.full((5, 3), -1)
    assert "history_counts" not in prepared.train_batches.inputs(torch.arange(5), LISTS, other, counted=True)
