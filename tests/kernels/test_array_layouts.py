"""Arrays of foreign byte order, unaligned and strided arrays are read correctly or refused.

An ``out=`` that cannot be written in place is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from karec import _native
from karec.diversity import (
    NeighbourRule,
    arrange,
    dpp_select,
    dpp_select_kernel,
    mmr_select,
    ssd_select,
)
from karec.index import ItemIndex

Array = NDArray[Any]
N, DIM = 40, 5
RNG = np.random.default_rng(0)
IDS = RNG.permutation(1000)[:N]
VECTORS = RNG.standard_normal((N, DIM)).astype(np.float32)
RELEVANCE = RNG.standard_normal(N).astype(np.float32)
WEIGHTS = RNG.random(N).astype(np.float32)
TYPES = RNG.integers(0, 4, N)
ROWS = RNG.permutation(N).astype(np.int32)
ENDS = np.array([0, 15, N])
MOMENTS = RNG.integers(0, 10**12, N)
TONES = RNG.random(N)
QUERY = RNG.standard_normal(DIM).astype(np.float32)
KERNEL = (VECTORS @ VECTORS.T + np.eye(N)).astype(np.float64)
COLUMNS = {np.dtype(code).name: RNG.integers(0, 2, N).astype(code) for code in "?bhiqBHIQefd"}


def foreign(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder())


def unaligned(array: Array) -> Array:
    memory = np.empty(array.nbytes + 1, np.uint8)
    shifted = memory[1:].view(array.dtype).reshape(array.shape)
    shifted[...] = array
    assert array.itemsize == 1 or not shifted.flags.aligned
    return shifted


def strided(array: Array) -> Array:
    return np.repeat(array, 2, axis=-1)[..., ::2]


LAYOUTS = pytest.mark.parametrize("layout", [foreign, unaligned, strided])


def built(layout: Callable[[Array], Array] = lambda array: array, dtype: Any = "float32") -> ItemIndex:
    columns = {name: layout(column) for name, column in COLUMNS.items()}
    return ItemIndex.build(layout(IDS), layout(VECTORS.astype(np.float16)), dtype, columns)


def state(index: ItemIndex) -> list[Array]:
    return [index.ids, index.embeddings(ROWS), *index.columns.values()]


def written(layout: Callable[[Array], Array]) -> list[Array]:
    index = built()
    index.upsert(layout(IDS[:9] + 5000), layout(VECTORS[:9]), {n: layout(c[:9]) for n, c in COLUMNS.items()})
    index.adjust(layout(IDS[:9]), scale=layout(WEIGHTS[:9]), offset=layout(RELEVANCE[:9]))
    index.block(layout(IDS[9:12]))
    index.unblock(layout(IDS[9:10]))
    index.remove(layout(IDS[20:22]))
    return [*state(index), index.search(QUERY, N).scores, index.lookup(IDS)]


CALLS: dict[str, Callable[[Callable[[Array], Array]], Any]] = {
    "build": lambda layout: state(built(layout)),
    "build from float32": lambda layout: state(ItemIndex.build(layout(IDS), layout(VECTORS))),
    "write": written,
    "lookup": lambda layout: [built().lookup(layout(IDS))],
    "search": lambda layout: list(built().search(layout(QUERY), ids=layout(IDS), k=9)),
    "search rows": lambda layout: list(
        built().search(layout(QUERY.astype(np.float64)), rows=layout(ROWS), k=9)
    ),
    "search int64 rows": lambda layout: list(built().search(QUERY, rows=layout(ROWS.astype(np.int64)), k=9)),
    "search queries": lambda layout: list(built().search(layout(VECTORS[:2]), rows=layout(ROWS), k=9)),
    "search all": lambda layout: list(built().search(layout(VECTORS[:2]), 9, mask=layout(TYPES > 0))),
    "scores": lambda layout: [built().scores(layout(QUERY), rows=layout(ROWS))],
    "embeddings": lambda layout: [built().embeddings(layout(ROWS))],
    "gather": lambda layout: [built().gather(name, layout(ROWS)) for name in COLUMNS],
    "dpp of rows": lambda layout: built().dpp_select(
        layout(ROWS), layout(RELEVANCE), 9, weights=layout(WEIGHTS)
    ),
    "dpp": lambda layout: dpp_select(
        layout(VECTORS),
        layout(RELEVANCE),
        9,
        weights=layout(WEIGHTS),
        types=layout(TYPES),
        type_weight=0.2,
        shown=layout(VECTORS[:3]),
    ),
    "dpp of float16": lambda layout: dpp_select(layout(VECTORS.astype(np.float16)), layout(RELEVANCE), 9),
    "dpp_select_kernel": lambda layout: dpp_select_kernel(layout(KERNEL), 9),
    "mmr": lambda layout: mmr_select(layout(VECTORS), layout(RELEVANCE), 9, shown=layout(VECTORS[:3])),
    "ssd": lambda layout: ssd_select(layout(VECTORS.astype(np.float16)), layout(RELEVANCE), 9),
    "arrange": lambda layout: arrange(
        N, [NeighbourRule.from_values(layout(TYPES), window=4, shown=layout(TYPES[:3]))], N
    ),
    "arrange by labels": lambda layout: arrange(
        N, [NeighbourRule(layout(TYPES), layout(TYPES[::-1]), layout(TYPES[:3]))], N
    ),
    "freshness": lambda layout: [_native.freshness(layout(RELEVANCE), layout(MOMENTS), 10**12, 1.0, 24.0)],
    "tone": lambda layout: [
        _native.tone(layout(TONES), 0.5),
        _native.tone(layout(TONES.astype(np.float16)), 0.5),
    ],
    "quota": lambda layout: [_native.quota(layout(RELEVANCE), layout(TYPES), 2)],
    "standardise": lambda layout: [_native.standardise(layout(RELEVANCE))],
}


@LAYOUTS
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_calls_accept_any_array_layout(
    call: Callable[[Callable[[Array], Array]], Any], layout: Callable[[Array], Array]
) -> None:
    for got, expected in zip(values_of(call(layout)), values_of(call(lambda array: array)), strict=True):
        np.testing.assert_array_equal(got, expected)


def values_of(result: Any) -> list[Any]:
    return list(result) if isinstance(result, list) else list(vars(result).values())


@LAYOUTS
def test_scores_rejects_an_out_it_cannot_write_in_place(layout: Callable[[Array], Array]) -> None:
    out = layout(np.full(N, 7.0, np.float32))
    with pytest.raises(
        ValueError,
        match=r"out has shape \(40,\).*expected \(40,\) float32, C-contiguous, "
        r"aligned",
    ):
        built().scores(QUERY, rows=ROWS, out=out)
    assert (out == 7).all()


def test_column_of_foreign_byte_order_opens_native(tmp_path: Path) -> None:
    built(foreign).save(tmp_path / "index")
    opened = ItemIndex.open(tmp_path / "index")
    for name, column in COLUMNS.items():
        np.testing.assert_array_equal(opened.columns[name], column)
