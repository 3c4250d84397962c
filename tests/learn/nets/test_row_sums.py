"""Sums of rows of a table: values and gradients are those of a gather, in float64."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from karec.learn.nets.row_sums import sum_of_rows


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 9), st.integers(1, 17), st.integers(0, 2**31))
def test_sums_and_gradients_are_those_of_a_gather(sums, height, columns, width, seed):
    generator = np.random.default_rng(seed)
    table = generator.normal(size=(height, width))
    rows = generator.integers(height, size=(sums, columns))
    wanted = generator.normal(size=(sums, width))
    ours = torch.from_numpy(table.astype(np.float32)).requires_grad_()
    found = sum_of_rows(ours, torch.from_numpy(rows))
    found.backward(torch.from_numpy(wanted.astype(np.float32)))
    gradient = np.zeros_like(table)
    np.add.at(gradient, rows, wanted[:, None])
    np.testing.assert_allclose(found.detach().numpy(), table[rows].sum(axis=1), atol=1e-4)
    assert ours.grad is not None
    np.testing.assert_allclose(ours.grad.numpy(), gradient, atol=1e-3)


def test_a_table_of_more_rows_than_16_bits_count_is_summed_too():
    table = torch.zeros((70_000, 2), requires_grad=True)
    sum_of_rows(table, torch.tensor([[69_999, 3], [69_999, 4_463]])).sum().backward()
    assert table.grad is not None
    assert table.grad[:, 0].nonzero().flatten().tolist() == [3, 4_463, 69_999]
    assert table.grad[69_999].tolist() == [2, 2]
