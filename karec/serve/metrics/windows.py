"""What feeds do to creators and works over the last ten minutes, hour and day, summed over all workers.

    FOLDER/new/MINUTE-NAME       what one worker exposed in one minute, written when the minute has ended
    FOLDER/minutes/MINUTE        of all workers; those of the last hour and of hours that are not whole yet
    FOLDER/hours/HOUR            sixty minutes
    FOLDER/exposed.ids           works that were exposed and were not when the bundle was made, ascending
                                 int64
    FOLDER/windows.json          the windows' measures, and those of before, for curves

Once a minute one worker, whichever is first, takes what is new and measures the windows; the others go on.
What comes when its hour is made already counts for the minute in which it is taken. A worker that is killed
loses its current minute. The window of a day is made of whole hours and of minutes: it is up to an hour
shorter. Ages are as of the exposure. A work's first exposure is one after which it is in ``exposed.ids`` or
in the counters of a bundle; both are asked.

Cost a minute: O(W log W) for W works exposed in the hour, and in the first minute of an hour the same of the
day.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from karec.evaluate.metrics.diversity import gini
from karec.files import file_aside
from karec.pipeline.types import Array
from karec.serve.metrics.exposed import FORMAT, YOUNG_HOURS, Catalogue, Exposures

MINUTES = {"10m": 10, "1h": 60, "24h": 1440}
POINTS = 60  # of each window's curve, a tenth of the window apart
HOUR, DAY = 60, 1440  # minutes


class Windows:
    """``now_minute``: minutes since the epoch, of the clock of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("new", "minutes", "hours"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._day: tuple[frozenset[int], Exposures] = frozenset(), Exposures()
        self._creators: tuple[Any, Array | None] = None, None

    def tell(self, minute: int, name: str, exposures: Exposures) -> None:
        """What the worker ``name`` exposed in ``minute``, which has ended."""
        _write(self.folder / "new" / f"{minute}-{name}", exposures)

    def told(self) -> dict[str, Any]:
        """{"minute": the last that is in, "windows": {name: measures}, "history": {name: [measures …]}};
        empty before the first minute."""
        try:
            found = msgspec.json.decode((self.folder / "windows.json").read_bytes())
        except (OSError, msgspec.MsgspecError):
            return {}
        return found if isinstance(found, dict) else {}

    def settle(self, now_minute: int, catalogue: Catalogue, begun: Array | None = None) -> bool:
        """Takes what was exposed before ``now_minute`` and measures; whether it was this worker that did.
        ``begun``: works that were exposed before the service began, where something knows them.
        """
        if self.told().get("minute", -1) >= now_minute - 1:
            return False
        descriptor = os.open(self.folder / "settling.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            told = self.told()
            if told.get("minute", -1) >= now_minute - 1:
                return False
            self._take(now_minute, catalogue, begun)
            measured = self._measured(now_minute - 1, catalogue)
        except BlockingIOError:
            return False
        else:
            told = _with_history(told, now_minute - 1, measured)
            with file_aside(self.folder / "windows.json") as file:
                file.write(msgspec.json.encode(told))
            return True
        finally:
            os.close(descriptor)

    def _take(self, now_minute: int, catalogue: Catalogue, begun: Array | None) -> None:
        last, new = now_minute - 1, list[tuple[int, Path]]()
        for path in (self.folder / "new").iterdir():
            number = path.name.partition("-")[0]
            if number.isdigit() and int(number) <= last and not path.name.endswith(".tmp"):
                new.append((int(number), path))
        minutes: dict[int, list[Exposures]] = {}
        for minute, path in sorted(new):
            late = minute <= last - HOUR or (self.folder / "hours" / str(minute // HOUR)).exists()
            at = last if late else minute
            minutes.setdefault(at, []).extend(_read([path]))
        for minute in sorted(minutes):
            there = _read([self.folder / "minutes" / str(minute)])
            whole = Exposures.joined([*there, *minutes[minute]])
            whole.first = sum(each.first for each in there) + self._first(whole, catalogue, begun)
            _write(self.folder / "minutes" / str(minute), whole)
        for _, path in new:
            path.unlink(missing_ok=True)
        self._make_hours(last)

    def _first(self, exposures: Exposures, catalogue: Catalogue, begun: Array | None) -> int:
        """How many works were never exposed before; they are from here on."""
        path = self.folder / "exposed.ids"
        try:
            known = np.fromfile(path, np.int64)
        except FileNotFoundError:
            known = np.empty(0, np.int64) if begun is None else np.unique(begun)
        ids = exposures.works.keys()
        new = ids[~np.isin(ids, known, assume_unique=True) & ~catalogue.exposed_before(ids)]
        if len(new) or not path.exists():
            with file_aside(path) as file:
                file.write(np.union1d(known, new).astype(np.int64).tobytes())
        return len(new)

    def _make_hours(self, last: int) -> None:
        """Hours that have ended are made of their minutes; what no window reads any more is removed."""
        minutes = _numbers(self.folder / "minutes")
        for hour in {minute // HOUR for minute in minutes}:
            path = self.folder / "hours" / str(hour)
            if hour < last // HOUR and not path.exists():
                _write(
                    path,
                    Exposures.joined(_read(self._minute(m) for m in sorted(minutes) if m // HOUR == hour)),
                )
        for minute in minutes:
            if minute <= last - HOUR and minute // HOUR < last // HOUR:
                self._minute(minute).unlink(missing_ok=True)
        for hour in _numbers(self.folder / "hours"):
            if hour * HOUR <= last - DAY:
                (self.folder / "hours" / str(hour)).unlink(missing_ok=True)

    def _measured(self, last: int, catalogue: Catalogue) -> dict[str, dict[str, Any]]:
        minutes = _numbers(self.folder / "minutes")
        hours = frozenset(_numbers(self.folder / "hours"))
        if hours != self._day[0]:
            self._day = hours, Exposures.joined(_read(self.folder / "hours" / str(hour) for hour in hours))
        creators = self._creators_of(catalogue)
        names = catalogue.snapshot.labels.get("type", [])
        found = {}
        for window, length in MINUTES.items():
            after = last - length
            if length < DAY:
                parts = _read(self._minute(m) for m in sorted(minutes) if m > after)
            else:
                parts = [
                    self._day[1],
                    *_read(self._minute(m) for m in sorted(minutes) if m // HOUR not in hours),
                ]
            found[window] = measures_of(Exposures.joined(parts), creators, names)
        return found

    def _creators_of(self, catalogue: Catalogue) -> Array | None:
        since = catalogue.since
        key = catalogue.snapshot, None if since is None else since.uploads
        if self._creators[0] is None or any(a is not b for a, b in zip(key, self._creators[0], strict=True)):
            self._creators = key, catalogue.creators()
        return self._creators[1]

    def _minute(self, minute: int) -> Path:
        return self.folder / "minutes" / str(minute)


def measures_of(exposures: Exposures, creators: Array | None, types: list[str]) -> dict[str, Any]:
    """What is told of a window. ``creators``: all of the catalogue; those that it lacks and that were exposed
    count too. A share of nothing is None.
    """
    found: dict[str, Any] = {
        "exposures": exposures.n,
        "works": len(exposures.works.keys()),
        "works_first": exposures.first,
        "creators": None,
        "creators_known": None,
        "creators_gini": None,
    }
    if creators is not None:
        exposed, counts = exposures.creators.keys(), exposures.creators.counts()
        n = len(creators) + int(np.count_nonzero(~np.isin(exposed, creators, assume_unique=True)))
        found |= {"creators": len(exposed), "creators_known": n}
        if exposures.n:
            found["creators_gini"] = gini(np.concatenate([np.zeros(n - len(counts)), counts]))
    young = zip(YOUNG_HOURS, exposures.young, strict=True)
    found |= {f"young_{hours}h": n / exposures.dated if exposures.dated else None for hours, n in young}
    typed = sum(exposures.types.values())
    named = {
        types[code] if code < len(types) else str(code): n / typed for code, n in exposures.types.items()
    }
    return {**found, "types": named}


def _with_history(told: Mapping[str, Any], minute: int, measured: Mapping[str, Any]) -> dict[str, Any]:
    """A point of each window's curve a tenth of the window; the last is of now."""
    history = {}
    for window, length in MINUTES.items():
        points = [point for point in told.get("history", {}).get(window, []) if point["minute"] < minute]
        if points and minute // (length // 10) == points[-1]["minute"] // (length // 10):
            points.pop()
        history[window] = [*points, {"minute": minute, **measured[window]}][-POINTS:]
    return {"minute": minute, "windows": measured, "history": history}


def _numbers(folder: Path) -> set[int]:
    return {int(path.name) for path in folder.iterdir() if path.name.isdigit()}


def _write(path: Path, exposures: Exposures) -> None:
    with file_aside(path) as file:
        file.write(msgspec.msgpack.encode(exposures))


def _read(paths: Iterable[Path]) -> list[Exposures]:
    """Those that are there, and of this version."""
    found = []
    for path in paths:
        with suppress(OSError, msgspec.MsgspecError):
            each = msgspec.msgpack.decode(path.read_bytes(), type=Exposures)
            if each.format == FORMAT:
                found.append(each)
    return found
