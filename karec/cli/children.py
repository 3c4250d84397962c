"""A command of karec as a child process that is begun again: at its time, or with back-off after it failed.

Death     It ended with a status that is none of a good end, or by a signal. It begins again after 1, 2, 4 …
          64 seconds; one that lived for LONG_S begins that count anew.
Output    Standard output and error, appended to LOGS/NAME.log; beyond MOST_BYTES that goes to NAME.log.1.
Clock     One that is set back delays a begin by a whole wait at most; one that is set forward brings it on.
With us   The child has a session of its own, so that Ctrl-C ends this process alone, which ends the child.
          Where this process is killed, the kernel sends the child SIGTERM (prctl's PR_SET_PDEATHSIG, Linux).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LONG_S, MOST_WAIT_S = 64.0, 64.0
MOST_BYTES = 4 * 2**20
SAID = 4000  # bytes at a log's end in which its last line is looked for
STOP_S = 10.0  # after SIGTERM a child has so long
PROGRAM = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
from karec.cli import main
sys.exit(main(sys.argv[2:]))"""


@dataclass
class Child:
    """``karec`` with the words ``command``, run in ``folder``. Moments are Unix seconds, told by the caller.

    good     {status of a good end: what it says}; after one it begins again ``every_s`` after it began
    next_s   when it begins, while it does not run
    """

    name: str
    command: Sequence[str]
    folder: Path
    logs: Path
    good: Mapping[int, str] = field(default_factory=dict)
    every_s: float = 0.0
    next_s: float = 0.0
    began_s: float = 0.0
    deaths: int = 0
    last: str = ""
    _failures: int = 0
    _from: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def log(self) -> Path:
        return self.logs / f"{self.name}.log"

    def look(self, now: float) -> bool:
        """Whether something changed: it has ended, or is begun as its time has come. OSError: it cannot be
        begun."""
        if self._process is None:
            # where the clock was set back
            self.next_s = min(self.next_s, now + max(self.every_s, MOST_WAIT_S))
            if now < self.next_s:
                return False
            self._begin(now)
            return True
        status = self._process.poll()
        if status is None:
            self._cut_log()
            return False
        self._process = None
        if status in self.good:
            self.last, self._failures = self.good[status], 0
            self.next_s = max(self.began_s + self.every_s, now)
        else:
            self.last, self.deaths = self._why(status), self.deaths + 1
            self._failures = 1 if now - self.began_s >= LONG_S else self._failures + 1
            self.next_s = now + back_off(self._failures)
        return True

    def stop(self) -> None:
        """Ends the process, if one runs: SIGTERM, and SIGKILL after STOP_S."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def go_on(self, told: Mapping[str, Any]) -> None:
        """Of a child with ``every_s``: it begins when it was due by what an earlier process ``told``; one
        that was cut off is due at once.
        """
        if self.every_s:
            self.began_s, self.last = float(told["began_s"]), str(told["last"])
            self.next_s = min(float(told["next_s"]), self.began_s + self.every_s)

    def told(self) -> dict[str, Any]:
        """What the state file says of it."""
        return {
            "pid": self.pid,
            "began_s": self.began_s,
            "next_s": self.next_s,
            "deaths": self.deaths,
            "last": self.last,
            "log": str(self.log),
        }

    def _begin(self, now: float) -> None:
        words = [sys.executable, "-P", "-c", PROGRAM, str(os.getpid()), *self.command]
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        with self.log.open("ab") as log:
            self._from = log.tell()
            self._process = subprocess.Popen(
                words,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        self.began_s = now

    def _why(self, status: int) -> str:
        """Of a death: the signal, or the status and the last line that it wrote."""
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        try:
            with self.log.open("rb") as log:
                log.seek(max(log.seek(0, os.SEEK_END) - SAID, self._from))
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:  # somebody removed it
            lines = []
        said = next((line.strip() for line in reversed(lines) if line.strip()), "without a word")
        return f"ended with {status}: {said}"

    def _cut_log(self) -> None:
        """The child appends, so that a log which is emptied goes on from its begin. One that somebody moved
        away, or that a full disk has no room to copy, stays as it is: the child runs on.
        """
        with suppress(OSError):
            if self.log.stat().st_size > MOST_BYTES:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)
                self._from = 0


def back_off(failures: int) -> float:
    """Seconds to wait after so many failures, one after the other: 1, 2, 4 … 64."""
    return float(min(2.0 ** (failures - 1), MOST_WAIT_S))
