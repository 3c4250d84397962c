"""Tests of the layers: codes, id dropout, number encoding, attention."""

import numpy as np
import torch

from karec.features.vocabulary import FIRST_UNSEEN
from karec.learn.nets.layers import CodeEmbedding, PiecewiseLinear, attend


def test_unseen_codes_share_vector_0_of_their_column():
    codes = CodeEmbedding((3, 4), 5).eval()
    known = torch.tensor([[2, 3]])
    unknown = torch.tensor([[FIRST_UNSEEN + 7, 4], [3, FIRST_UNSEEN], [0, 0]])
    torch.testing.assert_close(codes(unknown)[0], codes(unknown)[2])
    torch.testing.assert_close(codes(unknown)[1], codes(unknown)[2])
    assert not torch.equal(codes(known)[0], codes(unknown)[2])


def test_id_dropout_hides_ids_only_in_training():
    torch.manual_seed(0)
    codes = CodeEmbedding((3, 3), 2, dropped=[0], id_dropout=0.5)
    rows = torch.ones((1000, 2), dtype=torch.int64)
    hidden = (codes.train()(rows)[:, 0] == codes.table.weight[0]).all(dim=1)
    assert 0.4 < hidden.float().mean() < 0.6
    assert (codes(rows)[:, 1] == codes.table.weight[4]).all()
    assert (codes.eval()(rows)[:, 0] == codes.table.weight[1]).all()


def test_id_dropout_keeps_the_codes_of_item_types():
    codes = CodeEmbedding((5, 3), 2, dropped=[0], id_dropout=0.5, n_kept=2).train()
    rows = torch.tensor([[3, 1], [4, 1]]).repeat(500, 1)
    assert torch.equal(codes.rows(rows), rows + torch.tensor([0, 5]))
    assert (codes.rows(torch.full((500, 2), 2))[:, 0] == 0).any()


def test_piecewise_linear_encodes_by_bin():
    layer = PiecewiseLinear(torch.tensor([[0.0, 1.0, 3.0]]))
    out = layer(torch.tensor([[-1.0], [0.5], [2.0], [9.0]]))
    assert out.tolist() == [[0, 0, -1], [0.5, 0, 0.5], [1, 0.5, 2], [1, 1, 9]]
    assert layer.width == 3


def test_attention_ignores_padding_and_gives_0_if_history_is_empty():
    keys = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]], [[5.0, 5.0]] * 3])
    present = torch.tensor([[True, True, False], [False, False, False]])
    queries = torch.tensor([[[2.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    first = np.exp(2 / np.sqrt(2)) / (np.exp(2 / np.sqrt(2)) + 1)
    means = [[[first, 1 - first], [0.5, 0.5]], [[0, 0], [0, 0]]]
    np.testing.assert_allclose(attend(queries, keys, present).numpy(), means, atol=1e-6)
