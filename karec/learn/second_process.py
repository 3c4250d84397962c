"""Runs a task in a second process, on a core that would be idle, and measures peak memory."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from karec.errors import KarecError
from karec.pipeline.deadline import usable_cores
from karec.times import Progress

NICENESS = 3  # the child has lower priority until result() is called

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Task(Protocol[R_co]):
    """Work that pickle can send to another process."""

    def run(self, progress: Progress) -> R_co: ...


class StartedTask(Protocol[R_co]):
    """A context that ends what is left of the task."""

    def result(self) -> R_co: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


def start_task(task: Task[R], progress: Progress | None = None) -> StartedTask[R]:
    """Starts ``task`` in a second process if there are two cores; else ``result`` runs it in this process.

    A frozen program has no interpreter for a second process.
    """
    if usable_cores() > 1 and sys.executable and not getattr(sys, "frozen", False):
        return SecondProcess(task, progress)
    return DeferredTask(task, progress)


class DeferredTask(Generic[R]):
    """A task that this process runs when ``result`` is called. A context, as ``SecondProcess``."""

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

    The child is a new interpreter: it shares no generator, thread or lock.
    """

    def __init__(self, task: Task[R], progress: Progress | None = None) -> None:
        self._progress = progress
        self._results: list[R] = []
        self._error: BaseException = KarecError("the task has not ended")
        context = multiprocessing.get_context("spawn")
        self._messages, sender = context.Pipe(duplex=False)
        self._child = context.Process(target=_run_child, args=(task, sender), name=type(task).__name__)
        self._child.start()
        sender.close()  # so that the end of the child ends the messages
        with suppress(OSError):  # the child has ended already
            os.setpriority(os.PRIO_PROCESS, self._child.pid or 0, os.nice(0) + NICENESS)
        self._thread = threading.Thread(target=self._follow, name="karec-second-process", daemon=True)
        self._thread.start()

    def result(self) -> R:
        """Waits for the task. Raises what it raised, and KarecError if the child was killed."""
        with suppress(OSError):  # only root may raise the priority again
            os.setpriority(os.PRIO_PROCESS, self._child.pid or 0, os.nice(0))
        self._thread.join()
        if not self._results:
            raise self._error
        return self._results[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._thread.join()
        self._child.join()
        self._messages.close()

    def _follow(self) -> None:
        try:
            while True:
                kind, value = self._messages.recv()
                if kind == "result":
                    self._results.append(value)
                    return
                if kind == "error":
                    self._error = value
                    return
                if self._progress is not None:
                    self._progress(*value)
        except (EOFError, OSError):  # the child ended, perhaps within a message
            self._child.join()
            self._error = KarecError(
                f"the process for {self._child.name} ended with status {self._child.exitcode}"
            )
        except BaseException as error:  # ``result`` raises it
            self._error = error
            self._child.kill()


def _run_child(task: Task[Any], messages: Connection) -> None:
    os.setsid()  # Ctrl-C ends the parent, which ends this process
    try:
        result = task.run(lambda *args: messages.send(("progress", args)))
    except BrokenPipeError:
        return  # the parent has ended
    except Exception as error:
        error.add_note(traceback.format_exc())
        messages.send(("error", error))
        return
    messages.send(("result", result))


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
