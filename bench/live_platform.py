"""The other side of ``workers_table.py`` and ``uploads_table.py``: a copy of published bundles, their log,
and which version is current. It stands for hosts and operators.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from karec.bundle import Bundle, make_current
from karec.config.scenes import Config
from karec.platform.event_log.events import Events
from karec.platform.event_log.head import read_head
from karec.platform.event_log.writer import EventLogWriter

NEW = 1 << 50  # ids of uploads begin here


class Platform:
    def __init__(self, config: Path, folder: Path) -> None:
        self.root, self.config = folder / "bundles", folder / "karec.toml"
        shutil.copytree(Config.read(config).bundle, self.root, symlinks=True)
        lines = [
            each
            for each in config.read_text(encoding="utf-8").splitlines()
            if not each.startswith("bundle =")
        ]
        live = ['bundle = "bundles"', "[live]", 'state = "state"', 'events = "events"']
        self.config.write_text("\n".join([*live, *lines]), encoding="utf-8")
        self.versions = sorted(int(each.name[1:]) for each in self.root.glob("v*"))
        make_current(self.root, self.versions[0])
        self.now = Bundle.open(self.root, verify=False).snapshot.time_ms + 3_600_000
        self.number = 0

    def tell(self, log: EventLogWriter, kind: str, n: int = 1, **columns: Any) -> None:
        numbers = np.arange(self.number, self.number + n)
        self.number, self.now = self.number + n, self.now + 1
        log.append(Events.of(kind, source=7, number=numbers, time_ms=self.now, **columns), now_ms=self.now)

    def log(self) -> EventLogWriter:
        return EventLogWriter(
            self.root.parent / "events", read_head(self.root.parent / "events"), fsync="seal"
        )

    def change_version(self) -> None:
        """Another one of the versions is ``current``."""
        current = int((self.root / "current").resolve().name[1:])
        make_current(self.root, next(each for each in self.versions if each != current))
