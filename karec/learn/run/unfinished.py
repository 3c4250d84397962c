"""What a training says of itself until it ends: one that was cut off is gone on with, where it would learn
the same.

OUT/run-VERSION/begun.json is there from the moment at which the training knows its data until it ends; a
training that is killed leaves it. It says until when the event log was read, so that the next one reads no
further and its checkpoints are of the same data, and names these data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from karec.files import write_text_aside
from karec.times import DAY_MS

NAME = "begun.json"
FORMAT = 1


@dataclass(frozen=True)
class Begun:
    """``begun_ms``: when it first began; ``logged_until_ms``: events that were appended later are not read;
    ``of``: the data, and the settings that change what is learned (``settings.check.fingerprint``).
    """

    begun_ms: int
    logged_until_ms: int | None
    of: str

    @classmethod
    def cut_off(cls, run: Path, now_ms: int) -> Begun | None:
        """What the training that was cut off in ``run`` said; None where none was, or it began over a day
        ago: its newest day is none any more.
        """
        try:
            said = json.loads((run / NAME).read_text(encoding="utf-8"))
            found = cls(said["begun_ms"], said["logged_until_ms"], said["of"])
            return found if said["format"] == FORMAT and abs(now_ms - found.begun_ms) <= DAY_MS else None
        except (OSError, ValueError, KeyError, TypeError):  # nothing, or nothing that can be read
            return None

    @contextmanager
    def running(self, run: Path) -> Iterator[None]:
        """The block trains into ``run``. What it raises ends the training, but for a full disk or a signal,
        after which it may be gone on with.
        """
        run.mkdir(parents=True, exist_ok=True)
        write_text_aside(run / NAME, json.dumps({"format": FORMAT, **asdict(self)}))
        try:
            yield
        except OSError:
            raise
        except Exception:
            (run / NAME).unlink(missing_ok=True)
            raise
        (run / NAME).unlink(missing_ok=True)
