"""Tests that precomputed code counts of lists equal those of each batch."""

import numpy as np
import pytest
from small_settings import SMALL

from karec.lab.simulate.world import make_world
from karec.learn._torch import torch
from karec.learn.distil.distillation import new_towers
from karec.learn.fit import list_counts
from karec.learn.fit.batches import LISTS, Batches
from karec.learn.fit.prepare import prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(make_world(150, 100, 3000, seed=2).dataset, SMALL, tmp_path_factory.mktemp("prepared"))


def test_list_counts_equal_the_codes_in_the_lists(prepared):
    examples, sizes = prepared.train, prepared.encoder.sizes["item_ids"]
    rows = np.arange(0, len(examples), 7)
    users = examples.users(rows)
    starts = np.r_[0, sizes[:-1]].cumsum()
    for name in LISTS:
        expected = np.zeros((len(rows), sum(sizes)))
        for row, items in enumerate(users[name]):
            for codes in items[items.max(axis=1) > 0]:
                for column, code in enumerate(codes):
                    expected[row, starts[column] + (code if code < sizes[column] else 0)] += 1
        counts = prepared.train_batches.inputs(torch.from_numpy(rows), [name], counted=True)[f"{name}_counts"]
        np.testing.assert_array_equal(counts, expected)
        assert expected.any(), "the lists must not be empty"


def test_towers_and_gradients_have_equal_bits_with_list_counts(prepared):
    settings = SMALL.replace(towers={"matching": True})
    rows, results = torch.arange(40), []
    for counted in (True, False):
        towers = new_towers(prepared, settings, vector=8)
        towers.train()
        inputs = prepared.train_batches.inputs(rows, towers.inputs, counted=counted)
        assert ("history_counts" in inputs) == counted
        logits = towers(inputs)
        logits.square().sum().backward()
        results.append([logits, *(parameter.grad for parameter in towers.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_concatenated_batches_equal_batches_of_all_examples(prepared):
    """Some of the later examples have longer lists of followed creators than any of the first ones."""
    names, examples = prepared.train_batches.names, prepared.train
    follows = (prepared.train_batches.inputs(slice(None), ["follows"])["follows"] > 0).sum(dim=1).numpy()
    order = np.argsort(follows, kind="stable")
    cut, whole = int(np.searchsorted(follows[order], follows.max())), Batches(examples.take(order), names)
    joined = Batches(examples.take(order[:cut]), names).concat(examples.take(order[cut:]))
    rows = torch.arange(0, len(order), 3)
    expected, found = (batches.inputs(rows, counted=True) for batches in (whole, joined))
    assert 0 < cut < len(order) and expected.keys() == found.keys() and "skipped_counts" in found
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert torch.equal(whole.labels, joined.labels)


@pytest.mark.parametrize(
    ("limit", "value"), [("MAX_BYTES", 1000), ("MAX_COUNTED_CODES", 10), ("MAX_LENGTH", 3)]
)
def test_list_counts_are_none_above_a_limit(prepared, monkeypatch, limit, value):
    monkeypatch.setattr(list_counts, limit, value)
    works = np.zeros((len(prepared.train), 4), np.int32)
    assert list_counts.ListCounts.from_lists(prepared.train, {"history": works}) is None


def test_replaced_history_has_no_counts(prepared):
    other = torch.full((5, 3), -1)
    assert "history_counts" not in prepared.train_batches.inputs(torch.arange(5), LISTS, other, counted=True)
