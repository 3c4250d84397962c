"""Hours of a log that are too old are removed, whole."""

from __future__ import annotations

from pathlib import Path

from karec.files import remove_folder
from karec.online.event_log.head import read_head
from karec.online.event_log.parts import hour_start, hours, parts_of
from karec.times import HOUR_MS


def retire(folder: Path, before_ms: int) -> list[str]:
    """Removes the hours that ended at or before ``before_ms`` and returns their names, oldest first.

    An hour with an open part stays: its writer lives, or the next writer seals it. What a state was not yet
    told of goes too; save the state before (``karec.online.saving``), since a rebuild begins at what
    is left.
    """
    read_head(folder)  # LogSchemaError where this is no log: nothing else is removed
    gone = []
    for hour in hours(folder):
        if hour_start(hour) + HOUR_MS <= before_ms and all(
            part.crc is not None for part in parts_of(folder, hour)
        ):
            remove_folder(folder / hour)
            gone.append(hour)
    return gone
