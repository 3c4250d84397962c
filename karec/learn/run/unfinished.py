"""Marks an unfinished training, so that the next one resumes it if it would learn the same.

OUT/run-VERSION/begun.json exists from the time the training has read its data until it ends; a killed
training leaves it. It names the data and the time until which the events were read. The next training reads
the log up to that time, so its checkpoints belong to the same data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from karec.files import write_text_aside
from karec.times import DAY_MS

NAME = "begun.json"
FORMAT = 1


@dataclass(frozen=True)
class UnfinishedRun:
    """Content of begun.json.

    begun_ms          start of the first attempt
    logged_until_ms   events appended later are not read
    fingerprint       data, and settings that change what is learned (``settings.check.fingerprint``)
    """

    begun_ms: int
    logged_until_ms: int | None
    fingerprint: str

    @classmethod
    def from_folder(cls, run: Path, now_ms: int) -> UnfinishedRun | None:
        """Returns the marker in ``run``, or None if it is missing or more than a day old."""
        try:
            content = json.loads((run / NAME).read_text(encoding="utf-8"))
            unfinished = cls(content["begun_ms"], content["logged_until_ms"], content["of"])
            return (
                unfinished
                if content["format"] == FORMAT and abs(now_ms - unfinished.begun_ms) <= DAY_MS
                else None
            )
        except (OSError, ValueError, KeyError, TypeError):  # missing or not readable
            return None

    @contextmanager
    def mark(self, run: Path) -> Iterator[None]:
        """Marks ``run`` as unfinished during the block.

        An exception removes the mark, except OSError (such as a full disk), after which the training can be
        resumed.
        """
        run.mkdir(parents=True, exist_ok=True)
        content: dict[str, object] = {
            "format": FORMAT,
            "begun_ms": self.begun_ms,
            "logged_until_ms": self.logged_until_ms,
        }
        content["of"] = self.fingerprint
        write_text_aside(run / NAME, json.dumps(content))
        try:
            yield
        except OSError:
            raise
        except Exception:
            (run / NAME).unlink(missing_ok=True)
            raise
        (run / NAME).unlink(missing_ok=True)
