"""Starts the smoke run of a bundle in a child process, and reports why it failed.

A model may never end, take all memory or crash, so ``karec.bundle.smoke_child`` runs it first, with
limits. ``subprocess`` starts the child without a copy of this process: its threads and locks do not
affect the child.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from karec.bundle.tower_files import INDEX
from karec.catalog.once import Once
from karec.errors import BundleError, one_line

START_S = 120.0  # imports, from a cold disk on a busy machine
MAX_SLOWNESS = 60.0  # a child that gets less than this part of a processor is stopped: nothing hangs


@dataclass(frozen=True)
class Limits:
    """Limits of a smoke run after its imports.

    cpu_seconds   processor time, so that a busy machine refuses nothing
    memory_bytes  allocated memory; mapped files do not count
    """

    cpu_seconds: float
    memory_bytes: int

    @classmethod
    def from_folder(cls, folder: Path) -> Limits:
        """Returns 3 s, plus 1 s for each 50 MB that is read: the models of the demo take 0.02 s.

        Memory: 512 MiB plus four times the files that are not mapped. ONNX Runtime holds a model up to three
        times while it loads.
        """
        sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
        loaded = sum(size for path, size in sizes.items() if path.name != INDEX)
        return cls(3.0 + sum(sizes.values()) / 50e6, (512 << 20) + 4 * loaded)

    @property
    def clock_seconds(self) -> float:
        return START_S + MAX_SLOWNESS * self.cpu_seconds


_passed = Once()  # by the SHA-256 of manifest.json, which fixes every byte of the bundle


def run_smoke_once(folder: Path, manifest: bytes) -> None:
    """Runs the smoke run, unless the bundle has no model or one with this ``manifest`` passed in this
    process.

    The files must be those of ``manifest``. Raises BundleError as ``run_smoke``. Any thread.
    """
    if any(folder.glob("*.onnx")):
        _passed.get(hashlib.sha256(manifest).digest(), lambda: run_smoke(folder))


def run_smoke(folder: Path, limits: Limits | None = None, *, manifest: bytes | None = None) -> None:
    """Runs sampled requests through each model of the bundle in ``folder``, in a child process.

    With a ``manifest``, which must be that of the folder, the child runs at low priority and verifies files
    and contents first, so that requests of this process are not delayed.

    Raises BundleError that names the file that was read or run when the child refused it, crashed or reached
    a limit, or if no child can be started.
    """
    limits = Limits.from_folder(folder) if limits is None else limits
    command = [_find_interpreter(), "-P", "-B", "-m", "karec.bundle.smoke_child", str(folder)]
    command += [str(limits.cpu_seconds), str(limits.memory_bytes)]
    command += [] if manifest is None else [hashlib.sha256(manifest).hexdigest()]
    status = None
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limits.clock_seconds,
            env=_child_environment(),
            start_new_session=True,  # Ctrl-C ends this process, which ends the child
            check=False,
        )
        output, errors, status = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as expired:
        output, errors = expired.stdout or b"", expired.stderr or b""
    except OSError as error:
        raise BundleError(f"{folder} cannot be verified: {command[0]!r} does not start: {error}") from error
    reports = output.decode(errors="replace").split("\n")[:-1]
    if reports[-1:] != ["done"]:
        raise BundleError(one_line(_refusal(folder, limits, status, reports, errors)))


def _find_interpreter() -> str:
    """Returns the Python that ``multiprocessing`` starts too; an embedding host names it with
    ``set_executable``."""
    from multiprocessing.spawn import get_executable

    path = os.fsdecode(get_executable() or "")
    if not path or (getattr(sys, "frozen", False) and path == sys.executable):
        raise BundleError(
            "a Python interpreter must run the models of a bundle first, and this process, which embeds "
            "Python, names none: call multiprocessing.set_executable(PATH) first, or open the bundle with "
            "verify=False"
        )
    return path


def _child_environment() -> dict[str, str]:
    """Returns this process's environment with its module path, and one thread for NumPy."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _refusal(folder: Path, limits: Limits, status: int | None, reports: list[str], errors: bytes) -> str:
    """Returns why the bundle is refused. ``status``: of the child, negative for a signal; None: it was
    stopped."""
    if not reports:
        ended = (
            f"did not start within {limits.clock_seconds:.0f} s"
            if status is None
            else f"ended with status {status}"
        )
        return f"{folder} cannot be verified: the process for it {ended}{_tail(errors)}"
    word, _, text = reports[-1].partition(" ")
    if word == "refused":
        return text
    part = next((line.removeprefix("part ") for line in reversed(reports) if line.startswith("part ")), "")
    path = folder / part if part else folder
    if status is None:
        return f"{path} does not end in a smoke run: stopped after {limits.clock_seconds:.0f} s by the clock"
    if status == -signal.SIGXCPU:
        return (
            f"{path} does not end in a smoke run: stopped after {limits.cpu_seconds:.1f} s of processor time"
        )
    ended = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    return f"{path} ends the process in a smoke run {ended}{_tail(errors)}"


def _tail(errors: bytes) -> str:
    text = " ".join(errors.decode(errors="replace").split())[-500:]
    return f": {text}" if text else ""
