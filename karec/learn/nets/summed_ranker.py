"""Form of the MMoE ranker whose first layer has sums of table rows as inputs (``karec.models.row_sums``).

The part that depends only on an item's codes and numbers is a sum of rows of one table: of codes, embeddings
times the weights of the first layer; of numbers, the layer's piecewise linear function at its knots. ONNX
Runtime computes the attention, its 4·d inputs of the first layer, crosses, and all layers after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import KarecError
from karec.features.encoder import CONTENT
from karec.learn._torch import Tensor, nn, torch
from karec.learn.nets.layers import PiecewiseLinear
from karec.learn.nets.served_ranker import ServedRanker, constant, list_features

MAX_COLUMN_ROWS = 65_536  # codes of a column; hashed and large columns have more
MAX_BYTES = 64 << 20  # of the table
_Floats = NDArray[np.float64]


class UnsupportedSums(KarecError):
    """A model without row sums. The message is the reason."""


class SummedRanker(nn.Module):
    """Inputs of users, crosses, content and ``outputs`` of row sums → the logits of ``served``.

    Codes of the columns ``gathered`` of item_ids stay inputs: the row sums are of all other columns.

    inputs   those of ``served`` that stay
    outputs  {name: width} of the row sums: parts of the first layer, the linear part, the item's vector
    """

    def __init__(self, served: ServedRanker, gathered: Sequence[int]) -> None:
        super().__init__()
        items, codes = served.items, served.items.item_codes
        self.user, self.items, self.gathered = served.user, items, list(gathered)
        summed = {"item_numbers"} if self.gathered else {"item_ids", "item_numbers"}
        self.inputs = [name for name in served.inputs if name not in summed]
        self.dim, n_columns = codes.table.embedding_dim, len(codes.sizes)
        self.n_lists = (4 if items.content is None else 5) * self.dim  # inputs of content and lists
        n_crosses = items.cross_scale.shape[1]
        kept = [c * self.dim + d for c in self.gathered for d in range(self.dim)]
        kept += range(n_columns * self.dim, n_columns * self.dim + self.n_lists)
        kept += range(len(items.wide) - n_crosses, len(items.wide))
        self.wide = constant(items.wide[-n_crosses:])
        self.first = nn.ParameterList(constant(weight[kept]) for weight in items.first)
        self.outputs = {f"row_sums_{i}": weight.shape[1] for i, weight in enumerate(items.first)}
        self.outputs |= {"row_sums_linear": items.wide.shape[1], "row_sums_item": self.dim}

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        user, items = self.user(inputs), self.items
        *sums, linear, item = (inputs[name] for name in self.outputs)
        own = []
        if self.gathered:
            codes = items.item_codes.table(items.item_codes.rows(inputs["item_ids"])[:, self.gathered])
            own.append(codes.flatten(1))
            item = item + own[0] @ items.sum_of_codes[: len(self.gathered) * self.dim]
        if items.content is not None:
            own.append(items.content(inputs[CONTENT]))
            item = item + own[-1]
        crosses = inputs["crosses"]
        features = torch.cat([*own, *list_features(item, user), crosses], dim=1)
        linear = items.add_pieces(torch.addmm(user.linear + linear, crosses, self.wide), crosses)
        parts = zip(items.cut(user.first), sums, self.first, strict=True)
        return items.mix([torch.addmm(part + sum_, features, w) for part, sum_, w in parts], linear)

    def table(self) -> dict[str, NDArray[Any]]:
        """Returns the arrays of the row sums (native/src/sums/row_sums.hpp), computed in float64."""
        items, codes, ranker = self.items, self.items.item_codes, self.user.ranker
        weights = np.concatenate([_float64(weight) for weight in (*items.first, items.wide)], axis=1)
        sizes = codes.sizes.tolist()
        columns = [c for c in range(len(sizes)) if c not in self.gathered]
        rows = []
        for c in columns:
            of_column = _float64(codes.table.weight[int(codes.offsets[c]) :][: sizes[c]])
            rows.append(np.hstack([of_column @ weights[c * self.dim :][: self.dim], of_column]))
        n, bins = ranker.item_numbers.low.shape
        of_numbers = weights[len(sizes) * self.dim + self.n_lists :][: n * (bins + 1)]
        knots = _knots(ranker.item_numbers, *np.split(of_numbers, [n * bins]))
        base = np.sum([at_0 for _, _, at_0 in knots], axis=0)
        numbers = np.concatenate([values for _, values, _ in knots])
        base_and_numbers = np.pad(np.vstack([base, numbers]), ((0, 0), (0, self.dim)))
        return {
            "rows": np.concatenate([base_and_numbers[:1], *rows, base_and_numbers[1:]]).astype(np.float32),
            "code_columns": np.array(columns, np.int64),
            "code_sizes": np.array([sizes[c] for c in columns], np.int64),
            "knot_counts": np.array([len(x) for x, _, _ in knots], np.int64),
            "knots": np.concatenate([x for x, _, _ in knots]),
        }


def summed_form(served: ServedRanker) -> SummedRanker:
    """Returns the form of ``served`` whose table has the code columns that the limits allow, small first.

    Raises UnsupportedSums if the rows of numbers alone are above MAX_BYTES.
    """
    ranker, sizes = served.user.ranker, served.items.item_codes.sizes.tolist()
    outputs = SummedRanker(served, ()).outputs
    row_bytes = 4 * sum(outputs.values())
    n_numbers, bins = ranker.item_numbers.low.shape
    n_rows = 1 + n_numbers * (2 * bins + 1)
    if n_rows * row_bytes > MAX_BYTES:
        raise UnsupportedSums(
            f"row sums of its numbers take up to {n_rows * row_bytes:,} bytes, more than {MAX_BYTES:,}"
        )
    gathered = []
    for column in sorted(range(len(sizes)), key=lambda c: (sizes[c], c)):
        if sizes[column] <= MAX_COLUMN_ROWS and (n_rows + sizes[column]) * row_bytes <= MAX_BYTES:
            n_rows += sizes[column]
        else:
            gathered.append(column)
    return SummedRanker(served, sorted(gathered))


def _knots(
    linear: PiecewiseLinear, pieces: _Floats, plain: _Floats
) -> list[tuple[_Floats, _Floats, _Floats]]:
    """Returns for each number x (its knots (K,), rows (K + 1, W), row at 0) of its function g in W columns.

    g(x) = Σ_b pieces[b]·clip((x − low_b)·per_width_b, 0, 1) + plain·x. Rows: g(knot) − g(0), then the slope
    outside the outermost knots.
    """
    found = []
    low, per_width = _float64(linear.low), _float64(linear.per_width)
    for begin, scale, weights, slope in zip(low, per_width, np.split(pieces, len(low)), plain, strict=True):
        ends = begin + 1 / scale
        # An end is the next begin, except for the rounding of its width and for the last one.
        is_begin = (np.abs(ends[:, None] - begin) * scale[:, None] < 1e-6).any(axis=1)
        knots = np.unique(np.concatenate([begin, ends[~is_begin]]))
        shares = np.clip((np.append(knots, 0.0)[:, None] - begin) * scale, 0.0, 1.0)
        *values, at_0 = shares @ weights
        found.append((knots, np.vstack([values - at_0 + knots[:, None] * slope, slope]), at_0))
    return found


def _float64(tensor: Tensor) -> _Floats:
    return tensor.detach().numpy().astype(np.float64)
