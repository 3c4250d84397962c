"""Tests that sums of table rows and their gradients equal those of a gather in float64."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from karec.learn.nets.row_sums import sum_of_rows


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 9), st.integers(1, 17), st.integers(0, 2**31))
def test_sum_of_rows_and_gradient_equal_a_gather(sums, height, columns, width, seed):
    generator = np.random.default_rng(seed)
    table = generator.normal(size=(height, width))
    rows = generator.integers(height, size=(sums, columns))
    output_gradient = generator.normal(size=(sums, width))
    table32 = torch.from_numpy(table.astype(np.float32)).requires_grad_()
    result = sum_of_rows(table32, torch.from_numpy(rows))
    result.backward(torch.from_numpy(output_gradient.astype(np.float32)))
    gradient = np.zeros_like(table)
    np.add.at(gradient, rows, output_gradient[:, None])
    np.testing.assert_allclose(result.detach().numpy(), table[rows].sum(axis=1), atol=1e-4)
    assert table32.grad is not None
    np.testing.assert_allclose(table32.grad.numpy(), gradient, atol=1e-3)


def test_sum_of_rows_handles_tables_above_65536_rows():
    table = torch.zeros((70_000, 2), requires_grad=True)
    sum_of_rows(table, torch.tensor([[69_999, 3], [69_999, 4_463]])).sum().backward()
    assert table.grad is not None
    assert table.grad[:, 0].nonzero().flatten().tolist() == [3, 4_463, 69_999]
    assert table.grad[69_999].tolist() == [2, 2]
