"""The answer to a request: the feed, how it came about, and the ids as the platform has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from karec.pipeline.trace import Short, Trace
from karec.pipeline.types import EMPTY, Candidates, Request


@dataclass(frozen=True)
class PageItem:
    """One place in a feed."""

    position: int
    id: int | str
    score: float
    recalled_by: tuple[str, ...]
    columns: Mapping[str, Any]


class IdNames(Protocol):
    """Between a platform's ids and the numbers that steps see."""

    def numbered(self, request: Request) -> Request:
        """``request`` with numbers for ids. ValueError for an id of another kind than the platform's."""

    def named(self, answer: Page, request: Request) -> Page:
        """``answer`` to ``request``, with the ids of its works."""

    def number_of(self, item: int | str) -> int:
        """The number of the item with this id. ValueError for an id of another kind than the items'."""


@dataclass(frozen=True, eq=False)
class Page:
    """The answer: the feed, how it came about, and what it was made with.

    ``scored`` holds, for each stage, its candidates before its first selector cut them: what the rank log and
    explanations need. ``degraded`` names the steps that failed and were passed over (``recall.social``), and
    what gave way to its substitute for lack of time, a step or a stage (``rank: no time``); the trace has the
    reasons. ``cold_start`` is true when the user is unknown. ``versions`` names what this request read: model
    version, bundle, ``index_generation`` and the index's ``model_versions``, of recall's own space
    ``recall_generation`` and ``recall_model_versions``, of a live state ``live_batch``, how many batches of
    events had been followed. ``short`` says why there are fewer works than the request wanted, None where
    there are as many. ``names`` are the works' ids as the platform has them; None where they are the numbers
    of ``candidates``.
    """

    request: Request
    candidates: Candidates
    trace: Trace
    scored: Mapping[str, Candidates] = field(default_factory=lambda: EMPTY)
    channels: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    cold_start: bool = False
    versions: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    short: Short | None = None
    names: tuple[int | str, ...] | None = None

    def __len__(self) -> int:
        return len(self.candidates)

    def __iter__(self) -> Iterator[PageItem]:
        return iter(self.items)

    @property
    def items(self) -> tuple[PageItem, ...]:
        c = self.candidates
        names = c.ids.tolist() if self.names is None else self.names
        columns = {name: value.tolist() for name, value in c.columns.items() if value.ndim == 1}
        sources = c.sources.tolist()
        found_by = {bits: self._channels_of(bits) for bits in set(sources)}
        return tuple(
            PageItem(
                i, names[i], score, found_by[bits], {name: values[i] for name, values in columns.items()}
            )
            for i, (score, bits) in enumerate(zip(c.scores.tolist(), sources, strict=True))
        )

    def _channels_of(self, bits: int) -> tuple[str, ...]:
        return tuple(name for bit, name in enumerate(self.channels) if bits >> bit & 1)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: items, trace, degraded, cold_start, versions, short."""
        return {
            "request_id": self.request.request_id,
            "user_id": self.request.user_id,
            "scene": self.request.scene,
            "items": [
                {"position": i.position, "id": i.id, "score": i.score, "recalled_by": list(i.recalled_by)}
                for i in self
            ],
            "trace": [step.as_dict() for step in self.trace.steps],
            "degraded": list(self.degraded),
            "cold_start": self.cold_start,
            "versions": dict(self.versions),
            "short": None if self.short is None else self.short.as_dict(),
        }
