"""Examples as tensors. Each example is encoded once, and each item of a batch's lists is gathered once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR
from karec.errors import DataError
from karec.features.crosses import SOCIAL_EDGES
from karec.features.encoded_snapshot import take_vectors
from karec.features.encoder import CONTENT, Encoder
from karec.learn._torch import Tensor, torch
from karec.samples.examples import Examples
from karec.times import Progress

CHUNK = 2048
IN_ORDER = 1024  # rows per prediction; with more, the counts of codes do not fit the processor's caches
LISTS = ("history", "skipped")
NUMBERS = ("user_numbers", "item_numbers", "crosses")
QUANTILE_ROWS = 50_000


class Batches:
    """M encoded examples. ``inputs(rows)`` returns those of ``Examples.inputs``, with positions, as tensors.

    Inputs stay in memory and each batch is moved to ``device``; labels are on ``device``. Instead of the
    codes of ``history`` and ``skipped`` a batch has ``works (K, I)``, the codes of the K items in its lists
    (zeros for padding), and ``history_at``, ``skipped_at (B, H)``, the row of each slot in ``works``.
    ``follows`` and ``friends`` have only known creators, in any order, with as many columns as the longest
    row of the batch needs. Memory per row: about 4 bytes a number, 8 a code, 4 a history slot and 4 a social
    edge; the vectors of items, ``item_content``, are stored once per item.
    """

    def __init__(
        self,
        examples: Examples,
        names: Sequence[str],
        progress: Progress | None = None,
        device: str = "cpu",
        *,
        more: Sequence[Examples] = (),
    ) -> None:
        """Encodes ``examples`` and, after them, those of ``more``, which may show items of other types."""
        parts = (examples, *more)
        width = examples.encoder.history_length
        self.device = torch.device(device)
        self.labels = torch.from_numpy(np.concatenate([part.labels for part in parts])).to(self.device)
        works = examples.encoder.tables(examples.snapshot).works
        self._item_ids = torch.from_numpy(works.ids)
        self._item_content = torch.from_numpy(take_vectors(works, None, np.arange(-1, len(works.ids) - 1)))
        rows_of_more = np.full(len(self.labels) - len(examples), -1)  # other types have no vectors
        self._item_rows = torch.from_numpy(np.concatenate([examples.item_rows, rows_of_more]))
        lists = {
            name: np.concatenate([part.relations[name].latest(width) for part in parts]).astype(np.int32)
            for name in LISTS
            if name in names
        }
        self._lists = {name: torch.from_numpy(slots) for name, slots in lists.items()}
        plain = [name for name in names if name not in (*LISTS, CONTENT)]
        chunks: dict[str, list[Tensor]] = {name: [] for name in plain}
        n_done, encoder = 0, examples.encoder
        for part, rows in _chunks(parts):
            inputs = part.inputs(rows, with_position=True)
            for name in plain:
                values = _known_creators(encoder, inputs[name]) if name in SOCIAL_EDGES else inputs[name]
                chunks[name].append(torch.from_numpy(values))
            n_done += len(rows)
            if progress is not None:
                progress(n_done, len(self.labels), "encoding examples")
        self._plain = {name: torch.cat(parts) for name, parts in chunks.items()}
        for name in SOCIAL_EDGES:
            if name in self._plain:
                self._plain[name] = _trimmed(self._plain[name]).contiguous()

    @property
    def names(self) -> tuple[str, ...]:
        content = (CONTENT,) if self._item_content.shape[1] else ()
        return (*self._plain, *content, *self._lists)

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(
        self,
        rows: Tensor | slice,
        names: Sequence[str] | None = None,
        history: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Returns the inputs ``names`` (default: all) of the examples at ``rows``.

        ``history (B, H)``: rows of items, −1 for an empty slot; replaces the examples' own history.
        """
        selected = self.names if names is None else names
        result = {name: self._plain[name][rows] for name in selected if name in self._plain}
        if CONTENT in selected:
            result[CONTENT] = self.item_content(self._item_rows[rows])
        result |= {name: _trimmed(result[name]).long() for name in SOCIAL_EDGES if name in result}
        lists = {name: self._lists[name][rows].long() for name in selected if name in self._lists}
        if history is not None and "history" in lists:
            lists["history"] = history
        if lists:
            items, places = _distinct(
                torch.cat([slots.flatten() for slots in lists.values()]), len(self._item_ids)
            )
            parts = torch.split(places, [slots.numel() for slots in lists.values()])
            result |= {
                f"{name}_at": part.view_as(lists[name]) for name, part in zip(lists, parts, strict=True)
            }
            result["works"] = self._item_ids.index_select(0, items)
        return {name: value.to(self.device) for name, value in result.items()}

    def item_ids(self, items: Tensor) -> Tensor:
        return self._item_ids[items].to(self.device)

    def item_content(self, items: Tensor) -> Tensor:
        """Returns (N, V) vectors of item rows, zeros for row −1."""
        return self._item_content[items + 1].to(self.device)

    def edges(self, bins: int) -> dict[str, Tensor]:
        """Returns (F, bins + 1) quantiles per number, from a sample of the examples.

        If items have vectors, also ``item_content``: (V, 2) mean and standard deviation of their numbers.
        """
        stride = max(len(self) // QUANTILE_ROWS, 1)
        levels = torch.linspace(0.0, 1.0, bins + 1)
        edges = {
            name: torch.quantile(self._plain[name][::stride], levels, dim=0).T.contiguous()
            for name in NUMBERS
            if name in self._plain
        }
        if self._item_content.shape[1]:
            vectors = self._item_content[torch.unique(self._item_rows[::stride]) + 1]
            vectors = vectors[vectors.any(dim=1)]
            if not len(vectors):
                raise DataError(
                    "the vectors of all shown items are missing (NaN) or 0. Fill in the column that "
                    "roles.vector in data.toml names, or leave roles.vector out"
                )
            edges[CONTENT] = torch.stack([vectors.mean(dim=0), vectors.std(dim=0, correction=0)], dim=1)
        return edges

    def in_order(self, names: Sequence[str], size: int = IN_ORDER) -> Iterator[dict[str, Tensor]]:
        for begin in range(0, len(self), size):
            yield self.inputs(slice(begin, begin + size), names)


def _chunks(parts: Sequence[Examples]) -> Iterator[tuple[Examples, NDArray[Any]]]:
    """Yields all rows of each part, in order."""
    for part in parts:
        for begin in range(0, len(part), CHUNK):
            yield part, np.arange(begin, min(begin + CHUNK, len(part)))


def _distinct(rows: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Returns the K distinct values of ``rows (S,)`` and the index (S,) of each row among them.

    ``rows``: item rows; −1, an empty slot, is the table's last row n − 1, whose codes are all 0. O(S + K); a
    mask over all items would cost O(n) per batch.
    """
    slots = rows.numpy() % n
    order = np.arange(len(slots), dtype=np.int32)
    last = np.empty(n, np.int32)  # only written places are read
    last[slots] = order
    distinct = slots[last[slots] == order]
    last[distinct] = order[: len(distinct)]
    return torch.from_numpy(distinct), torch.from_numpy(last[slots].astype(np.int64))


def _known_creators(encoder: Encoder, codes: NDArray[Any]) -> NDArray[Any]:
    """Returns ``codes (N, L)`` as int32, descending, unseen ones 0. Models ignore their order."""
    names, sizes = encoder.names["item_ids"], encoder.sizes["item_ids"]
    known = codes < (sizes[names.index(CREATOR)] if CREATOR in names else 0)
    return -np.sort(-np.where(known, codes, 0).astype(np.int32), axis=1)


def _trimmed(edges: Tensor) -> Tensor:
    """Returns ``edges (N, L)``, rows descending, cut to the longest row, at least one column."""
    longest = int((edges > 0).sum(dim=1).max()) if len(edges) else 0
    return edges[:, : max(longest, 1)]
