"""Measures the ranker if rare ids have no vector of their own, or two hashed rows, or their own vector.

    python bench/hashed_ids.py kuairand --root DIR     on KuaiRand
    python bench/hashed_ids.py                         on the synthetic platform

The rarest 10, 50 and 100 % of the values of each id column of items (item, creator, song) are affected. The
vector of a hashed value is the sum of two rows of a table of H rows, which all columns share, by two hash
functions.
A line is JSON: validation AUC by task, rows, hashed values, and how many share both rows with another.

Source  D. Tito Svenstrup et al., Hash embeddings for efficient word representations, NeurIPS 2017.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from functools import partial
from pathlib import Path

from ranks import fork_ranks, read_data, train_ranker

from karec.learn._torch import Tensor, nn, torch
from karec.learn.nets.layers import CodeEmbedding
from karec.learn.nets.ranker import MmoeRanker

PRIMES = 2_147_483_647, 2_147_483_629
FACTORS = 1_000_003, 7_368_787


class HashedCodes(CodeEmbedding):
    """``rows`` has two columns per column of codes; a known value has its own row and one of zeros."""

    def __init__(self, old: CodeEmbedding, n_own: list[int], n_hashed_rows: int) -> None:
        nn.Module.__init__(self)
        self.__dict__ |= {key: value for key, value in old.__dict__.items() if not key.startswith("_")}
        self._buffers = old._buffers
        self.n_hashed_rows = n_hashed_rows
        self.n_own = torch.tensor(n_own)
        n_old, dim = old.table.weight.shape
        self.table = nn.Embedding(n_old + n_hashed_rows + 1, dim)
        nn.init.normal_(self.table.weight, std=0.05)
        self.n_old = n_old

    def rows(self, codes: Tensor) -> Tensor:
        self.table.weight.data[-1] = 0.0
        zero = torch.full_like(codes, len(self.table.weight) - 1)
        codes = super().rows(codes) - self.offsets  # dropped and unseen ones are 0
        is_rare = codes >= self.n_own
        first = torch.where(is_rare, 0, codes) + self.offsets
        if not self.n_hashed_rows:
            return torch.cat([first, zero], dim=-1)
        columns = torch.arange(codes.shape[-1])
        places = [self.n_old + hashed_row(codes, columns, i, self.n_hashed_rows) for i in range(2)]
        return torch.cat(
            [torch.where(is_rare, places[0], first), torch.where(is_rare, places[1], zero)], dim=-1
        )

    def forward(self, codes: Tensor) -> Tensor:
        first, second = super().forward(codes).chunk(2, dim=-2)
        return first + second


def hashed_row(codes: Tensor, columns: Tensor, function: int, n_rows: int) -> Tensor:
    mixed = (codes * FACTORS[function] + (columns + 1) * 40_503 * FACTORS[1 - function]) % PRIMES[function]
    return (mixed * 48_271 % PRIMES[function]) % n_rows


def hash_rare(n_own: list[int], n_rows: int, model: MmoeRanker) -> None:
    model.item_codes = HashedCodes(model.item_codes, n_own, n_rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset", nargs="?", default="kuairand")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--settings", type=Path)
    parser.add_argument("--users", type=float, default=1.0, help="fraction of the users whose rows are read")
    parser.add_argument("--rows", type=int, default=100_000, help="training rows")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    prepared, settings = read_data(options)
    names, sizes = prepared.encoder.names["item_ids"], prepared.encoder.sizes["item_ids"]
    is_id = [name == "id" or name.endswith("_id") for name in names]
    print(json.dumps({"rows": prepared.n_shown, "columns": dict(zip(names, sizes, strict=True))}), flush=True)
    for fraction in (0.0, 0.1, 0.5, 1.0):
        pairs = list(zip(sizes, is_id, strict=True))
        n_own = [1 + round((1 - fraction) * (size - 1)) if is_hashed else size for size, is_hashed in pairs]
        rare = [(code, at) for at, size in enumerate(sizes) for code in range(n_own[at], size)]
        for n_rows in sorted({0, len(rare) // 8, len(rare) // 2}):
            codes, columns = torch.tensor(rare, dtype=torch.int64).reshape(-1, 2).unbind(dim=1)
            rows = zip(
                *(hashed_row(codes, columns, i, max(n_rows, 1)).tolist() for i in range(2)), strict=True
            )
            shared = sum(n for n in Counter(rows).values() if n > 1)
            facts = {"rare": fraction, "values": len(rare), "hashed_rows": n_rows, "share_both": shared}
            for seed in range(options.seeds):
                change = partial(hash_rare, n_own, n_rows)
                used = settings.replace(seed=seed)
                result = fork_ranks(1, False, train_ranker, prepared, used, options.rows, None, change)[0]
                print(json.dumps({**facts, "seed": seed, **result}), flush=True)


if __name__ == "__main__":
    main()
