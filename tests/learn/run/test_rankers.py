"""Tests of the ranker's members and auxiliary tasks."""

import numpy as np
import torch

from karec.learn.nets.ranker import MmoeRanker
from karec.learn.run.rankers import ranker_loss
from karec.samples.auxiliary_tasks import auxiliary_labels, auxiliary_probabilities, auxiliary_tasks


def test_ranker_loss_is_per_member_and_logit_is_their_mean(prepared):
    edges = prepared.train_batches.edges(3)
    tasks = prepared.encoder.tasks
    model = MmoeRanker(prepared.encoder, edges, dim=4, members=3, hidden=8, n_experts=2).eval()
    inputs = prepared.train_batches.inputs(torch.arange(50), MmoeRanker.inputs)
    by_member = model.by_member(inputs)
    assert by_member.shape == (50, 3, len(tasks))
    torch.testing.assert_close(model(inputs), by_member.mean(dim=1))
    labels = prepared.train_batches.labels[:50]
    loss = ranker_loss(by_member, labels, tasks, torch.tensor([1.0, 2.0, 0.5]))
    by_hand = torch.nn.functional.binary_cross_entropy_with_logits(
        by_member, labels[:, None].expand(-1, 3, -1), reduction="none"
    )
    torch.testing.assert_close(loss, (by_hand * torch.tensor([1.0, 2.0, 0.5])).sum(dim=2).mean())
    by_member[:, 1].sum().backward()
    of_experts = model.experts.grad.abs().flatten(1).sum(dim=1) > 0
    assert of_experts.tolist() == [False, False, True, True, False, False]
    assert [bool(grad.any()) for grad in model.heads.grad] == [False, True, False]


def test_auxiliary_tasks_do_not_change_shared_weights(prepared):
    edges = prepared.train_batches.edges(3)
    extra = auxiliary_tasks(
        prepared.train.exposures, prepared.encoder.tasks, ("follow", "play_time", "gift", "click")
    )
    assert extra == ("follow", "play_time")  # the data has no gift, and click is a task already
    model = MmoeRanker(prepared.encoder, edges, extra=extra, dim=4, hidden=8, n_experts=2)
    logits = model(prepared.train_batches.inputs(torch.arange(50), MmoeRanker.inputs))
    assert logits.shape == (50, 5)
    logits[:, 3:].sum().backward()
    for shared_weight in (model.experts, model.heads, model.item_codes.table.weight):
        assert shared_weight.grad is None or not shared_weight.grad.any()
    assert model.extra.weight.grad.abs().sum() > 0 and model.wide_item.weight.grad[-2:].abs().sum() > 0


def test_play_time_labels_are_in_units_of_ten_seconds(prepared):
    labels_of = auxiliary_labels(prepared.train.exposures, ("play_time", "follow"))
    np.testing.assert_allclose(labels_of[:, 0], prepared.train.exposures.play_ms / 10_000)
    np.testing.assert_array_equal(labels_of[:, 1], prepared.train.exposures.labels["follow"])


def test_play_time_probability_is_the_sigmoid_of_its_logarithm(prepared):
    played, chance = (
        labels_of(prepared.train.exposures, ("play_time",))[:, 0]
        for labels_of in (auxiliary_labels, auxiliary_probabilities)
    )
    is_played = played > 0
    np.testing.assert_allclose(chance[is_played], 1 / (1 + np.exp(-np.log(played[is_played]))), rtol=1e-5)
    assert not chance[~is_played].any()
