"""Tests of concatenated batches."""

import numpy as np
from small_settings import SMALL

from karec.lab.simulate.world import make_world
from karec.learn._torch import torch
from karec.learn.fit.batches import Batches
from karec.learn.fit.prepare import prepare


def test_concatenated_batches_equal_batches_of_all_examples(tmp_path):
    """Some of the later examples have longer lists of followed creators than any of the first ones."""
    prepared = prepare(make_world(150, 100, 3000, seed=2).dataset, SMALL, tmp_path)
    names, examples = prepared.train_batches.names, prepared.train
    follows = (prepared.train_batches.inputs(slice(None), ["follows"])["follows"] > 0).sum(dim=1).numpy()
    order = np.argsort(follows, kind="stable")
    cut, whole = int(np.searchsorted(follows[order], follows.max())), Batches(examples.take(order), names)
    joined = Batches(examples.take(order[:cut]), names).concat(examples.take(order[cut:]))
    rows = torch.arange(0, len(order), 3)
    expected, found = (batches.inputs(rows) for batches in (whole, joined))
    assert 0 < cut < len(order) and expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert torch.equal(whole.labels, joined.labels)
