"""The data of the pipeline: a request goes in, candidates travel as arrays, a page comes out.

All of it is immutable: a step returns values and changes nothing. Only ``karec.pipeline.checks`` calls
``Candidates.take``, which drops or reorders candidates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from karec.errors import ContractError
from karec.pipeline.masks import AllowedRows
from karec.pipeline.trace import Shortfall, Trace
from karec.where import Where

if TYPE_CHECKING:
    from karec.exposure.dual_variables import DualVariables
    from karec.index import IndexView
    from karec.online.view import OnlineView

T = TypeVar("T")

Array = NDArray[Any]
EMPTY: Mapping[str, Any] = MappingProxyType({})
UNKNOWN_ROW = -1
WORK_TYPE = "work"
UNKNOWN, BLOCKED, WHERE = "not in the index", "blocked, closed or deleted", "where"
MAX_DEADLINE_MS = 86_400_000
MAX_LISTED_IDS = 100_000  # of exclude_ids and of only_ids


def _with(value: T, **fields: Any) -> T:
    """Returns a copy of a frozen dataclass with other ``fields``, in a tenth of the time of ``replace``."""
    copy = object.__new__(type(value))
    copy.__dict__.update(value.__dict__, **fields)
    return copy


def _check_int64(name: str, value: Any) -> None:
    try:
        number = index(value)
    except TypeError:
        raise ValueError(f"{name} is {value!r}, expected an integer") from None
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{name} is {value!r}, expected an integer of 64 bits")


def _read_only_list(name: str, ids: Sequence[int | str] | Array) -> Array:
    """Returns (N,) int64, or objects if an id is a text. Raises ValueError for other values and shapes."""
    if len(ids) > MAX_LISTED_IDS:
        raise ValueError(f"{name} has {len(ids):,} ids, expected at most {MAX_LISTED_IDS:,}")
    array = np.array(ids)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, expected a list of ids")
    if array.dtype != np.int64:
        array = np.array(ids, object)
        for value in ids:
            if not isinstance(value, str):
                _check_int64(name, value)
    array.flags.writeable = False
    return array


def _check_deadline(value: Any) -> None:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number:
        raise ValueError(f"deadline_ms is {value!r}, expected a number of milliseconds, or None")
    if not 0 < value <= MAX_DEADLINE_MS:
        raise ValueError(
            f"deadline_ms is {value!r}, expected more than 0 and at most {MAX_DEADLINE_MS:,}, a day. It is "
            "the time that is left: the host refuses a request that is already late."
        )


@dataclass(frozen=True, eq=False)
class Request:
    """One call for a page.

    user_id, shown  ids as the platform has them, integers or texts; steps see numbers. ``shown``: items that
                    this session has seen
    time_ms         moment of the request, Unix ms; features, freshness and logs are as of it
    explain         asks steps for the reasons of their choice, where they can give them
    features        arrays of the query hydrators: user features, padded history, the user vector
    view            the item index as this request sees it, one generation for all steps. Steps read it as
                    ``request.index``. The request of a page has none, so that it does not keep old rows
    online          what happened since the bundle was made, as of one moment; None: no online store
    dual_variables  the version of exposure control that this request reads; None: the scene has none
    deadline_ms     how long the caller waits, from the call of ``Cascade.run``. If the time is short, stages
                    run their fallback. None: as long as it takes
    where           condition that all items of the page satisfy; None: any item
    exclude_ids     items that are not on the page, at most MAX_LISTED_IDS
    only_ids        the only items that may be on the page; None: any item
    events          what the user did, on top of the online store, as rows of ``POST /v1/events`` without a
                    user; they act on this request only
    allowed         the rows of ``view`` that satisfy these three; None without them
    item_ids        candidates of the caller: filters of the stages before ``first_stage`` drop some, then
                    this and the later stages order the others. None: sources find the candidates
    session_id      unit of experiments by session; "": the request is in none of them
    arms            {experiment: arm} that the caller assigned; None: karec assigns them
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
    online: OnlineView | None = field(default=None, repr=False, kw_only=True)
    dual_variables: DualVariables | None = field(default=None, repr=False, kw_only=True)
    deadline_ms: float | None = field(default=None, kw_only=True)
    where: Where | None = field(default=None, kw_only=True)
    exclude_ids: Sequence[int | str] | Array = field(default=(), repr=False, kw_only=True)
    only_ids: Sequence[int | str] | Array | None = field(default=None, repr=False, kw_only=True)
    events: tuple[Mapping[str, Any], ...] = field(default=(), repr=False, kw_only=True)
    allowed: AllowedRows | None = field(default=None, repr=False, kw_only=True)
    item_ids: tuple[int | str, ...] | None = field(default=None, repr=False, kw_only=True)
    first_stage: str = field(default="rank", kw_only=True)
    session_id: str = field(default="", kw_only=True)
    arms: Mapping[str, str] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.deadline_ms is not None:
            _check_deadline(self.deadline_ms)
        where: object = self.where  # a caller without a type checker may give another type
        if where is not None and not isinstance(where, Where):
            kind = type(where).__name__
            raise ValueError(f"where is of type {kind}, expected a karec.Where; Where.from_dict makes one")
        shown: object = self.shown
        if isinstance(shown, str):
            raise ValueError("shown is a text, expected a sequence of ids")
        for name, ids in (
            ("user_id", (self.user_id,)),
            ("shown", self.shown),
            ("item_ids", self.item_ids or ()),
        ):
            for value in ids:  # calling _check_int64 for each id would take twice as long
                if not isinstance(value, str) and (type(value) is not int or value.bit_length() > 63):
                    _check_int64(name, value)
        for name in ("exclude_ids", "only_ids"):
            ids = getattr(self, name)
            if ids is not None and len(ids):
                self.__dict__[name] = _read_only_list(name, ids)
        for name, value in (("k", self.k), ("time_ms", self.time_ms or 0)):
            _check_int64(name, value)
        if self.k <= 0:
            raise ValueError(f"k is {self.k}, expected at least 1")

    @property
    def user_number(self) -> int:
        """The user as steps know users. ContractError if ``user_id`` is a text without a number."""
        if isinstance(self.user_id, str):
            raise ContractError(
                f"user {self.user_id!r} is not a number. Give the cascade the platform's naming."
            )
        return self.user_id

    @property
    def seed(self) -> int:
        """64 bits of the request's id, the same in every process and version, for steps that draw."""
        return int.from_bytes(hashlib.blake2b(self.request_id.encode(), digest_size=8).digest(), "little")

    @property
    def index(self) -> IndexView:
        """The view. ContractError if there is none."""
        if self.view is None:
            raise ContractError(
                "this request has no item index. Run it in a cascade that has one, Cascade(…, index=index). "
                "To call a step directly: with index.pinned() as view: request = request.with_view(view)"
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

    def with_view(self, view: IndexView | None) -> Request:
        return _with(self, view=view)

    def with_online(self, online: OnlineView | None) -> Request:
        return _with(self, online=online)

    def with_dual_variables(self, dual_variables: DualVariables | None) -> Request:
        return _with(self, dual_variables=dual_variables)

    def with_allowed(self, allowed: AllowedRows | None) -> Request:
        return _with(self, allowed=allowed)

    def with_id(self, request_id: str, time_ms: int) -> Request:
        return _with(self, request_id=request_id, time_ms=time_ms)

    def with_features(self, features: Mapping[str, Array]) -> Request:
        """Returns a copy with ``features`` added."""
        return _with(self, features=MappingProxyType({**self.features, **features}))

    def online_list(self, name: str) -> Array | None:
        """Returns the user's newest list ``name`` of ids, oldest first; None if the bundle has the newest."""
        return None if self.online is None else self.online.list_of(name)


def _as_scores(values: Any) -> Array:
    """Returns float32. Values beyond float32 become inf, which no step may return."""
    scores = np.asarray(values)
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
        {name: _sized(f"column {name!r}", np.asarray(column), n) for name, column in columns.items()}
    )


@dataclass(frozen=True, eq=False)
class Candidates:
    """N candidate items as a struct of arrays.

    ids      (N,) int64    numbers of the items, unique after recall
    rows     (N,) int32    row in the request's view of the index; −1: not in the index, or not looked up
    scores   (N,) float32  score of the last scorer, higher is better
    sources  (N,) uint32   bit i is set if source i returned the item
    columns  {name: (N, …)} arrays of the hydrators
    pinned   (N,) bool     True: selectors with a k of their own do not drop the item; None: all False
    """

    ids: Array
    rows: Array
    scores: Array
    sources: Array
    columns: Mapping[str, Array] = field(default_factory=dict)
    pinned: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        ids = np.asarray(self.ids)
        if ids.ndim != 1 or (ids.dtype.kind not in "iu" and ids.size):
            raise ValueError(
                f"candidates: ids has shape {ids.shape} and dtype {ids.dtype}, expected (N,) int64"
            )
        n = len(ids)
        fields = {
            "ids": ids.astype(np.int64, copy=False),
            "rows": _sized(
                "rows", np.asanyarray(self.rows, dtype=np.int32), n
            ),  # a subclass with a generation
            "scores": _sized("scores", _as_scores(self.scores), n),
            "sources": _sized("sources", np.asarray(self.sources, dtype=np.uint32), n),
            "columns": _sized_columns(self.columns, n),
        }
        if self.pinned is not None:
            fields["pinned"] = _sized("pinned", np.asarray(self.pinned, dtype=np.bool_), n)
        self.__dict__.update(fields)

    @classmethod
    def from_ids(cls, ids: Array, scores: Array | None = None, **columns: Array) -> Candidates:
        """Returns candidates without rows and sources. ``scores``: None for zeros."""
        n = len(ids)
        candidates = cls(
            ids=ids,
            rows=np.full(n, UNKNOWN_ROW, np.int32),
            scores=np.zeros(n, np.float32) if scores is None else scores,
            sources=np.zeros(n, np.uint32),
            columns=columns,
        )
        if scores is None:
            candidates.__dict__["_not_finite"] = None
        return candidates

    @classmethod
    def empty(cls) -> Candidates:
        return cls.from_ids(np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    # Three facts that several steps ask for. functools.cached_property would hold a lock that all instances
    # share (Python 3.11): requests of other threads would wait, and a fork could inherit it locked.

    @property
    def n_unknown(self) -> int:
        """Number of candidates without a row. O(N), computed once."""
        return self._once("_n_unknown", lambda: int(np.count_nonzero(np.asarray(self.rows) < 0)))

    @property
    def not_finite(self) -> int | None:
        """Position of a score that is NaN or infinite; None if all are finite. O(N), computed once."""
        return self._once("_not_finite", self._find_not_finite)

    @property
    def repeated_id(self) -> int | None:
        """An id that appears twice; None if all are unique. O(N log N), computed once."""
        return self._once("_repeated_id", self._find_repeated_id)

    def _once(self, name: str, compute: Callable[[], T]) -> T:
        if name not in self.__dict__:
            self.__dict__[name] = compute()
        value: T = self.__dict__[name]
        return value

    def _find_not_finite(self) -> int | None:
        scores = self.scores
        if not len(scores) or -np.inf < scores.min() <= scores.max() < np.inf:  # False if a score is NaN
            return None
        return int(np.argmin(np.isfinite(scores)))

    def _find_repeated_id(self) -> int | None:
        ordered = np.sort(self.ids)
        repeats = np.flatnonzero(ordered[1:] == ordered[:-1])
        return int(ordered[repeats[0]]) if len(repeats) else None

    def take(self, selector: Array) -> Candidates:
        """Returns the candidates at ``selector`` (indices or a mask), in that order. O(len(selector))."""
        array = np.asarray(selector)
        is_mask = array.dtype == np.bool_ and array.shape == self.ids.shape
        indices = np.flatnonzero(array) if is_mask else selector  # one search of the mask for all arrays
        ids = self.ids[indices]
        if ids.ndim != 1:
            raise ValueError(f"candidates: selector has shape {ids.shape}, expected indices or a mask, (n,)")
        copy = object.__new__(Candidates)
        copy.__dict__.update(
            ids=ids,
            rows=self.rows[indices],
            scores=self.scores[indices],
            sources=self.sources[indices],
            columns=MappingProxyType({name: column[indices] for name, column in self.columns.items()}),
            pinned=None if self.pinned is None else self.pinned[indices],
        )
        if self.__dict__.get("_n_unknown") == 0:
            copy.__dict__["_n_unknown"] = 0  # a subset of known candidates has no unknown ones
        return copy

    def append(self, others: Candidates) -> Candidates:
        """Returns these candidates, then ``others``, with the columns that both have. O(N + len(others))."""
        names = self.columns.keys() & others.columns.keys()
        pins = [np.zeros(len(c), bool) if c.pinned is None else c.pinned for c in (self, others)]
        return Candidates(
            np.concatenate([self.ids, others.ids]),
            np.concatenate([self.rows, others.rows]),
            np.concatenate([self.scores, others.scores]),
            np.concatenate([self.sources, others.sources]),
            {name: np.concatenate([self.columns[name], others.columns[name]]) for name in names},
            np.concatenate(pins),
        )

    def with_scores(self, scores: Array) -> Candidates:
        copy = _with(self, scores=_sized("scores", _as_scores(scores), len(self)))
        copy.__dict__.pop("_not_finite", None)
        return copy

    def with_pinned(self, pinned: Array) -> Candidates:
        return _with(self, pinned=_sized("pinned", np.asarray(pinned, dtype=np.bool_), len(self)))

    def with_columns(self, columns: Mapping[str, Array]) -> Candidates:
        new_columns = _sized_columns(columns, len(self))
        return _with(self, columns=MappingProxyType({**self.columns, **new_columns})) if new_columns else self

    def with_rows(self, rows: Array) -> Candidates:
        copy = _with(self, rows=_sized("rows", np.asanyarray(rows, dtype=np.int32), len(self)))
        copy.__dict__.pop("_n_unknown", None)
        return copy


@dataclass(frozen=True, eq=False)
class Selection:
    """Choice of a selector.

    indices  (k,) int64  positions in its input, best first
    scores   (k,) float32, their new scores; None: the old ones
    notes    for the trace, for example how many items a DPP chose before its fill
    """

    indices: Array
    scores: Array | None = None
    notes: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, eq=False)
class StepOutput(Generic[T]):
    """The output of a step of any role with notes for the trace."""

    value: T
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class Why:
    """A reason for people: ``text`` with the id of the item ``item_id`` of the user in its place."""

    text: str
    item_id: int | str


@dataclass(frozen=True)
class PageItem:
    """One item of a page. ``sources``: the names of the sources that returned it. ``why``: None without a
    reason for people. ``team``: the arm that placed it on an interleaved page, else ""."""

    position: int
    item_id: int | str
    score: float
    sources: tuple[str, ...]
    columns: Mapping[str, Any]
    why: Why | None = None
    item_type: str = WORK_TYPE
    team: str = ""


class IdNames(Protocol):
    """Maps the platform's ids to the numbers that steps use, and back."""

    def to_numbers(self, request: Request) -> Request:
        """Returns ``request`` with numbers. ValueError for an id of another kind than the platform's."""

    def to_ids(self, page: Page, request: Request) -> Page:
        """Returns ``page`` with the platform's ids, for the ``request`` that has them."""

    @property
    def kind(self) -> str:
        """The kind of the items' ids, "integer" or "string"."""

    def number_of(self, item: int | str) -> int:
        """Returns the number of an item. ValueError for an id of another kind than the items'."""


@dataclass(frozen=True, eq=False)
class Page:
    """The items for one request, and how they were chosen.

    scored         {stage: its candidates before its first selector}, for the rank log and explanations
    source_names   the names of the sources, by their bits
    degraded       steps that failed and were skipped ("recall.social"), stages whose fallback ran ("rank:
                   fallback"), relaxed rules ("rerank.page_rules: RULE") and arms without a pipeline
                   ("request.experiments: EXPERIMENT.ARM"); the trace has the reasons
    is_cold_start  True if the user has no events
    versions       what the request read: model version, bundle, ``index_generation`` and ``model_versions``
                   of the index, and ``live_batch``, the number of event batches that the online store had
                   followed
    shortfall      why there are fewer items than requested; None: there are k, or ``request.item_ids`` is set
    item_ids       the platform's ids of the items; None: they are the numbers of ``candidates``
    dropped        {id: reason} of the caller's candidates that were dropped: the filter ("prerank.not_own"),
                   UNKNOWN, BLOCKED or WHERE
    scores         {id: score} of the caller's candidates, before the first selector of ``first_stage``, the
                   best first
    causes         {place: (template, id of an item of the user)} of items with a reason for people
    item_type      type of the items; of a mixed page, the scene's own type
    parts          {item type: the part of a mixed page}, each with its own sources, scores and trace; empty:
                   the page has one type. Then ``candidates`` has ids and calibrated scores only
    places         of a part: the places of its items on the mixed page; None: 0, 1, …
    arms           {experiment: arm} of the experiments in which the request counts
    teams          the arm that placed each item of an interleaved page (``karec.pipeline.interleave``);
                   empty: one pipeline made the page
    """

    request: Request
    candidates: Candidates
    trace: Trace
    scored: Mapping[str, Candidates] = field(default_factory=lambda: EMPTY)
    source_names: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    is_cold_start: bool = False
    versions: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    shortfall: Shortfall | None = None
    item_ids: tuple[int | str, ...] | None = None
    dropped: Mapping[int | str, str] = field(default_factory=dict)
    scores: Mapping[int | str, float] = field(default_factory=dict)
    causes: Mapping[int, tuple[str, int | str]] = field(default_factory=dict)
    item_type: str = WORK_TYPE
    parts: Mapping[str, Page] = field(default_factory=lambda: EMPTY)
    places: tuple[int, ...] | None = None
    arms: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    teams: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.candidates)

    def __iter__(self) -> Iterator[PageItem]:
        return iter(self.items)

    @property
    def items(self) -> tuple[PageItem, ...]:
        if self.parts:
            items = (
                replace(item, position=place)
                for part in self.parts.values()
                for place, item in zip(part.places or (), part.items, strict=True)
            )
            return tuple(sorted(items, key=lambda item: item.position))
        candidates = self.candidates
        ids = candidates.ids.tolist() if self.item_ids is None else self.item_ids
        columns = {name: value.tolist() for name, value in candidates.columns.items() if value.ndim == 1}
        bits = candidates.sources.tolist()
        sources = {
            mask: tuple(name for bit, name in enumerate(self.source_names) if mask >> bit & 1)
            for mask in set(bits)
        }
        return tuple(
            PageItem(
                i,
                ids[i],
                score,
                sources[mask],
                {name: values[i] for name, values in columns.items()},
                self.why(i),
                self.item_type,
                self.teams[i] if self.teams else "",
            )
            for i, (score, mask) in enumerate(zip(candidates.scores.tolist(), bits, strict=True))
        )

    def why(self, place: int) -> Why | None:
        """Returns the reason for people of the item at ``place``; None if its source has none."""
        if place not in self.causes:
            return None
        template, item_id = self.causes[place]
        return Why(template.replace("{item}", str(item_id)), item_id)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON, with the names of the HTTP API."""
        return {
            "request_id": self.request.request_id,
            "user_id": self.request.user_id,
            "scene": self.request.scene,
            "items": [
                {
                    "position": item.position,
                    "item_id": item.item_id,
                    "item_type": item.item_type,
                    "score": item.score,
                    "sources": list(item.sources),
                    **({"team": item.team} if item.team else {}),
                }
                for item in self
            ],
            "trace": [step.to_dict() for step in self.trace.steps],
            "degraded": list(self.degraded),
            "is_cold_start": self.is_cold_start,
            "versions": dict(self.versions),
            "arms": dict(self.arms),
            "shortfall": None if self.shortfall is None else self.shortfall.to_dict(),
            "dropped": [{"item_id": item, "by": place} for item, place in self.dropped.items()],
        }
