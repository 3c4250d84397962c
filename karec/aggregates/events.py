"""Events as columns, their kinds, and which of them a log refuses.

kind       what it says                              must have
exposure   a work was shown; labels that were known  user, work
label      a later label of a work                   user, work, labels
play       play_ms of a work                         user, work, play_ms
follow     the user follows a creator                user, creator
unfollow   … no longer                               user, creator
upload     a creator published a work                work, creator
delete     a work is gone                            work
edit       a work's columns changed (``text``)       work
block      a work, or all works of a creator         work or creator
search     the user searched for ``text``            user
unblock    … no longer                               work or creator
adjust     a work's score is · scale + offset        work (``text``: {"scale": …, "offset": …}, one or both)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import LATEST_MS
from karec.times import DAY_MS

KINDS = (
    *(
        "exposure",
        "label",
        "play",
        "follow",
        "unfollow",
        "upload",
        "delete",
        "edit",
        "block",
        "search",
        "unblock",
    ),
    "adjust",
)
EXPOSURE, LABEL, PLAY, FOLLOW, UNFOLLOW, UPLOAD, DELETE, EDIT, BLOCK, SEARCH, UNBLOCK, ADJUST = range(
    len(KINDS)
)
NONE = -1  # no user, work, creator, scene, position or play_ms
AHEAD_MS = 300_000  # so far may the clock of a device be ahead of the writer's
LONGEST_PLAY_MS = DAY_MS
LONGEST_REQUEST, LONGEST_TEXT = 256, 65_536  # bytes of UTF-8
MOST_LABELS = 63
LATE_MS = 2 * DAY_MS

_NEEDS = {  # column: the kinds that must have it
    "user_id": (EXPOSURE, LABEL, PLAY, FOLLOW, UNFOLLOW, SEARCH),
    "item_id": (EXPOSURE, LABEL, PLAY, UPLOAD, DELETE, EDIT, ADJUST),
    "creator_id": (FOLLOW, UNFOLLOW, UPLOAD),
    "play_ms": (PLAY,),
}


@dataclass(frozen=True, eq=False)
class Events:
    """M events.

    source, number (M,) uint64            the id
    kind (M,) uint8                       a place in KINDS
    time_ms, logged_ms (M,) int64         when it happened, when it was appended; Unix ms
    user_id, item_id, creator_id (M,) int64, scene, position (M,) int32, play_ms (M,) int64; −1: none
    labels (M,) uint64                    bit b: the log's label b is positive
    request_id, text (M,) object          str, "" for none
    """

    source: NDArray[Any]
    number: NDArray[Any]
    kind: NDArray[Any]
    time_ms: NDArray[Any]
    logged_ms: NDArray[Any]
    user_id: NDArray[Any]
    item_id: NDArray[Any]
    creator_id: NDArray[Any]
    scene: NDArray[Any]
    position: NDArray[Any]
    labels: NDArray[Any]
    play_ms: NDArray[Any]
    request_id: NDArray[Any]
    text: NDArray[Any]

    def __len__(self) -> int:
        return len(self.time_ms)

    @classmethod
    def of(cls, kind: str | NDArray[Any], **columns: Any) -> Self:
        """Events from what is known of them: arrays, or one value for all. ``time_ms``, ``source`` and
        ``number`` must be there; ``kind`` is one kind's name or codes ``(M,)``. Raises ValueError for a name
        or a column that is none, values that do not fit their column's type, and arrays of several lengths.
        """
        unknown = sorted(columns.keys() - COLUMNS.keys())
        if unknown or not {"time_ms", "source", "number"} <= columns.keys():
            raise ValueError(
                f"events need time_ms, source and number and have {sorted(COLUMNS)}; given {sorted(columns)}"
            )
        if isinstance(kind, str):
            if kind not in KINDS:
                raise ValueError(f"kind is {kind!r}, expected one of {KINDS}")
            kind = np.array(KINDS.index(kind))
        given = {"kind": kind, **columns}
        n = max((np.shape(value)[0] for value in given.values() if np.ndim(value)), default=1)
        return cls(
            **{
                name: _column(name, given.get(name, empty), dtype, n)
                for name, (dtype, empty) in COLUMNS.items()
            }
        )

    @classmethod
    def none(cls) -> Self:
        return cls(**{name: np.empty(0, dtype) for name, (dtype, _) in COLUMNS.items()})

    def take(self, selector: NDArray[Any] | slice) -> Events:
        """The events at ``selector`` (indices, a boolean mask, or a slice)."""
        return Events(**{name: getattr(self, name)[selector] for name in COLUMNS})

    @staticmethod
    def joined(parts: Sequence[Events]) -> Events:
        if len(parts) == 1:
            return parts[0]
        return Events(
            **{name: np.concatenate([getattr(p, name) for p in (*parts, Events.none())]) for name in COLUMNS}
        )

    def in_order(self) -> Events:
        """In order of (time_ms, number, item_id, source, user_id), each once. O(M log M)."""
        order = np.lexsort((self.item_id, self.user_id, self.source, self.number, self.time_ms))
        names = [getattr(self, name)[order] for name in ("user_id", "source", "number", "time_ms")]
        first = np.ones(len(order), bool)
        first[1:] = np.any([column[1:] != column[:-1] for column in names], axis=0)
        once = self.take(order[first])
        return once.take(np.lexsort((once.user_id, once.source, once.item_id, once.number, once.time_ms)))


COLUMNS: Mapping[str, tuple[Any, Any]] = {
    "source": (np.uint64, 0),
    "number": (np.uint64, 0),
    "kind": (np.uint8, 0),
    "time_ms": (np.int64, 0),
    "logged_ms": (np.int64, 0),
    "user_id": (np.int64, NONE),
    "item_id": (np.int64, NONE),
    "creator_id": (np.int64, NONE),
    "scene": (np.int32, NONE),
    "position": (np.int32, NONE),
    "labels": (np.uint64, 0),
    "play_ms": (np.int64, NONE),
    "request_id": (object, ""),
    "text": (object, ""),
}
assert [field.name for field in fields(Events)] == [*COLUMNS]


def refused(events: Events, n_labels: int, late_ms: int) -> dict[str, NDArray[Any]]:
    """{reason: (M,) bool}, each event under the first of its reasons alone. ``logged_ms`` is the present."""
    known = events.kind < len(KINDS)
    kind = np.where(known, events.kind, 0)
    of_both = np.isin(kind, (BLOCK, UNBLOCK))
    lacks = {column: np.isin(kind, kinds) & (getattr(events, column) < 0) for column, kinds in _NEEDS.items()}
    lengths = {
        name: np.array([_bytes(text) for text in getattr(events, name)], np.int64)
        for name in ("request_id", "text")
    }
    numbers = ("user_id", "item_id", "creator_id", "scene", "position", "play_ms")
    reasons = {
        "unknown kind": ~known,
        "impossible time": (events.time_ms <= 0) | (events.time_ms > LATEST_MS),
        "from the future": events.time_ms > events.logged_ms + AHEAD_MS,
        "too late": events.time_ms < events.logged_ms - late_ms,
        "no user": lacks["user_id"],
        "no work": lacks["item_id"] | (of_both & (events.item_id < 0) & (events.creator_id < 0)),
        "no creator": lacks["creator_id"],
        "no label": (kind == LABEL) & (events.labels == 0),
        "unknown label": events.labels >> np.uint64(n_labels) != 0,
        "impossible play_ms": lacks["play_ms"] | (events.play_ms > LONGEST_PLAY_MS),
        "impossible value": np.any([getattr(events, name) < NONE for name in numbers], axis=0),
        "text is not UTF-8": (lengths["request_id"] < 0) | (lengths["text"] < 0),
        "text too long": (lengths["request_id"] > LONGEST_REQUEST) | (lengths["text"] > LONGEST_TEXT),
    }
    left = np.ones(len(events), bool)
    for reason, bad in reasons.items():
        reasons[reason] = left & bad
        left &= ~bad
    return reasons


def _bytes(text: object) -> int:
    """The length in UTF-8; −1 for what is no text or has no UTF-8."""
    try:
        return len(text.encode()) if isinstance(text, str) else -1
    except UnicodeEncodeError:
        return -1


def _whole_numbers(value: Any) -> NDArray[Any]:
    """``value`` as an array: no number, or numbers below and above 2^63 together, are float64 to
    ``np.asarray``."""
    given = np.asarray(value)
    if given.dtype.kind != "f" or isinstance(value, np.ndarray):
        return given
    exact = np.asarray(value, object)
    if not all(isinstance(each, int | np.integer) for each in exact.flat):
        return given
    try:
        return exact.astype(np.int64)
    except OverflowError:
        return exact.astype(np.uint64) if min(exact.flat) >= 0 else given


def _column(name: str, value: Any, dtype: Any, n: int) -> NDArray[Any]:
    given = np.asarray(value, object) if dtype is object else _whole_numbers(value)
    if dtype is not object and given.dtype.kind not in "iub":
        raise ValueError(f"column {name!r} is of {given.dtype}, expected whole numbers")
    if dtype is not object and given.size:
        info = np.iinfo(dtype)
        if int(given.min()) < info.min or int(given.max()) > info.max:
            raise ValueError(f"column {name!r} holds {given.min()} … {given.max()}, beyond {np.dtype(dtype)}")
    if given.shape not in ((), (n,)):
        raise ValueError(f"column {name!r} has shape {given.shape}, expected ({n},) as another column")
    return np.ascontiguousarray(np.broadcast_to(given, (n,))).astype(dtype, copy=True)


@dataclass(frozen=True)
class Head:
    """What all parts of a log share. ``labels``: bit b of an event is label b. ``scenes``: an event's scene
    is a place in it. ``late_ms``: an event that is appended later than this after it happened is refused.
    """

    labels: tuple[str, ...]
    scenes: tuple[str, ...] = ()
    late_ms: int = LATE_MS

    def __post_init__(self) -> None:
        if len(self.labels) > MOST_LABELS:
            raise ValueError(f"a log has at most {MOST_LABELS} labels, got {len(self.labels)}")
        for what, names in (("labels", self.labels), ("scenes", self.scenes)):
            if len(set(names)) < len(names) or not all(names):
                raise ValueError(f"{what} are {names!r}, expected distinct names")
        if self.late_ms <= 0:
            raise ValueError(f"late_ms must be positive, got {self.late_ms}")

    def codes_of(self, scenes: Sequence[str]) -> NDArray[Any]:
        """(scenes of the log + 1,) int64: the place of each in ``scenes``, −1 where it is none; the last is
        of no scene.
        """
        names = list(scenes)
        return np.array(
            [names.index(scene) if scene in names else -1 for scene in self.scenes] + [-1], np.int64
        )
