"""What flows through the cascade: a request goes in, candidates travel as arrays, a recommendation comes out.

All of it is frozen: a step returns values and changes nothing. Only ``Candidates.take`` drops or reorders, and only
the framework (``karec.stage``) calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from operator import index
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
EMPTY: Mapping[str, Any] = MappingProxyType({})
UNKNOWN_ROW = -1


def _whole_number(name: str, value: Any) -> None:
    """Ids and moments are int64 wherever they go next."""
    try:
        whole = index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, got {value!r}") from None
    if not -(2**63) <= whole < 2**63:
        raise ValueError(f"{name} must fit 64 bits, got {value!r}")


@dataclass(frozen=True, eq=False)
class Request:
    """One call for a feed.

    ``time_ms`` is the moment of the request (Unix milliseconds); features, freshness and the log are computed as of
    it. ``shown`` are work ids that this session has already seen. ``features`` holds what request hydrators add:
    user features, padded history, the user vector. ``explain`` asks the steps that can for the reasons of their choice.
    """

    user_id: int
    k: int = 10
    scene: str = "home"
    time_ms: int | None = None
    shown: tuple[int, ...] = ()
    request_id: str = ""
    explain: bool = False
    features: Mapping[str, Array] = field(default_factory=lambda: EMPTY)

    def __post_init__(self) -> None:
        for name, value in (("user_id", self.user_id), ("k", self.k), ("time_ms", self.time_ms or 0)):
            _whole_number(name, value)
        for work in self.shown:
            _whole_number("shown", work)
        if self.k <= 0:
            raise ValueError(f"k must be positive, got {self.k}")

    def with_features(self, features: Mapping[str, Array]) -> Request:
        """A copy whose ``features`` also hold ``features``."""
        return replace(self, features=MappingProxyType({**self.features, **features}))


def _column(name: str, value: Array, n: int, dtype: type | None) -> Array:
    array = np.asarray(value) if dtype is None else np.asarray(value, dtype=dtype)
    if array.ndim == 0 or len(array) != n:
        raise ValueError(f"candidates: {name} has shape {array.shape}, expected ({n},{' …' if dtype is None else ''})")
    return array


@dataclass(frozen=True, eq=False)
class Candidates:
    """N candidate works as a struct of arrays.

    ids      (N,) int64    work ids, unique after recall
    rows     (N,) int32    row in the item index, −1 = the index does not know the work
    scores   (N,) float32  the score of the last scorer (higher is better)
    sources  (N,) uint32   bit c set = recall channel c found it
    columns  {name: (N, …)} whatever hydrators added
    """

    ids: Array
    rows: Array
    scores: Array
    sources: Array
    columns: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ids = np.asarray(self.ids, dtype=np.int64)
        if ids.ndim != 1:
            raise ValueError(f"candidates: ids has shape {ids.shape}, expected (N,)")
        n = len(ids)
        put = object.__setattr__
        put(self, "ids", ids)
        put(self, "rows", _column("rows", self.rows, n, np.int32))
        put(self, "scores", _column("scores", self.scores, n, np.float32))
        put(self, "sources", _column("sources", self.sources, n, np.uint32))
        columns = {name: _column(f"column {name!r}", value, n, None) for name, value in self.columns.items()}
        put(self, "columns", MappingProxyType(columns))

    @classmethod
    def of(cls, ids: Array, scores: Array | None = None, **columns: Array) -> Candidates:
        """Candidates of bare ids: rows unknown, no source bit, scores 0 unless given."""
        n = len(ids)
        return cls(
            ids=ids,
            rows=np.full(n, UNKNOWN_ROW, np.int32),
            scores=np.zeros(n, np.float32) if scores is None else scores,
            sources=np.zeros(n, np.uint32),
            columns=columns,
        )

    @classmethod
    def empty(cls) -> Candidates:
        return cls.of(np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_unknown(self) -> int:
        """How many candidates the item index does not know."""
        return int(np.count_nonzero(self.rows < 0))

    def take(self, selector: Array) -> Candidates:
        """The candidates at ``selector`` (indices, or a boolean mask), in that order. O(len(selector))."""
        return Candidates(
            ids=self.ids[selector],
            rows=self.rows[selector],
            scores=self.scores[selector],
            sources=self.sources[selector],
            columns={name: value[selector] for name, value in self.columns.items()},
        )

    def with_scores(self, scores: Array) -> Candidates:
        return replace(self, scores=scores)

    def with_columns(self, columns: Mapping[str, Array]) -> Candidates:
        return replace(self, columns={**self.columns, **columns})

    def with_rows(self, rows: Array) -> Candidates:
        return replace(self, rows=rows)


@dataclass(frozen=True, eq=False)
class Selection:
    """What a selector chose: ``indices (k,) int64`` into its input, best first, and optionally their new scores.

    ``notes`` go into the trace (for example how many picks a DPP made before its fill).
    """

    indices: Array
    scores: Array | None = None
    notes: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True)
class StepTrace:
    """What one step did: sizes, time, why it removed what it removed, and its failure if it failed."""

    stage: str
    step: str
    role: str
    n_in: int
    n_out: int
    ms: float
    n_unknown: int = 0
    why: str = ""
    failure: str | None = None
    notes: Mapping[str, Any] = field(default_factory=lambda: EMPTY)

    @property
    def n_removed(self) -> int:
        return max(self.n_in - self.n_out, 0) if self.role in ("filter", "selector", "merger") else 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "notes": dict(self.notes), "n_removed": self.n_removed}


@dataclass(frozen=True)
class Trace:
    """Every step of one request, in order."""

    steps: tuple[StepTrace, ...] = ()

    @property
    def total_ms(self) -> float:
        return sum(step.ms for step in self.steps)

    def stage_sizes(self) -> dict[str, int]:
        """{stage: candidates after it}, in order: the funnel."""
        return {step.stage: step.n_out for step in self.steps if step.n_out >= 0}

    def stage_ms(self) -> dict[str, float]:
        """{stage: milliseconds}, in order."""
        out: dict[str, float] = {}
        for step in self.steps:
            out[step.stage] = out.get(step.stage, 0.0) + step.ms
        return out


@dataclass(frozen=True)
class Item:
    """One place in a feed."""

    position: int
    id: int
    score: float
    recalled_by: tuple[str, ...]
    columns: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Recommendation:
    """The answer: the feed, how it came about, and what it was made with.

    ``scored`` holds, for each stage, its candidates before its first selector cut them: what the rank log and
    explanations need. ``degraded`` names the steps that failed and were passed over. ``cold_start`` is true when the
    user is unknown. ``versions`` names what answered: model version, index generation, bundle.
    """

    request: Request
    candidates: Candidates
    trace: Trace
    scored: Mapping[str, Candidates] = field(default_factory=lambda: EMPTY)
    channels: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    cold_start: bool = False
    versions: Mapping[str, Any] = field(default_factory=lambda: EMPTY)

    def __len__(self) -> int:
        return len(self.candidates)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    @property
    def items(self) -> tuple[Item, ...]:
        c = self.candidates
        return tuple(
            Item(
                position=i,
                id=int(c.ids[i]),
                score=float(c.scores[i]),
                recalled_by=tuple(name for bit, name in enumerate(self.channels) if int(c.sources[i]) >> bit & 1),
                columns={name: value[i].item() for name, value in c.columns.items() if value.ndim == 1},
            )
            for i in range(len(c))
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: items, trace, degraded, cold_start, versions."""
        return {
            "request_id": self.request.request_id,
            "user_id": self.request.user_id,
            "scene": self.request.scene,
            "items": [
                {"position": i.position, "id": i.id, "score": i.score, "recalled_by": list(i.recalled_by)} for i in self
            ],
            "trace": [step.as_dict() for step in self.trace.steps],
            "degraded": list(self.degraded),
            "cold_start": self.cold_start,
            "versions": dict(self.versions),
        }
