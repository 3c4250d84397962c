"""Examples as tensors. A user side is encoded once, and each item of a batch's lists is gathered once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from karec.catalog.snapshot import Snapshot
from karec.errors import DataError
from karec.features.crosses import SOCIAL_EDGES
from karec.features.encoded_snapshot import take_vectors
from karec.features.encoder import CONTENT, USER_SIDE, Encoder
from karec.learn._torch import Tensor, torch
from karec.learn.distributed.step import rank_parts
from karec.learn.fit.loop import shuffle
from karec.samples.encoded_rows import LISTS, EncodedRows, encode_rows
from karec.samples.examples import Examples
from karec.times import Progress

CHUNK = 2048
IN_ORDER = 1024  # rows per prediction; with more, the counts of codes do not fit the processor's caches
NUMBERS = ("user_numbers", "item_numbers", "crosses")
QUANTILE_ROWS = 50_000


class Batch(NamedTuple):
    """Rows of one training step.

    numbers   (B,) numbers of the rows in the training
    source    encoded rows that contain them
    rows      (B,) their rows in ``source``
    """

    numbers: Tensor
    source: Batches
    rows: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def labels(self) -> Tensor:
        """(B, T) float32."""
        return self.source.labels[self.rows]

    def inputs(self, names: Sequence[str]) -> dict[str, Tensor]:
        return self.source.inputs(self.rows, names)

    def inputs_by_user(self, names: Sequence[str]) -> dict[str, Tensor]:
        return self.source.inputs_by_user(self.rows, names)


@dataclass(frozen=True, eq=False)
class ItemInputs:
    """Inputs of n items by item row.

    ids (n + 1, I) int64   codes; the last row is that of row −1, no item, with zeros
    content (n + 1, V)     float32 vectors; the first row is that of row −1
    """

    ids: Tensor
    content: Tensor

    @classmethod
    def from_snapshot(cls, encoder: Encoder, snapshot: Snapshot) -> ItemInputs:
        works = encoder.tables(snapshot).works
        content = take_vectors(works, None, np.arange(-1, len(works.ids) - 1))
        return cls(torch.from_numpy(works.ids), torch.from_numpy(content))


class Batches:
    """M encoded examples with labels. ``inputs`` and ``inputs_by_user`` return inputs of some as tensors.

    ``sides (M,)`` is the user side of each example, see ``Examples.user_sides``. Inputs of users are stored
    once per user side, vectors of items, ``item_content``, once per item. They stay in memory and
    each batch is moved to ``device``; labels are on ``device``. Instead of the codes of ``history`` and
    ``skipped`` a batch has ``works (K, I)``, the codes of the K items in its lists (zeros for padding), and
    ``history_at``, ``skipped_at (U, H)``, the row of each slot in ``works``. ``follows`` and ``friends`` have
    only known creators, in any order, with as many columns as the longest row of the batch needs. Memory per
    row or user side: about 4 bytes a number, 8 a code, 4 a history slot and 4 a social edge.
    """

    def __init__(self, rows: EncodedRows, items: ItemInputs, device: torch.device) -> None:
        self.device, self.items = device, items
        self.labels = torch.from_numpy(rows.labels).to(device)
        self.sides, self.numbers = torch.from_numpy(rows.sides), torch.from_numpy(rows.numbers)
        self._item_rows = torch.from_numpy(rows.item_rows)
        tensors = {name: torch.from_numpy(values) for name, values in rows.inputs.items()}
        trimmed = {name: _trimmed(tensors[name]).contiguous() for name in SOCIAL_EDGES if name in tensors}
        self._inputs = tensors | trimmed

    @classmethod
    def from_examples(
        cls,
        examples: Examples,
        names: Sequence[str],
        progress: Progress | None = None,
        device: str = "cpu",
        *,
        more: Sequence[Examples] = (),
    ) -> Batches:
        """Encodes ``examples`` and, after them, those of ``more``, which may show items of other types."""
        items = ItemInputs.from_snapshot(examples.encoder, examples.snapshot)
        rows = _encode((examples, *more), [name for name in names if name != CONTENT], progress)
        return cls(rows, items, torch.device(device))

    @property
    def names(self) -> tuple[str, ...]:
        content = (CONTENT,) if self.items.content.shape[1] else ()
        return (*self._inputs, *content)

    def __len__(self) -> int:
        return len(self.labels)

    def epoch(
        self, generator: torch.Generator, batch_size: int, n_rows: int, *, by_user: bool
    ) -> Iterator[Batch]:
        """Yields this rank's part of the first ``n_rows`` rows in random batches; ``by_user``: in parts of
        user sides."""
        groups = self.sides[:n_rows] if by_user else None
        for rows in rank_parts(shuffle(n_rows, batch_size, generator, groups)):
            yield Batch(self.numbers[rows], self, rows)

    def inputs(
        self,
        rows: Tensor | slice,
        names: Sequence[str] | None = None,
        history: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Returns the inputs ``names`` (default: all) of the examples at ``rows``, one row for each example.

        ``history (B, H)``: rows of items, −1 for an empty slot; replaces the examples' own history.
        """
        return self._select(rows, self.sides[rows], self.names if names is None else names, history)

    def inputs_by_user(self, rows: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Returns the inputs ``names`` of the examples at ``rows (B,)``, with a row per user side for users.

        The inputs of users have U ≤ B rows. The result also has ``slots (U, G)``, the indices into ``rows``
        of the items of each user side (a free slot has any index), and ``slot_of (B,)``, the slot of each
        item. G is the mean number of rows per user side, rounded up. A user side with more rows than G is
        repeated, so U·G < 2·B.
        """
        users, slots, slot_of = _group(self.sides[rows].numpy())
        inputs = self._select(rows, users, names)
        return inputs | {"slots": slots.to(self.device), "slot_of": slot_of.to(self.device)}

    def _select(
        self, rows: Tensor | slice, users: Tensor, names: Sequence[str], history: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Returns the inputs of the items of ``rows``, and of the user sides ``users``."""
        inputs = {
            name: self._inputs[name][users if name in USER_SIDE else rows]
            for name in names
            if name != CONTENT
        }
        lists = {name: inputs.pop(name).long() for name in LISTS if name in inputs}
        if CONTENT in names:
            inputs[CONTENT] = self.item_content(self._item_rows[rows])
        inputs |= {name: _trimmed(inputs[name]).long() for name in SOCIAL_EDGES if name in inputs}
        if history is not None and "history" in lists:
            lists["history"] = history
        if lists:
            items, places = _distinct(
                torch.cat([slots.flatten() for slots in lists.values()]), len(self.items.ids)
            )
            parts = torch.split(places, [slots.numel() for slots in lists.values()])
            inputs |= {
                f"{name}_at": part.view_as(lists[name]) for name, part in zip(lists, parts, strict=True)
            }
            inputs["works"] = self.items.ids.index_select(0, items)
        return {name: value.to(self.device) for name, value in inputs.items()}

    def item_ids(self, items: Tensor) -> Tensor:
        return self.items.ids[items].to(self.device)

    def item_content(self, items: Tensor) -> Tensor:
        """Returns (N, V) vectors of item rows, zeros for row −1."""
        return self.items.content[items + 1].to(self.device)

    def edges(self, bins: int) -> dict[str, Tensor]:
        """Returns (F, bins + 1) quantiles per number, from a sample of the examples.

        If items have vectors, also ``item_content``: (V, 2) mean and standard deviation of their numbers.
        """
        stride = max(len(self) // QUANTILE_ROWS, 1)
        levels = torch.linspace(0.0, 1.0, bins + 1)
        edges = {
            name: torch.quantile(
                self._inputs[name][self.sides[::stride] if name in USER_SIDE else slice(None, None, stride)],
                levels,
                dim=0,
            ).T.contiguous()
            for name in NUMBERS
            if name in self._inputs
        }
        if self.items.content.shape[1]:
            vectors = self.items.content[torch.unique(self._item_rows[::stride]) + 1]
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


def _encode(parts: Sequence[Examples], names: Sequence[str], progress: Progress | None) -> EncodedRows:
    """Returns the rows of ``parts``, one after the other, in chunks of whole user sides."""
    encoder, sides_of_parts = parts[0].encoder, [part.user_sides() for part in parts]
    n_rows, n_sides = sum(map(len, parts)), sum(len(first) for first, _ in sides_of_parts)
    inputs: dict[str, NDArray[Any]] = {}
    for name in names:
        dtype, shape = encoder.inputs[name]
        shape = (encoder.history_length,) if name in LISTS else shape
        dtype = "int32" if name in (*LISTS, *SOCIAL_EDGES) else dtype
        inputs[name] = np.empty((n_sides if name in USER_SIDE else n_rows, *shape), dtype)
    sides = np.empty(n_rows, np.int64)
    begin, first_side = 0, 0
    for part, (first, side) in zip(parts, sides_of_parts, strict=True):
        sides[begin : begin + len(part)] = first_side + side
        order = np.argsort(side, kind="stable")
        for at in range(0, len(part), CHUNK):
            rows = order[at : at + CHUNK]
            encoded = encode_rows(part, rows, names)
            sides_of_users = first_side + np.unique(side[rows])
            for name, values in encoded.inputs.items():
                inputs[name][sides_of_users if name in USER_SIDE else begin + rows] = values
            if progress is not None:
                progress(begin + at + len(rows), n_rows, "encoding examples")
        begin, first_side = begin + len(part), first_side + len(first)
    item_rows = [part.item_rows for part in parts[:1]]
    item_rows += [np.full(len(part), -1) for part in parts[1:]]  # other types have no vectors
    labels = np.concatenate([part.labels for part in parts])
    return EncodedRows(inputs, sides, labels, np.concatenate(item_rows), np.arange(n_rows))


def _group(sides: NDArray[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Returns users (U,), slots (U, G) and slot_of (B,) of ``sides (B,)``, see ``Batches.inputs_by_user``."""
    order = np.argsort(sides, kind="stable")
    distinct, first, n_rows = np.unique(sides[order], return_index=True, return_counts=True)
    size = -(-len(sides) // max(len(distinct), 1))
    n_parts = -(-n_rows // size)
    place = np.arange(len(sides)) - np.repeat(first, n_rows)
    slot = np.repeat((np.cumsum(n_parts) - n_parts) * size, n_rows) + place
    slots = np.zeros(n_parts.sum() * size, np.int64)
    slots[slot] = order
    slot_of = np.empty(len(sides), np.int64)
    slot_of[order] = slot
    users = torch.from_numpy(np.repeat(distinct, n_parts))
    return users, torch.from_numpy(slots).reshape(-1, size), torch.from_numpy(slot_of)


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


def _trimmed(edges: Tensor) -> Tensor:
    """Returns ``edges (N, L)``, rows descending, cut to the longest row, at least one column."""
    longest = int((edges > 0).sum(dim=1).max()) if len(edges) else 0
    return edges[:, : max(longest, 1)]
