"""What became of a work since the base: uploaded, edited, deleted, blocked, adjusted; the latest word counts.

    there     the newest of its uploads and deletions says whether the work is there
    blocked   the newest of its blocks and unblocks says whether it is blocked, uploaded again or not
    columns   of each column the newest value, of an upload or an edit
    adjusted  the newest ``scale`` and the newest ``offset`` of its scores

"Newest" is by time; of one millisecond a deletion or a block is the newest, and else the higher number. So
the state depends on which events were stepped and not on their order, and stepping one twice changes nothing.
Blocks and unblocks of a creator are kept for the creator: they hold for all works of theirs, whenever
uploaded.

The ``text`` of an upload or an edit is a JSON object: columns by name, and ``id``, the work's id where the
platform's ids are texts. The creator of an upload is the column ``creator_id``. That of an adjustment has
``scale``, ``offset`` or both, as float32 holds them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from karec.aggregates.events import ADJUST, BLOCK, DELETE, EDIT, UNBLOCK, UPLOAD
from karec.catalog.schema import CREATOR

LIVES = (UPLOAD, DELETE, EDIT, BLOCK, UNBLOCK, ADJUST)  # the kinds that it reads
SAY = (UPLOAD, EDIT, ADJUST)  # those that have a text
ADJUSTED = ("scale", "offset")
ID = "id"  # of a text: the work's id on the platform
MOST_COLUMNS = 1000  # of a work
MOST_FACTOR = float(np.finfo(np.float32).max)

Moment = tuple[int, int]
NEVER: Moment = (-(1 << 63), 0)
Value = int | float | str | bool | None
Word = tuple[Moment, int]
"""When it was said, and the kind of the event."""


def newest(*words: Word | None) -> Word | None:
    """The word that counts; None where there is none."""
    said = [word for word in words if word is not None]
    return max(said, key=lambda word: (word[0][0], word[1] in (DELETE, BLOCK), word[0][1]), default=None)


@dataclass(frozen=True)
class ItemLife:
    """``there``: the newest upload or deletion, ``blocked``: the newest block or unblock; None where there is
    none. ``columns``, ``adjusted`` {name: (moment, value)}.
    """

    there: Word | None = None
    blocked: Word | None = None
    columns: Mapping[str, tuple[Moment, Value]] = field(default_factory=dict)
    adjusted: Mapping[str, tuple[Moment, Value]] = field(default_factory=dict)

    def step(self, kind: int, moment: Moment, said: Mapping[str, Value]) -> ItemLife:
        """After one more event, whose text ``said`` that."""
        if kind == ADJUST:
            return replace(self, adjusted=_with_newer(self.adjusted, moment, said))
        there = newest(self.there, (moment, kind) if kind in (UPLOAD, DELETE) else None)
        blocked = newest(self.blocked, (moment, kind) if kind in (BLOCK, UNBLOCK) else None)
        return replace(self, there=there, blocked=blocked, columns=_with_newer(self.columns, moment, said))

    @property
    def uploaded_ms(self) -> int | None:
        """The moment of the upload, where that is the newest word; None: it was not uploaded, or was
        deleted."""
        return self.there[0][0] if self.there is not None and self.there[1] == UPLOAD else None

    @property
    def said_ms(self) -> int:
        """The moment of the newest upload or edit: its columns are of then. Of a work that has one."""
        moments = [moment[0] for moment, _ in self.columns.values()]
        return max(moments if self.uploaded_ms is None else [*moments, self.uploaded_ms])

    @property
    def gone(self) -> bool:
        """Whether it was deleted, or is blocked itself."""
        deleted = self.there is not None and self.there[1] == DELETE
        return deleted or (self.blocked is not None and self.blocked[1] == BLOCK)

    def values(self, from_ms: int = NEVER[0]) -> dict[str, Value]:
        """Each column's newest value, of those that were said at ``from_ms`` or later."""
        return {name: value for name, (moment, value) in self.columns.items() if moment[0] >= from_ms}

    def to_bytes(self) -> bytes:
        words = [None if word is None else [*word[0], word[1]] for word in (self.there, self.blocked)]
        said = [
            {name: [*moment, value] for name, (moment, value) in each.items()}
            for each in (self.columns, self.adjusted)
        ]
        return json.dumps([*words, *said]).encode()

    @classmethod
    def of_bytes(cls, data: bytes) -> ItemLife:
        """ValueError for anything else than what ``to_bytes`` gives."""
        try:
            # written before works were adjusted: three
            *words, columns, adjusted = [*json.loads(data), {}][:4]
            there, blocked = (
                None if word is None else ((int(word[0]), int(word[1])), int(word[2])) for word in words
            )
            said = [
                {name: ((int(time), int(number)), value) for name, (time, number, value) in each.items()}
                for each in (columns, adjusted)
            ]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{data[:60]!r} is no life of a work") from error
        return cls(there, blocked, *said)


def _with_newer(
    known: Mapping[str, tuple[Moment, Value]], moment: Moment, said: Mapping[str, Value]
) -> dict[str, tuple[Moment, Value]]:
    newer = dict(known)
    for name, value in said.items():
        if name not in newer or (newer[name][0], repr(newer[name][1])) < (moment, repr(value)):
            newer[name] = moment, value
    return newer


def adjustment_of(text: str) -> dict[str, Value] | None:
    """``scale`` and ``offset`` of an adjustment; None where ``text`` says neither, or something else."""
    said = columns_of(text, -1)
    if not said or not said.keys() <= {*ADJUSTED} or not all(map(is_factor, said.values())):
        return None
    return said


def is_factor(value: object) -> bool:
    """Whether it is a finite number as float32."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST_FACTOR


def columns_of(text: str, creator_id: int) -> dict[str, Value] | None:
    """What an upload or an edit says of the work; None where ``text`` is no object of plain values."""
    try:
        said: Any = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or len(said) > MOST_COLUMNS:
        return None
    if not all(value is None or isinstance(value, str | int | float) for value in said.values()):
        return None
    return {**said, CREATOR: creator_id} if creator_id >= 0 else said
