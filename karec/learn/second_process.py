"""Runs a task in a second process, on a core that would be idle, and measures peak memory."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from karec.errors import KarecError
from karec.pipeline.deadline import usable_cores
from karec.times import Progress

PROGRAM = f"import sys; from {__name__} import run_child; run_child(int(sys.argv[1]))"
STDERR_BYTES = 2000  # the end of the child's standard error, which an error message repeats
NICENESS = 3  # the child has lower priority until result() is called

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Task(Protocol[R_co]):
    """Work that pickle can send to another process."""

    def run(self, progress: Progress) -> R_co: ...


class StartedTask(Protocol[R_co]):
    """A context that ends what is left of the task."""

    @property
    def peak_gib(self) -> float:
        """Peak memory of this process and a second one together, once the task has ended; 0 if there is
        none."""

    def result(self) -> R_co: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


def can_use_second_process() -> bool:
    """Returns True if there are two cores and ``sys.executable`` is an interpreter (a frozen program has
    none)."""
    return usable_cores() > 1 and bool(sys.executable) and not getattr(sys, "frozen", False)


def start_task(task: Task[R], progress: Progress | None = None) -> StartedTask[R]:
    """Starts ``task`` in a second process if one can be used; else ``result`` runs it in this one."""
    return SecondProcess(task, progress) if can_use_second_process() else DeferredTask(task, progress)


class DeferredTask(Generic[R]):
    """A task that this process runs when ``result`` is called. A context, as ``SecondProcess``."""

    peak_gib = 0.0

    def __init__(self, task: Task[R], progress: Progress | None = None) -> None:
        self._task = task
        self._progress = progress

    def result(self) -> R:
        return self._task.run(self._progress or (lambda *_: None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class SecondProcess(Generic[R]):
    """A task in a child process, which ends with the context. A thread of this process calls ``progress``.

    The child is a new interpreter: it shares no generator, thread or lock. It reads the pickled task from a
    pipe and writes its progress and its result to another one.
    """

    peak_gib = 0.0

    def __init__(self, task: Task[R], progress: Progress | None = None) -> None:
        self._progress = progress
        self._results: list[R] = []
        self._error: BaseException = KarecError("it has not ended")
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
        reader, writer = os.pipe()
        python_path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM, str(writer)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=(writer,),
                env={**os.environ, "PYTHONPATH": python_path},
                start_new_session=True,  # Ctrl-C ends this process, which ends the child
            )
        except BaseException:
            os.close(reader)
            self._stderr.close()
            raise
        finally:
            os.close(writer)
        with suppress(OSError):  # the child has ended already
            os.setpriority(os.PRIO_PROCESS, self._child.pid, os.nice(0) + NICENESS)
        self._thread = threading.Thread(
            target=self._follow, args=(task, reader), name="karec-second-process", daemon=True
        )
        self._thread.start()

    def result(self) -> R:
        """Waits for the task. Raises what it raised, and KarecError if the child was killed."""
        with suppress(OSError):  # only root may raise the priority again
            os.setpriority(os.PRIO_PGRP, self._child.pid, os.nice(0))
        self._thread.join()
        if not self._results:
            raise self._error
        return self._results[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._thread.join()
        self._child.wait()
        self._stderr.close()

    def _follow(self, task: Task[R], reader: int) -> None:
        assert self._child.stdin is not None
        try:
            with open(reader, "rb") as messages:
                with suppress(BrokenPipeError), self._child.stdin as pipe:
                    pickle.dump(task, pipe, protocol=pickle.HIGHEST_PROTOCOL)
                while True:
                    kind, value = pickle.load(messages)
                    if kind == "progress" and self._progress is not None:
                        self._progress(*value)
                    elif kind == "result":
                        result, child_peak_gib = value
                        self.peak_gib = child_peak_gib + peak_gib()
                        self._results.append(result)
                        return
                    elif kind == "error":
                        self._error = value
                        return
        except (EOFError, pickle.UnpicklingError):  # the child ended, perhaps within a message
            self._stderr.seek(max(self._stderr.seek(0, os.SEEK_END) - STDERR_BYTES, 0))
            end = " ".join(self._stderr.read().decode(errors="replace").split())
            status = self._child.wait()
            self._error = KarecError(
                f"the process for {type(task).__name__} ended with status {status}: {end}"
            )
        except BaseException as error:  # ``result`` raises it
            self._error = error
            self._child.kill()


def run_child(writer: int) -> None:
    """Runs the task that standard input holds and writes progress and result to the pipe ``writer``."""
    with open(writer, "wb") as messages:

        def send(kind: str, value: Any) -> None:
            pickle.dump((kind, value), messages)
            messages.flush()

        try:
            task: Task[Any] = pickle.load(sys.stdin.buffer)
            result = task.run(lambda *args: send("progress", args))
        except BrokenPipeError:
            return  # the parent has ended
        except Exception as error:
            error.add_note(traceback.format_exc())
            send("error", error)
            return
        send("result", (result, peak_gib()))


def reset_peak() -> None:
    """Sets the peak to the memory that the process holds now. Only Linux can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_gib() -> float:
    """Returns the peak resident memory of this process since ``reset_peak``, in GiB; on other systems than
    Linux since its start."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20
