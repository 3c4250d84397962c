"""Examples as tensors: every example is encoded once, and each work of a batch's histories is gathered
once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR
from karec.features.crosses import SOCIAL_EDGES
from karec.features.encoder import Encoder
from karec.learn._torch import Tensor, torch
from karec.learn.fit.list_counts import ListCounts
from karec.samples.examples import Examples
from karec.times import Progress

CHUNK = 2048
IN_ORDER = 1024  # rows that a model predicts at once; of more, counts of codes leave the processor's caches
LISTS = ("history", "skipped")
NUMBERS = ("user_numbers", "item_numbers")
QUANTILE_ROWS = 50_000


class Batches:
    """M examples, encoded by their encoder. ``inputs(rows)`` is what ``Examples.inputs`` gives, as tensors.

    Inputs are held in memory and moved to ``device`` batch by batch; labels lie on ``device``. In place of
    the codes ``history`` and ``skipped`` a batch has ``works (K, I)``, the codes of the K works in its lists
    (zeros for padding), and ``history_at``, ``skipped_at (B, H)``, the row of each slot in ``works``.
    ``follows`` and ``friends`` hold the known creators alone, in any order, in as many columns as the longest
    row of a batch needs. Memory: about 4 bytes a number, 8 a code, 4 a history slot and 4 a social edge for
    each row.
    """

    def __init__(
        self, examples: Examples, names: Sequence[str], progress: Progress | None = None, device: str = "cpu"
    ) -> None:
        n = len(examples)
        width = examples.encoder.history_length
        self.device = torch.device(device)
        self.labels = torch.from_numpy(examples.labels).to(self.device)
        self._works = torch.from_numpy(examples.encoder.tables(examples.snapshot).works.ids)
        lists = {
            name: examples.relations[name].latest(width).astype(np.int32) for name in LISTS if name in names
        }
        self._lists = {name: torch.from_numpy(slots) for name, slots in lists.items()}
        self._counts = ListCounts.made(examples, lists)
        plain = [name for name in names if name not in LISTS]
        chunks: dict[str, list[Tensor]] = {name: [] for name in plain}
        for begin in range(0, n, CHUNK):
            inputs = examples.inputs(np.arange(begin, min(begin + CHUNK, n)))
            for name in plain:
                values = (
                    _known_creators(examples.encoder, inputs[name]) if name in SOCIAL_EDGES else inputs[name]
                )
                chunks[name].append(torch.from_numpy(values))
            if progress is not None:
                progress(min(begin + CHUNK, n), n, "encoding examples")
        self._plain = {name: torch.cat(parts) for name, parts in chunks.items()}
        for name in SOCIAL_EDGES:
            if name in self._plain:
                self._plain[name] = _as_long_as_needed(self._plain[name]).contiguous()

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs that it can give."""
        return (*self._plain, *self._lists)

    def __len__(self) -> int:
        return len(self.labels)

    def followed_by(self, examples: Examples, progress: Progress | None = None) -> Batches:
        """These examples, then ``examples`` of the same encoder and snapshot, which alone are encoded."""
        more, joined = Batches(examples, self.names, progress, str(self.device)), copy.copy(self)
        joined.labels = torch.cat([self.labels, more.labels])
        joined._lists = {name: torch.cat([own, more._lists[name]]) for name, own in self._lists.items()}
        joined._plain = {
            name: _one_below_the_other(own, more._plain[name]) for name, own in self._plain.items()
        }
        both = self._counts is not None and more._counts is not None
        joined._counts = self._counts.followed_by(more._counts) if both else None  # type: ignore[union-attr, arg-type]
        return joined

    def inputs(
        self,
        rows: Tensor | slice,
        names: Sequence[str] | None = None,
        history: Tensor | None = None,
        counted: bool = False,
    ) -> dict[str, Tensor]:
        """The inputs ``names`` (all by default) of the examples at ``rows``. ``history (B, H)``, rows of
        works, −1 where a slot is empty, stands in place of the examples' own. ``counted``: with the counts of
        the lists' codes, ``<list>_counts``, where there are some (``ListCounts``).
        """
        wanted = (*self._plain, *self._lists) if names is None else names
        found = {name: self._plain[name][rows] for name in wanted if name not in self._lists}
        found |= {name: _as_long_as_needed(found[name]).long() for name in SOCIAL_EDGES if name in found}
        lists = {name: self._lists[name][rows].long() for name in wanted if name in self._lists}
        if history is not None and "history" in lists:
            lists["history"] = history
        if lists:
            works, at = _told_apart(
                torch.cat([slots.flatten() for slots in lists.values()]), len(self._works)
            )
            parts = torch.split(at, [slots.numel() for slots in lists.values()])
            found |= {
                f"{name}_at": part.view_as(lists[name]) for name, part in zip(lists, parts, strict=True)
            }
            found["works"] = self._works.index_select(0, works)
        if counted and self._counts is not None and history is None:
            found |= {f"{name}_counts": self._counts.of(name, rows) for name in lists}
        return {name: value.to(self.device) for name, value in found.items()}

    def work_ids(self, works: Tensor) -> Tensor:
        """item_ids (…, I) of the rows ``works (…)`` of works."""
        return self._works[works].to(self.device)

    def edges(self, bins: int) -> dict[str, Tensor]:
        """For user_numbers and item_numbers: (F, bins + 1) quantiles of each number over (a sample of) the
        examples."""
        every = max(len(self) // QUANTILE_ROWS, 1)
        levels = torch.linspace(0.0, 1.0, bins + 1)
        return {
            name: torch.quantile(self._plain[name][::every], levels, dim=0).T.contiguous() for name in NUMBERS
        }

    def in_order(self, names: Sequence[str], size: int = IN_ORDER) -> Iterator[dict[str, Tensor]]:
        """Batches of all examples, first to last."""
        for begin in range(0, len(self), size):
            yield self.inputs(slice(begin, begin + size), names)


def _told_apart(rows: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """(K,) different ones of ``rows (S,)``, rows of works, and (S,) the place of each among them. −1, an
    empty slot, is the table's last row, n − 1, whose codes are all 0. O(S + K), where a mask over all works
    costs O(n) a batch.
    """
    slots = rows.numpy() % n
    order = np.arange(len(slots), dtype=np.int32)
    last = np.empty(n, np.int32)  # read where it was written alone
    last[slots] = order
    works = slots[last[slots] == order]
    last[works] = order[: len(works)]
    return torch.from_numpy(works), torch.from_numpy(last[slots].astype(np.int64))


def _known_creators(encoder: Encoder, codes: NDArray[Any]) -> NDArray[Any]:
    """``codes (N, L)`` of creators → int32, descending, unseen ones 0; their order says nothing to models."""
    names, sizes = encoder.names["item_ids"], encoder.sizes["item_ids"]
    known = codes < (sizes[names.index(CREATOR)] if CREATOR in names else 0)
    return -np.sort(-np.where(known, codes, 0).astype(np.int32), axis=1)


def _one_below_the_other(above: Tensor, below: Tensor) -> Tensor:
    """Both ``(·, L)``, the narrower one with zeros behind its columns."""
    width = max(above.shape[1], below.shape[1])
    return torch.cat([torch.nn.functional.pad(each, (0, width - each.shape[1])) for each in (above, below)])


def _as_long_as_needed(edges: Tensor) -> Tensor:
    """``edges (N, L)``, rows descending → as many columns as the longest row has codes, one at least."""
    longest = int((edges > 0).sum(dim=1).max()) if len(edges) else 0
    return edges[:, : max(longest, 1)]
