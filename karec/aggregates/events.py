"""Events as columns, their kinds, and checks.

kind       meaning                                   required
impression an item was shown, with known labels      user, item (``text``: id of a user without a name)
label      a later label of an item                  user, item, labels
play       play_ms of an item                        user, item, play_ms
follow     the user follows a creator                user, creator
unfollow   the user stops following a creator        user, creator
upload     a creator published an item               item, creator unless it is a song
delete     an item was deleted                       item
edit       columns of an item changed (``text``)     item
block      blocks an item or all items of a creator  item or creator
search     the user searched for ``text``            user
unblock    reverts a block                           item or creator
adjust     a score becomes score · scale + offset    item (``text``: {"scale": …, "offset": …}, one or both)
open       an item, such as a live room, opens       item
close      it closes                                 item
mute       the user wants no items of a creator      user, creator
unmute     reverts a mute                            user, creator
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
        "impression",
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
    *("adjust", "open", "close", "mute", "unmute"),
)
IMPRESSION, LABEL, PLAY, FOLLOW, UNFOLLOW, UPLOAD, DELETE, EDIT, BLOCK, SEARCH, UNBLOCK = range(11)
ADJUST, OPEN, CLOSE, MUTE, UNMUTE = range(11, len(KINDS))
LIFECYCLE_KINDS = (UPLOAD, DELETE, EDIT, BLOCK, UNBLOCK, ADJUST, OPEN, CLOSE)
WORK = ""  # item type of works, which most events are about
NONE = -1  # no user, item, creator, scene, position or play_ms
AHEAD_MS = 300_000  # limit for clocks of devices that are ahead of the writer's clock
LONGEST_PLAY_MS = DAY_MS
LONGEST_REQUEST, LONGEST_TEXT = 256, 65_536  # bytes of UTF-8
MAX_LABELS = 63
LATE_MS = 2 * DAY_MS

_REQUIRED = {  # column: kinds that need it
    "user_id": (IMPRESSION, LABEL, PLAY, FOLLOW, UNFOLLOW, SEARCH, MUTE, UNMUTE),
    "item_id": (IMPRESSION, LABEL, PLAY, UPLOAD, DELETE, EDIT, ADJUST, OPEN, CLOSE),
    "creator_id": (FOLLOW, UNFOLLOW, UPLOAD, MUTE, UNMUTE),
    "play_ms": (PLAY,),
}


@dataclass(frozen=True, eq=False)
class Events:
    """M events.

    source, number (M,) uint64            id of the event
    kind (M,) uint8                       index into KINDS
    time_ms, logged_ms (M,) int64         time of the event and of its append, Unix ms
    user_id, item_id, creator_id (M,) int64, scene, position (M,) int32, play_ms (M,) int64; −1 if missing
    labels (M,) uint64                    bit b is set if label b of the head is positive
    request_id, text (M,) object          str, "" if missing
    item_type (M,) object                 str: type of the item, WORK for works
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
    item_type: NDArray[Any]

    def __len__(self) -> int:
        return len(self.time_ms)

    @classmethod
    def from_columns(cls, kind: str | NDArray[Any], **columns: Any) -> Self:
        """Returns events of the given columns: arrays, or one value for all events.

        Args:
            kind: name of a kind, or (M,) codes.
            columns: ``time_ms``, ``source`` and ``number`` are required; others are missing by default.

        Raises:
            ValueError: an unknown kind or column, values outside the type of their column, or arrays of
                different lengths.
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
        values = {"kind": kind, **columns}
        n = max((np.shape(value)[0] for value in values.values() if np.ndim(value)), default=1)
        return cls(
            **{
                name: _column(name, values.get(name, empty), dtype, n)
                for name, (dtype, empty) in COLUMNS.items()
            }
        )

    @classmethod
    def empty(cls) -> Self:
        return cls(**{name: np.empty(0, dtype) for name, (dtype, _) in COLUMNS.items()})

    def take(self, selector: NDArray[Any] | slice) -> Events:
        """Returns the events of ``selector``: indices, a boolean mask, or a slice."""
        return Events(**{name: getattr(self, name)[selector] for name in COLUMNS})

    @staticmethod
    def concatenate(parts: Sequence[Events]) -> Events:
        if len(parts) == 1:
            return parts[0]
        return Events(
            **{name: np.concatenate([getattr(p, name) for p in (*parts, Events.empty())]) for name in COLUMNS}
        )

    def sort_unique(self) -> Events:
        """Returns distinct events, ordered by (time_ms, number, item_id, source, user_id). O(M log M)."""
        order = np.lexsort((self.item_id, self.user_id, self.source, self.number, self.time_ms))
        names = [getattr(self, name)[order] for name in ("user_id", "source", "number", "time_ms")]
        first = np.ones(len(order), bool)
        first[1:] = np.any([column[1:] != column[:-1] for column in names], axis=0)
        unique = self.take(order[first])
        return unique.take(
            np.lexsort((unique.user_id, unique.source, unique.item_id, unique.number, unique.time_ms))
        )


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
    "item_type": (object, WORK),
}
assert [field.name for field in fields(Events)] == [*COLUMNS]


def find_invalid(events: Events, n_labels: int, late_ms: int) -> dict[str, NDArray[Any]]:
    """Returns {reason: (M,) bool}, each invalid event under its first reason only.

    ``logged_ms`` of an event is the current time of its check.
    """
    is_known = events.kind < len(KINDS)
    kind = np.where(is_known, events.kind, 0)
    needs_item_or_creator = np.isin(kind, (BLOCK, UNBLOCK))
    is_missing = {
        column: np.isin(kind, kinds) & (getattr(events, column) < 0) for column, kinds in _REQUIRED.items()
    }
    is_missing["creator_id"] &= (kind != UPLOAD) | (events.item_type == WORK)
    lengths = {
        name: np.array([_utf8_length(text) for text in getattr(events, name)], np.int64)
        for name in ("request_id", "text")
    }
    numbers = ("user_id", "item_id", "creator_id", "scene", "position", "play_ms")
    reasons = {
        "unknown event": ~is_known,
        "impossible time": (events.time_ms <= 0) | (events.time_ms > LATEST_MS),
        "from the future": events.time_ms > events.logged_ms + AHEAD_MS,
        "too late": events.time_ms < events.logged_ms - late_ms,
        "user_id is missing": is_missing["user_id"],
        "item_id is missing": is_missing["item_id"]
        | (needs_item_or_creator & (events.item_id < 0) & (events.creator_id < 0)),
        "creator_id is missing": is_missing["creator_id"],
        "labels are missing": (kind == LABEL) & (events.labels == 0),
        "unknown label": events.labels >> np.uint64(n_labels) != 0,
        "impossible play_ms": is_missing["play_ms"] | (events.play_ms > LONGEST_PLAY_MS),
        "impossible value": np.any([getattr(events, name) < NONE for name in numbers], axis=0),
        "text is not UTF-8": (lengths["request_id"] < 0) | (lengths["text"] < 0),
        "text too long": (lengths["request_id"] > LONGEST_REQUEST) | (lengths["text"] > LONGEST_TEXT),
    }
    is_valid = np.ones(len(events), bool)
    for reason, has_reason in reasons.items():
        reasons[reason] = is_valid & has_reason
        is_valid &= ~has_reason
    return reasons


def _utf8_length(text: object) -> int:
    """Returns the length in UTF-8, −1 for a value that is not a string or not valid Unicode."""
    try:
        return len(text.encode()) if isinstance(text, str) else -1
    except UnicodeEncodeError:
        return -1


def _as_integers(value: Any) -> NDArray[Any]:
    """Returns ``value`` as an array.

    ``np.asarray`` makes float64 of an empty list, and of integers on both sides of 2^63.
    """
    array = np.asarray(value)
    if array.dtype.kind != "f" or isinstance(value, np.ndarray):
        return array
    exact = np.asarray(value, object)
    if not all(isinstance(number, int | np.integer) for number in exact.flat):
        return array
    try:
        return exact.astype(np.int64)
    except OverflowError:
        return exact.astype(np.uint64) if min(exact.flat) >= 0 else array


def _column(name: str, value: Any, dtype: Any, n: int) -> NDArray[Any]:
    array = np.asarray(value, object) if dtype is object else _as_integers(value)
    if dtype is not object and array.dtype.kind not in "iub":
        raise ValueError(f"column {name!r} is of {array.dtype}, expected whole numbers")
    if dtype is not object and array.size:
        info = np.iinfo(dtype)
        if int(array.min()) < info.min or int(array.max()) > info.max:
            raise ValueError(f"column {name!r} holds {array.min()} … {array.max()}, beyond {np.dtype(dtype)}")
    if array.shape not in ((), (n,)):
        raise ValueError(f"column {name!r} has shape {array.shape}, expected ({n},) as another column")
    return np.ascontiguousarray(np.broadcast_to(array, (n,))).astype(dtype, copy=True)


@dataclass(frozen=True)
class Head:
    """Names of labels and scenes of events.

    labels   bit b of an event is label b
    scenes   the scene of an event is an index into it
    late_ms  events that are stored later than this after their time are refused
    """

    labels: tuple[str, ...]
    scenes: tuple[str, ...] = ()
    late_ms: int = LATE_MS

    def __post_init__(self) -> None:
        if len(self.labels) > MAX_LABELS:
            raise ValueError(f"events have at most {MAX_LABELS} labels, got {len(self.labels)}")
        for field, names in (("labels", self.labels), ("scenes", self.scenes)):
            if len(set(names)) < len(names) or not all(names):
                raise ValueError(f"{field} are {names!r}, expected distinct names")
        if self.late_ms <= 0:
            raise ValueError(f"late_ms must be positive, got {self.late_ms}")

    def map_scenes(self, scenes: Sequence[str]) -> NDArray[Any]:
        """Returns (scenes of the head + 1,) int64 indices into ``scenes``, −1 if missing and at the end."""
        names = list(scenes)
        return np.array(
            [names.index(scene) if scene in names else -1 for scene in self.scenes] + [-1], np.int64
        )
