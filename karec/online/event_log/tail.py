"""Reading a log as it grows: from a cursor on, in the order in which each writer appended.

A cursor says, of each writer, the part that is being read and how many of its events were taken; lower parts
were read whole. It is small JSON, to be kept with whatever was made of the events, and stays right when parts
are sealed or retired.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from karec.aggregates.events import Events
from karec.files import open_regular
from karec.online.event_log.frames import bytes_of_first, whole_frames
from karec.online.event_log.head import read_head
from karec.online.event_log.parts import Part, hours, parts_of, read_part

AT_ONCE = 16 << 20  # bytes of an open part that are read at once
SETTLED_NS = 2_000_000_000  # a folder may change again within the grain of its time of change


@dataclass(frozen=True)
class Cursor:
    """``places`` {writer: (number of a part, events of it that were taken)}; lower parts were taken whole."""

    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def covers(self, other: Cursor) -> bool:
        """Whether everything before ``other`` is before this one too."""
        return all(self.places.get(writer, (-1, 0)) >= place for writer, place in other.places.items())

    def joined(self, other: Cursor) -> Cursor:
        """Of each writer the later place."""
        places = dict(self.places)
        for writer, place in other.places.items():
            places[writer] = max(place, places.get(writer, place))
        return Cursor(places)

    def to_bytes(self) -> bytes:
        return json.dumps({writer: list(place) for writer, place in sorted(self.places.items())}).encode()

    @classmethod
    def of_bytes(cls, data: bytes) -> Cursor:
        """Raises ValueError for anything else than what ``to_bytes`` gives."""
        try:
            return cls(
                {writer: (int(number), int(taken)) for writer, (number, taken) in json.loads(data).items()}
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{data[:60]!r} is no cursor of an event log") from error


class EventTail:
    """Gives what was appended after ``cursor``, to one thread. LogSchemaError for a log that is none, or
    damaged."""

    def __init__(self, folder: Path, cursor: Cursor | None = None) -> None:
        self.folder = folder
        self.head = read_head(folder)
        self.cursor = Cursor() if cursor is None else cursor
        self._offsets: dict[tuple[str, int], int] = {}  # bytes of open parts that were taken
        self._read: dict[str, int] = {}  # hours that were read whole, and when their folders had changed then
        self._held: tuple[Path, Events] | None = None  # the sealed part that is being read

    def poll(self, most: int = 50_000) -> Events:
        """The next events, about ``most`` of them, and none where nothing is new; ``cursor`` is then behind
        them.

        Of one writer they come in the order of its appends, of one hour by writer; an append is never cut in
        two but for a sealed part, which is cut after ``most`` events.
        """
        places, found, n = dict(self.cursor.places), list[Events](), 0
        names = hours(self.folder)
        behind: set[str] = set()  # writers with more in a part: their later parts wait
        for hour, changed_ns, parts in self._unread(names):
            whole = hour < names[-1] and time.time_ns() - changed_ns > SETTLED_NS
            for part in parts:
                number, taken = places.get(part.writer, (part.number, 0))
                if part.number < number:
                    continue
                if part.writer in behind:
                    whole = False
                    continue
                taken = taken if part.number == number else 0
                events, ended, more = self._after(part, taken, most - n)
                whole &= ended
                if more:
                    behind.add(part.writer)
                if ended:
                    places[part.writer] = part.number + 1, 0
                elif len(events):
                    places[part.writer] = part.number, taken + len(events)
                if len(events):
                    found.append(events)
                    n += len(events)
                if n >= most:
                    break
            if n >= most:
                break
            if whole:
                self._read[hour] = changed_ns
        self.cursor = Cursor(places)
        return Events.concatenate(found) if found else Events.empty()

    def _unread(self, names: list[str]) -> list[tuple[str, int, list[Part]]]:
        """(hour, when its folder changed, its parts) of the hours that have something new, oldest first.

        All are listed before any part is read, the newest hour first: when a part is listed, the parts that
        its writer had before are listed too, and grow no more.
        """
        found, folder = [], str(self.folder)
        for hour in reversed(names):
            try:
                changed_ns = os.stat(f"{folder}/{hour}").st_mtime_ns  # thousands of hours, at each look
            except FileNotFoundError:  # retired meanwhile
                continue
            if self._read.get(hour) != changed_ns:
                found.append((hour, changed_ns, parts_of(self.folder, hour)))
        return found[::-1]

    def _after(self, part: Part, taken: int, most: int) -> tuple[Events, bool, bool]:
        """(the events of a part behind ``taken``, whether nothing can follow them, whether more of it is
        there now)."""
        key = part.writer, part.number
        if part.crc is not None:
            self._offsets.pop(key, None)
            if self._held is None or self._held[0] != part.path:
                self._held = part.path, read_part(part, self.head)
            events = self._held[1]
            ended = taken + most >= len(events)
            if ended:
                self._held = None
            return events.take(slice(taken, taken + most)), ended, not ended
        try:
            with open_regular(part.path) as file:
                if taken and key not in self._offsets:  # of a cursor that was kept
                    self._offsets[key] = bytes_of_first(file.read(), taken)
                offset = self._offsets.get(key, 0)
                file.seek(offset)
                data = file.read(AT_ONCE)
                frames, n_bytes = whole_frames(data)
                more = len(data) == AT_ONCE
                if more and not frames:  # one append that is longer
                    frames, n_bytes = whole_frames(data + file.read())
                    more = False
        except FileNotFoundError:  # sealed meanwhile: the next poll reads it
            return Events.empty(), False, True
        self._offsets[key] = offset + n_bytes
        return Events.concatenate([Events.empty(), *frames]), False, more
