"""Wide part of the towers: a linear function of cross features, added to the inner product.

It reads only cross features that depend on an item by the code of one category (creator, tag, …), so that
serving needs one table a request and category, and one look-up an item and category
(``karec.features.cross_tables``).

Source  H.-T. Cheng et al., Wide & deep learning for recommender systems, DLRS 2016.
"""

from __future__ import annotations

import numpy as np

from karec.features.cross_tables import CrossWeights
from karec.features.encoder import Encoder
from karec.learn._torch import Tensor, nn, torch
from karec.learn.nets.layers import PiecewiseLinear


class WidePart(nn.Module):
    """Linear function ``crosses (…, X)`` → (…, heads). ``edges (X, bins + 1)``: see ``Batches.edges``."""

    def __init__(self, encoder: Encoder, edges: Tensor, heads: int) -> None:
        super().__init__()
        categories = encoder.cross_categories
        self.columns = [column for column, category in enumerate(categories) if category is not None]
        self.pieces = PiecewiseLinear(edges[self.columns])
        self.linear = nn.Linear(self.pieces.width, heads, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, crosses: Tensor) -> Tensor:
        rows = crosses.flatten(0, -2)[:, self.columns]
        terms: Tensor = self.linear(self.pieces(rows))
        return terms.reshape(*crosses.shape[:-1], -1)

    def to_weights(self) -> CrossWeights:
        """Returns copies of the weights, as serving reads them."""
        n_features, n_pieces = self.pieces.low.shape
        flat = self.linear.weight.detach().cpu()
        by_piece = flat[:, : n_features * n_pieces].reshape(-1, n_features, n_pieces)
        plain = flat[:, n_features * n_pieces :].unsqueeze(2)
        return CrossWeights(
            columns=np.array(self.columns, np.int64),
            low=self.pieces.low.cpu().numpy().copy(),
            per_width=self.pieces.per_width.cpu().numpy().copy(),
            weights=torch.cat([by_piece, plain], dim=2).numpy(),
        )
