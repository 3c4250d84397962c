"""A command of karec as a child process that starts at its time, and again with back-off after a failure.

Failure   The child ended by a signal or with an unexpected status. It starts again after 1, 2, 4 … 64 s.
          After a run of LONG_RUN_S, the back-off begins at 1 s again.
Output    Standard output and error are appended to LOGS/NAME.log. From MAX_LOG_BYTES on, the log is copied to
          NAME.log.1 and emptied.
Clock     If the clock is set back, a start is late by at most one pause; if it is set forward, it is early.
End       The child has its own session, so Ctrl-C ends only this process, which then ends the child. If this
          process is killed, the kernel sends SIGTERM to the child (PR_SET_PDEATHSIG, Linux).
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

LONG_RUN_S = 64.0
MAX_PAUSE_S = 64.0
MAX_LOG_BYTES = 4 * 2**20
TAIL_BYTES = 4000  # of a log, which contain its last line
STOP_S = 10.0  # from SIGTERM to SIGKILL
PROGRAM = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
from karec.cli import main
sys.exit(main(sys.argv[2:]))"""


@dataclass
class Child:
    """``karec`` with the arguments ``command``, run in ``folder``. One thread may call. Times: Unix seconds.

    good     {expected status: text for the status line}
    every_s  seconds from a start to the next one, after an expected status
    next_s   time of the next start, if it does not run
    began_s  time of the last start
    deaths   number of failures
    last     text on the last end
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
        """Process id; None if it does not run."""
        return None if self._process is None else self._process.pid

    @property
    def log(self) -> Path:
        return self.logs / f"{self.name}.log"

    def poll(self, now: float) -> bool:
        """Starts the process if it is time. Returns True if it started or ended.

        Raises OSError if it cannot start.
        """
        if self._process is None:
            # the clock may have been set back
            self.next_s = min(self.next_s, now + max(self.every_s, MAX_PAUSE_S))
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
            self.last, self.deaths = self._describe_failure(status), self.deaths + 1
            self._failures = 1 if now - self.began_s >= LONG_RUN_S else self._failures + 1
            self.next_s = now + back_off(self._failures)
        return True

    def stop(self) -> None:
        """Ends the process by SIGTERM, and by SIGKILL after STOP_S."""
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

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Continues the schedule ``saved`` in the state file by an earlier process, if there is ``every_s``.

        An interrupted child starts at once.
        """
        if self.every_s:
            self.began_s, self.last = float(saved["began_s"]), str(saved["last"])
            self.next_s = min(float(saved["next_s"]), self.began_s + self.every_s)

    def to_dict(self) -> dict[str, Any]:
        """Returns the entry of the state file."""
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

    def _describe_failure(self, status: int) -> str:
        """Returns the signal, or the status and the last line of output."""
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        try:
            with self.log.open("rb") as log:
                log.seek(max(log.seek(0, os.SEEK_END) - TAIL_BYTES, self._from))
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:  # the log may have been removed
            lines = []
        last_line = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
        return f"ended with {status}: {last_line}"

    def _cut_log(self) -> None:
        """Copies a long log to NAME.log.1 and empties it; the child appends. Does nothing if that fails."""
        with suppress(OSError):
            if self.log.stat().st_size > MAX_LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)
                self._from = 0


def back_off(failures: int) -> float:
    """Returns the pause after ``failures`` consecutive failures, in seconds: 1, 2, 4 … 64."""
    return float(min(2.0 ** (failures - 1), MAX_PAUSE_S))
