"""What became of a work since the base: uploaded, edited, deleted, blocked; the latest word counts.

    there     the newest of its uploads, deletions and blocks says whether the work is there
    columns   of each column the newest value, of an upload or an edit

"Newest" is by time; of one millisecond a deletion or block is newer than an upload, and else the higher number. So the
state depends on which events were stepped and not on their order, and stepping one twice changes nothing. A block of a
creator is kept for the creator: it hides every work of theirs that was uploaded before it, or in its millisecond.

The ``text`` of an upload or an edit is a JSON object: columns by name, and ``id``, the work's id where the platform's
ids are texts. The creator of an upload is the column ``creator_id``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from karec.platform.event_log.events import BLOCK, DELETE, EDIT, UPLOAD
from karec.platform.schema import CREATOR

LIVES = (UPLOAD, DELETE, EDIT, BLOCK)  # the kinds that it reads
ID = "id"  # of a text: the work's id on the platform
MOST_COLUMNS = 1000  # of a work

Moment = tuple[int, int]
NEVER: Moment = (-(1 << 63), 0)
Value = int | float | str | bool | None


@dataclass(frozen=True)
class Life:
    """``there``: (moment, kind) of the newest upload, deletion or block; None where only edits are known.
    ``columns`` {name: (moment, value)}.
    """

    there: tuple[Moment, int] | None = None
    columns: Mapping[str, tuple[Moment, Value]] = field(default_factory=dict)

    def step(self, kind: int, moment: Moment, columns: Mapping[str, Value]) -> Life:
        """After one more event."""
        there, newest = self.there, dict(self.columns)
        if kind != EDIT:
            there = max(there or (NEVER, 0), (moment, kind), key=lambda word: (word[0][0], word[1], word[0][1]))
        for name, value in columns.items():
            if name not in newest or (newest[name][0], repr(newest[name][1])) < (moment, repr(value)):
                newest[name] = moment, value
        return Life(there, newest)

    @property
    def uploaded_ms(self) -> int | None:
        """The moment of the upload, where that is the newest word; None: it was not uploaded, or is gone."""
        return self.there[0][0] if self.there is not None and self.there[1] == UPLOAD else None

    @property
    def gone(self) -> bool:
        return self.there is not None and self.there[1] != UPLOAD

    def values(self, from_ms: int = NEVER[0]) -> dict[str, Value]:
        """Each column's newest value, of those that were said at ``from_ms`` or later."""
        return {name: value for name, (moment, value) in self.columns.items() if moment[0] >= from_ms}

    def to_bytes(self) -> bytes:
        there = None if self.there is None else [*self.there[0], self.there[1]]
        return json.dumps([there, {name: [*moment, value] for name, (moment, value) in self.columns.items()}]).encode()

    @classmethod
    def of_bytes(cls, data: bytes) -> Life:
        """ValueError for anything else than what ``to_bytes`` gives."""
        try:
            there, columns = json.loads(data)
            return cls(
                None if there is None else ((int(there[0]), int(there[1])), int(there[2])),
                {str(name): ((int(time), int(number)), value) for name, (time, number, value) in columns.items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{data[:60]!r} is no life of a work") from error


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
