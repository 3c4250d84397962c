"""The process that replays requests from a bundle: started, watched, and what became of it.

A model may run for ever, take all memory or crash, so it runs first in a child process
(``karec.bundle.replay``), which says on a pipe at which part it is. The child is started by ``subprocess``,
without a copy of this process: threads and locks here do not matter to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from karec.bundle.vector_spaces import SPACES
from karec.catalog.once import Once
from karec.errors import BundleError, one_line

INDICES = frozenset(space.index for space in SPACES)
START_S = 120.0  # imports, from a cold disk on a busy machine
SLOWNESS = 10.0  # a child that gets less than this part of a processor is given up: nothing hangs
SLOWNESS_BESIDE = 60.0  # one that gives way to processes that answer requests, and that nobody waits for


@dataclass(frozen=True)
class Caps:
    """What a replay may take.

    seconds   processor time of one part, so that a busy machine refuses nothing
    bytes     memory allocated after the imports; mapped files do not count
    """

    seconds: float
    bytes: int

    @classmethod
    def of(cls, folder: Path) -> Caps:
        """1.5 s, where models as they are trained take some 0.02 s, and 1 s for each 100 MB that is read and
        checked.

        512 MiB, of which such models take some 20, and four times the files that are read into memory: ONNX
        Runtime holds a model up to three times while it loads. Index files are mapped and count for nothing.
        """
        sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
        read = sum(size for path, size in sizes.items() if path.name not in INDICES)
        return cls(1.5 + sum(sizes.values()) / 100e6, (512 << 20) + 4 * read)


_replayed = Once()  # by the SHA-256 of manifest.json, which fixes every byte of the bundle


def replay_once(folder: Path, manifest: bytes) -> None:
    """Replay the bundle in ``folder``, whose files are those of ``manifest``, unless this process has done so
    before.

    A bundle without a model is not replayed. Raises BundleError as ``replay_in_child`` does, and the next
    call tries again. Any thread may call it; they replay one after the other.
    """
    if any(folder.glob("*.onnx")):
        digest = hashlib.sha256(manifest).digest()
        _replayed.get(digest, lambda: replay_in_child(folder))


def verify_in_child(folder: Path, manifest: bytes) -> None:
    """Everything that ``Bundle.open`` verifies, in a child process of lower priority, and so at no cost of
    this one's: files against ``manifest``, what they hold, replayed requests. Raises BundleError as
    ``replay_in_child`` does.
    """
    replay_in_child(folder, manifest=manifest)


def replay_in_child(folder: Path, caps: Caps | None = None, manifest: bytes | None = None) -> None:
    """Replay a few requests from the bundle in ``folder`` in a child process. With a ``manifest``, that of
    the folder, the child verifies the files first, and gives way to other processes.

    Raises BundleError naming the file that was running when the child found it wrong, crashed or met a cap,
    and when no child can be started.
    """
    caps = Caps.of(folder) if caps is None else caps
    reader, writer = os.pipe()
    options = [str(folder), str(caps.seconds), str(caps.bytes), str(writer)]
    if manifest is not None:
        options.append(hashlib.sha256(manifest).hexdigest())
    command = [_interpreter(), "-P", "-B", "-m", "karec.bundle.replay", *options]
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(writer,),
            env=_environment(),
            start_new_session=True,  # Ctrl-C ends this process, which ends the child
        )
    except OSError as error:
        os.close(reader)
        raise BundleError(f"{folder} cannot be replayed: {command[0]!r} does not start: {error}") from error
    finally:
        os.close(writer)
    assert child.stderr is not None
    watched = _Watched(caps, SLOWNESS if manifest is None else SLOWNESS_BESIDE)
    with child, open(reader, "rb") as reports:
        try:
            watched.follow(reports.fileno(), child.stderr.fileno())
        finally:
            child.kill()
        watched.hear_errors(child.stderr.read())
    if watched.last.get("done") is not True:
        raise BundleError(one_line(watched.refusal(folder, child.returncode)))


def _interpreter() -> str:
    """The Python that ``multiprocessing`` starts too; an embedding host names it with ``set_executable``."""
    from multiprocessing.spawn import get_executable

    found = os.fsdecode(get_executable() or "")
    if not found or (getattr(sys, "frozen", False) and found == sys.executable):
        raise BundleError(
            "a bundle is replayed by a Python interpreter, and this process, which embeds Python, names "
            "none: call multiprocessing.set_executable(PATH) first, or open the bundle with verify=False"
        )
    return found


def _environment() -> dict[str, str]:
    """This process's, with its module path: karec is found where it was found here. One thread for NumPy."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass
class _Watched:
    """What a child has said so far: its last report, the part that runs, the end of its standard error."""

    caps: Caps
    slowness: float = SLOWNESS
    last: dict[str, Any] = field(default_factory=dict)
    part: str | None = None
    ready: bool = False
    overdue: bool = False
    said: bytes = b""
    _unread: bytes = b""

    def follow(self, reports: int, errors: int) -> None:
        """Read both pipes until the child is done, has closed its reports, or is overdue."""
        with selectors.DefaultSelector() as selector:
            selector.register(reports, selectors.EVENT_READ)
            selector.register(errors, selectors.EVENT_READ)
            deadline = time.monotonic() + START_S
            while not self.last.keys() & {"done", "refused"}:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    self.overdue = True
                    return
                for key, _ in ready:
                    chunk = os.read(key.fd, 65536)
                    if key.fd == errors:
                        self.hear_errors(chunk)
                    elif chunk:
                        self._hear(chunk)
                        deadline = time.monotonic() + self._patience_s
                    if not chunk:
                        selector.unregister(key.fd)
                if reports not in selector.get_map():
                    return

    @property
    def _patience_s(self) -> float:
        """How long a part may take by the clock."""
        return self.slowness * (1 + self.caps.seconds)

    def hear_errors(self, chunk: bytes) -> None:
        self.said = (self.said + chunk)[-2000:]

    def _hear(self, chunk: bytes) -> None:
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        for line in lines:
            self.last = json.loads(line)
            self.ready = self.ready or "ready" in self.last
            self.part = self.last.get("part", self.part)

    def refusal(self, folder: Path, status: int) -> str:
        """Why the bundle is refused. ``status`` is the child's, negative for a signal."""
        said = " ".join(self.said.decode(errors="replace").split())[-500:]
        after = f": {said}" if said else ""
        if "refused" in self.last:
            return str(self.last["refused"])
        if not self.ready:
            ended = f"did not start within {START_S:.0f} s" if self.overdue else f"ended with status {status}"
            return f"{folder} cannot be replayed: the process for it {ended}{after}"
        path = folder / self.part if self.part else folder
        ended = f"{path} does not end in a replayed request: stopped after"
        if self.overdue:
            return f"{ended} {self._patience_s:.0f} s by the clock"
        if status == -signal.SIGXCPU:
            return f"{ended} {self.caps.seconds:.1f} s"
        ended = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return f"{path} ends the process in a replayed request {ended}{after}"
