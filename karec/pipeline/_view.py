"""What steps read of the item index, one generation of it, and of the live state, one moment: as types
alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Found(Protocol):
    """What a search of the item index found, best first; ``karec.SearchResult`` says what the arrays are."""

    @property
    def scores(self) -> NDArray[np.float32]: ...
    @property
    def ids(self) -> NDArray[np.int64]: ...
    @property
    def rows(self) -> NDArray[np.int32]: ...
    @property
    def positions(self) -> NDArray[np.int64]: ...
    @property
    def unknown(self) -> int: ...


Queries = Mapping[int, ArrayLike]


class IndexView(Protocol):
    """One generation of the item index: what a request reads. Rows mean the same work for as long as the view
    lives, whoever writes meanwhile. ``karec.ItemIndex.pinned`` gives one, and says what each call does."""

    @property
    def generation(self) -> int: ...
    @property
    def n_rows(self) -> int: ...
    @property
    def n_lists(self) -> int: ...
    def __len__(self) -> int: ...
    @property
    def ids(self) -> NDArray[np.int64]: ...
    @property
    def present(self) -> NDArray[np.bool_]: ...
    @property
    def model_versions(self) -> tuple[int, ...]: ...
    def found_here(self, rows: object) -> bool: ...
    def lookup(self, ids: ArrayLike, known: Any = None) -> NDArray[np.int32]: ...
    def search(
        self,
        query: ArrayLike | None = None,
        *,
        rows: ArrayLike | None = None,
        k: int,
        query_by_version: Queries | None = None,
    ) -> Found: ...
    def search_all(
        self,
        queries: ArrayLike | None = None,
        k: int = 1000,
        *,
        n_probe: int | None = None,
        query_by_version: Queries | None = None,
    ) -> Found: ...
    def scores(
        self,
        query: ArrayLike | None = None,
        *,
        ids: ArrayLike | None = None,
        query_by_version: Queries | None = None,
    ) -> NDArray[np.float32]: ...
    @property
    def dpp_select(self) -> Callable[..., Any]: ...
    def embeddings(self, rows: ArrayLike) -> NDArray[np.float32]: ...
    def model_versions_of(self, rows: ArrayLike) -> NDArray[np.int64]: ...
    def gather(self, column: str, rows: ArrayLike) -> NDArray[Any]: ...
    def close(self) -> None: ...


class OnlineView(Protocol):
    """What a request knows beyond its bundle, as of one moment. ``karec.online.view`` has the
    class.

    ``list_of``: the user's list of ids by its name, oldest first; None where nothing newer than the bundle is
    known.
    """

    @property
    def user(self) -> Any: ...
    @property
    def items(self) -> Any: ...
    @property
    def counter_names(self) -> Sequence[str]: ...
    def list_of(self, name: str) -> NDArray[np.int64] | None: ...


class Living(Protocol):
    """What happened since the bundle was made."""

    def view(self, user: int) -> tuple[OnlineView, str | None]:
        """What is known now, and why less is known than should be; None: all is."""


class Pinnable(Protocol):
    """An item index."""

    def pinned(self) -> IndexView: ...
