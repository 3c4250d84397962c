from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_F32 = NDArray[np.float32]
_I32 = NDArray[np.int32]
_I64 = NDArray[np.int64]

def isa() -> str: ...

class ItemIndex:
    @staticmethod
    def build(
        ids: ArrayLike,
        embeddings: ArrayLike,
        dtype: str,
        columns: Sequence[tuple[str, NDArray[Any]]],
        model_version: int,
    ) -> ItemIndex: ...
    @staticmethod
    def open(path: bytes) -> ItemIndex: ...
    def save(self, path: bytes) -> None: ...
    def __len__(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def model_version(self) -> int: ...
    @property
    def generation(self) -> int: ...
    def ids(self) -> _I64: ...
    def columns(self) -> dict[str, NDArray[Any]]: ...
    def lookup(self, ids: ArrayLike) -> _I32: ...
    def search(self, query: ArrayLike, rows: ArrayLike, k: int) -> tuple[_F32, _I64, _I32, _I64, int]: ...
    def search_all(
        self, queries: ArrayLike, k: int, mask: ArrayLike | None
    ) -> tuple[_F32, _I64, _I32, _I64, list[int]]: ...
    def scores(self, query: ArrayLike, rows: ArrayLike, out: _F32) -> None: ...
    def embeddings(self, rows: ArrayLike) -> _F32: ...

def dpp_alpha(diversity: float) -> float: ...
def dpp_select(
    embeddings: ArrayLike, relevance: ArrayLike, k: int, **told: Any
) -> tuple[_I64, NDArray[np.float64], float, int]: ...
def dpp_select_batch(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    indptr: ArrayLike,
    shown_indptr: ArrayLike | None,
    k: int,
    **told: Any,
) -> tuple[_I64, NDArray[np.float64], NDArray[np.float64], _I64]: ...
def dpp_select_kernel(
    kernel: ArrayLike, k: int, window: int | None
) -> tuple[_I64, NDArray[np.float64], float, int]: ...
def dpp_select_columns(
    column: Callable[[int], ArrayLike], diagonal: ArrayLike, k: int, window: int | None
) -> tuple[_I64, NDArray[np.float64], float, int]: ...
def mmr_select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    diversity: float,
    window: int | None,
    shown: ArrayLike | None,
) -> tuple[_I64, NDArray[np.float64]]: ...
def ssd_select(
    embeddings: ArrayLike,
    relevance: ArrayLike,
    k: int,
    diversity: float,
    window: int | None,
    shown: ArrayLike | None,
) -> tuple[_I64, NDArray[np.float64]]: ...
def scatter(
    n: int, rules: Sequence[tuple[NDArray[np.int64], int, int, NDArray[np.int64]]], k: int
) -> tuple[_I64, list[tuple[int, int, int]]]: ...
