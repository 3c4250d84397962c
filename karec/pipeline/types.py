"""What flows through the cascade: a request goes in, candidates travel as arrays, a recommendation comes out.

All of it is frozen: a step returns values and changes nothing. Only ``Candidates.take`` drops or reorders,
and only the framework (``karec.pipeline.step``) calls it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from karec.catalog.once import computed_once
from karec.errors import ContractError
from karec.pipeline.trace import Short, Trace

if TYPE_CHECKING:
    from karec.exposure.dual_variables import DualVariables
    from karec.index import IndexView
    from karec.online.view import OnlineView

T = TypeVar("T")

Array = NDArray[Any]
EMPTY: Mapping[str, Any] = MappingProxyType({})
UNKNOWN_ROW = -1
MOST_DEADLINE_MS = 86_400_000


def _with(value: T, **fields: Any) -> T:
    """A copy of a frozen dataclass with other ``fields``, which nobody has to check again. A microsecond,
    where ``dataclasses.replace`` and its checks take ten."""
    copy = object.__new__(type(value))
    copy.__dict__.update(value.__dict__, **fields)
    return copy


def _whole_number(name: str, value: Any) -> None:
    """Ids and moments are int64 wherever they go next."""
    try:
        whole = index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, got {value!r}") from None
    if not -(2**63) <= whole < 2**63:
        raise ValueError(f"{name} must fit 64 bits, got {value!r}")


def _check_deadline(value: Any) -> None:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number:
        raise ValueError(
            f"deadline_ms must be a number of milliseconds, or None for no deadline, got {value!r}"
        )
    if not 0 < value <= MOST_DEADLINE_MS:
        raise ValueError(
            f"deadline_ms must be above 0 and at most {MOST_DEADLINE_MS:,}, a day, got {value!r}: it is the "
            "time that is left; a request that is late already is for its host to refuse"
        )


@dataclass(frozen=True, eq=False)
class Request:
    """One call for a feed.

    ``time_ms`` is the moment of the request (Unix milliseconds); features, freshness and the log are computed
    as of it. ``shown`` are work ids that this session has already seen. Ids are as the platform has them,
    integers or texts; steps see them as numbers. ``features`` holds what request hydrators add: user
    features, padded history, the user vector. ``explain`` asks the steps that can for the reasons of their
    choice.

    ``view`` is the item index as this request sees it, one generation from the first step to the last. The
    cascade sets it; steps read it as ``request.index``. The request of an answer has none, so that no answer
    holds on to old rows. ``recall_view`` is the same of recall's own space, where there is one: its rows are
    other rows, ids are the same. ``online`` is what happened since the bundle was made, as of one moment;
    None: nobody keeps it. ``dual_variables`` is the version of exposure control that this request reads;
    None: the scene has none.

    ``deadline_ms`` is how long the caller waits from the moment that the request is given to ``Cascade.run``;
    who kept it in a queue before says what is left. Steps then give way to their substitutes where time is
    short (``karec.pipeline._budget``). None: as long as it takes.
    """

    user_id: int | str
    k: int = 10
    scene: str = "home"
    time_ms: int | None = None
    shown: tuple[int | str, ...] = ()
    request_id: str = ""
    explain: bool = False
    features: Mapping[str, Array] = field(default_factory=lambda: EMPTY)
    view: IndexView | None = field(default=None, repr=False, kw_only=True)
    recall_view: IndexView | None = field(default=None, repr=False, kw_only=True)
    online: OnlineView | None = field(default=None, repr=False, kw_only=True)
    dual_variables: DualVariables | None = field(default=None, repr=False, kw_only=True)
    deadline_ms: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.deadline_ms is not None:
            _check_deadline(self.deadline_ms)
        for name, value in (("user_id", self.user_id), *(("shown", work) for work in self.shown)):
            if not isinstance(value, str):
                _whole_number(name, value)
        for name, value in (("k", self.k), ("time_ms", self.time_ms or 0)):
            _whole_number(name, value)
        if self.k <= 0:
            raise ValueError(f"k must be positive, got {self.k}")

    @property
    def user_number(self) -> int:
        """The user as steps know users; ContractError where ``user_id`` is a text that nothing has
        numbered."""
        if isinstance(self.user_id, str):
            raise ContractError(f"user {self.user_id!r} is no number: give the cascade the platform's naming")
        return self.user_id

    @property
    def seed(self) -> int:
        """64 bits of the request's id, the same in every process and version: what a step draws by."""
        return int.from_bytes(hashlib.blake2b(self.request_id.encode(), digest_size=8).digest(), "little")

    @property
    def index(self) -> IndexView:
        """The view; ContractError where there is none."""
        if self.view is None:
            raise ContractError(
                "this request sees no item index: run it in a cascade that has one, Cascade(…, index=index), "
                "or, for a step by itself, give it a view: with index.pinned() as view: request = "
                "request.with_view(view)"
            )
        return self.view

    def column(self, name: str, candidates: Candidates) -> Array:
        """Returns the column ``name`` of the item index, one value for each candidate.

        Raises ContractError if a candidate has no row.
        """
        if candidates.n_unknown:
            raise ContractError(
                f"{candidates.n_unknown} of {len(candidates)} candidates have no row in the item index: put "
                f"the steps index_rows and has_embedding before the one that reads {name!r}"
            )
        return self.index.gather(name, candidates.rows)

    @property
    def recall_index(self) -> IndexView:
        """The view of recall's own space; ContractError where there is none."""
        if self.recall_view is None:
            raise ContractError(
                "this request sees no recall index: run it in a Cascade(…, recall_index=index)"
            )
        return self.recall_view

    def with_view(self, view: IndexView | None, recall_view: IndexView | None = None) -> Request:
        """A copy that sees ``view`` and ``recall_view``; None: that sees no index."""
        return _with(self, view=view, recall_view=recall_view)

    def with_online(self, online: OnlineView | None) -> Request:
        """A copy that has ``online``; None: no more than the bundle."""
        return _with(self, online=online)

    def with_dual_variables(self, dual_variables: DualVariables | None) -> Request:
        """Returns a copy that reads this version of exposure control."""
        return _with(self, dual_variables=dual_variables)

    def named(self, request_id: str, time_ms: int) -> Request:
        """A copy with an id and a moment."""
        return _with(self, request_id=request_id, time_ms=time_ms)

    def online_list(self, name: str) -> Array | None:
        """The user's list ``name`` of ids as of this request, oldest first; None: the bundle's is the
        newest."""
        return None if self.online is None else self.online.list_of(name)

    def with_features(self, features: Mapping[str, Array]) -> Request:
        """A copy whose ``features`` also hold ``features``."""
        return _with(self, features=MappingProxyType({**self.features, **features}))


def _as_scores(given: Any) -> Array:
    """float32; what float32 cannot hold becomes inf, which no step may return."""
    scores = np.asarray(given)
    if scores.dtype.kind not in "fiu":
        raise ValueError(f"candidates: scores has dtype {scores.dtype}, expected float32")
    if scores.dtype == np.float32:
        return scores
    with np.errstate(over="ignore"):
        return scores.astype(np.float32)


def _sized(name: str, array: Array, n: int) -> Array:
    if array.ndim == 0 or len(array) != n:
        raise ValueError(f"candidates: {name} has shape {array.shape}, expected ({n}, …)")
    return array


def _sized_columns(columns: Mapping[str, Any], n: int) -> Mapping[str, Array]:
    return MappingProxyType(
        {name: _sized(f"column {name!r}", np.asarray(of), n) for name, of in columns.items()}
    )


@dataclass(frozen=True, eq=False)
class Candidates:
    """N candidate works as a struct of arrays.

    ids      (N,) int64    work ids, unique after recall
    rows     (N,) int32    row in the view of the item index, −1 = it does not know the work
    scores   (N,) float32  the score of the last scorer (higher is better)
    sources  (N,) uint32   bit c set = recall channel c found it
    columns  {name: (N, …)} whatever hydrators added
    pinned   (N,) bool      True: selectors with a k of their own do not drop it; None: all False
    """

    ids: Array
    rows: Array
    scores: Array
    sources: Array
    columns: Mapping[str, Array] = field(default_factory=dict)
    pinned: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        given = np.asarray(self.ids)
        if given.ndim != 1 or (given.dtype.kind not in "iu" and given.size):
            raise ValueError(
                f"candidates: ids has shape {given.shape} and dtype {given.dtype}, expected (N,) int64"
            )
        ids = given.astype(np.int64, copy=False)
        n = len(ids)
        put = object.__setattr__
        put(self, "ids", ids)
        # they know their generation
        put(self, "rows", _sized("rows", np.asanyarray(self.rows, dtype=np.int32), n))
        put(self, "scores", _sized("scores", _as_scores(self.scores), n))
        put(self, "sources", _sized("sources", np.asarray(self.sources, dtype=np.uint32), n))
        put(self, "columns", _sized_columns(self.columns, n))
        if self.pinned is not None:
            put(self, "pinned", _sized("pinned", np.asarray(self.pinned, dtype=np.bool_), n))

    @classmethod
    def from_ids(cls, ids: Array, scores: Array | None = None, **columns: Array) -> Candidates:
        """Candidates of bare ids: rows unknown, no source bit, scores 0 unless given."""
        n = len(ids)
        made = cls(
            ids=ids,
            rows=np.full(n, UNKNOWN_ROW, np.int32),
            scores=np.zeros(n, np.float32) if scores is None else scores,
            sources=np.zeros(n, np.uint32),
            columns=columns,
        )
        if scores is None:
            made.__dict__["not_finite"] = None
        return made

    @classmethod
    def empty(cls) -> Candidates:
        return cls.from_ids(np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    @computed_once
    def n_unknown(self) -> int:
        """How many candidates the item index does not know. O(N), computed once."""
        return int(np.count_nonzero(np.asarray(self.rows) < 0))

    @computed_once
    def not_finite(self) -> int | None:
        """The position of a score that is NaN or infinite; None where there is none. O(N), computed once."""
        scores = self.scores
        if not len(scores) or -np.inf < scores.min() <= scores.max() < np.inf:  # no comparison holds of NaN
            return None
        return int(np.argmin(np.isfinite(scores)))

    @computed_once
    def repeated_id(self) -> int | None:
        """An id that stands twice; None where all are unique. O(N log N), computed once."""
        ordered = np.sort(self.ids)
        repeats = np.flatnonzero(ordered[1:] == ordered[:-1])
        return int(ordered[repeats[0]]) if len(repeats) else None

    def take(self, selector: Array) -> Candidates:
        """The candidates at ``selector`` (indices, or a boolean mask), in that order. O(len(selector))."""
        given = np.asarray(selector)
        is_mask = given.dtype == np.bool_ and given.shape == self.ids.shape
        at = np.flatnonzero(given) if is_mask else selector  # a mask is searched once, not for each array
        ids = self.ids[at]
        if ids.ndim != 1:
            raise ValueError(
                f"candidates are taken by indices or by a mask, (n,), got an array of shape {ids.shape}"
            )
        columns = MappingProxyType({name: value[at] for name, value in self.columns.items()})
        taken = object.__new__(Candidates)
        taken.__dict__.update(
            ids=ids,
            rows=self.rows[at],
            scores=self.scores[at],
            sources=self.sources[at],
            columns=columns,
            pinned=None if self.pinned is None else self.pinned[at],
        )
        if self.__dict__.get("n_unknown") == 0:
            taken.__dict__["n_unknown"] = 0  # of none unknown, none is
        return taken

    def with_scores(self, scores: Array) -> Candidates:
        copy = _with(self, scores=_sized("scores", _as_scores(scores), len(self)))
        copy.__dict__.pop("not_finite", None)
        return copy

    def with_pinned(self, pinned: Array) -> Candidates:
        return _with(self, pinned=_sized("pinned", np.asarray(pinned, dtype=np.bool_), len(self)))

    def with_columns(self, columns: Mapping[str, Array]) -> Candidates:
        given = _sized_columns(columns, len(self))
        return _with(self, columns=MappingProxyType({**self.columns, **given})) if given else self

    def with_rows(self, rows: Array) -> Candidates:
        copy = _with(self, rows=_sized("rows", np.asanyarray(rows, dtype=np.int32), len(self)))
        copy.__dict__.pop("n_unknown", None)
        return copy


@dataclass(frozen=True, eq=False)
class Selection:
    """What a selector chose: ``indices (k,) int64`` into its input, best first, and optionally their new
    scores.

    ``notes`` go into the trace (for example how many picks a DPP made before its fill).
    """

    indices: Array
    scores: Array | None = None
    notes: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, eq=False)
class StepOutput(Generic[T]):
    """What a step of any role may return in place of its ``value``: the value with ``notes`` for the
    trace."""

    value: T
    notes: Mapping[str, Any]


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
