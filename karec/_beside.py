"""A piece of work in a second process, beside everything else: what needs no answer at once, on a core that
waits.

The process is started by ``subprocess``, with a fresh interpreter, so that generators, threads and locks are
its own. It gets the work through a pipe, pickled, and sends its progress and its end back.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import threading
import traceback
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from karec._memory import peak_gib
from karec.errors import KarecError
from karec.times import Progress

PROGRAM = f"import sys; from {__name__} import _run; _run(int(sys.argv[1]))"
SAID = 2000  # bytes of its standard error that an error repeats
NICE = 3  # it gives way, until it is waited for

R_co = TypeVar("R_co", covariant=True)


class Work(Protocol[R_co]):
    """Something that pickle can carry into another process."""

    def run(self, progress: Progress) -> R_co: ...


class Begun(AbstractContextManager["Begun[R_co]"], ABC, Generic[R_co]):
    """Work that was begun; a context, which ends what is left of it."""

    peak_gib = 0.0  # of this process and the other one together, at most, when the work has ended there

    @abstractmethod
    def result(self) -> R_co:
        """What the work gave, once it has ended; raises what it raised, and KarecError when its process
        died."""


def can_work_beside() -> bool:
    """Whether a second process gains anything here: there are two cores, and the program names its
    interpreter, which a frozen one does not."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores > 1 and bool(sys.executable) and not getattr(sys, "frozen", False)


def begun(work: Work[R_co], progress: Progress | None = None) -> Begun[R_co]:
    """``work``, beside this process where it can be, else when its result is asked for."""
    return Beside(work, progress) if can_work_beside() else InTurn(work, progress)


class InTurn(Begun[R_co]):
    """``work`` that is done in this process when its result is asked for."""

    def __init__(self, work: Work[R_co], progress: Progress | None = None) -> None:
        self._work, self._progress = work, progress

    def result(self) -> R_co:
        return self._work.run(self._progress or (lambda *_: None))

    def __exit__(self, *_: object) -> None: ...


class Beside(Begun[R_co]):
    """``work`` in a process of its own, which ends with the context.

    ``progress`` is called by a thread of this process.
    """

    def __init__(self, work: Work[R_co], progress: Progress | None = None) -> None:
        self._progress = progress
        self._found: list[R_co] = []
        self._error: BaseException = KarecError("it has not ended")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
        reader, writer = os.pipe()
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM, str(writer)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=(writer,),
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path),
                },
                start_new_session=True,  # Ctrl-C ends this process, which ends the child
            )
        except BaseException:
            os.close(reader)
            self._errors.close()
            raise
        finally:
            os.close(writer)
        with suppress(OSError):  # one that has died already
            os.setpriority(os.PRIO_PROCESS, self._child.pid, os.nice(0) + NICE)
        self._thread = threading.Thread(
            target=self._follow, args=(work, reader), name="karec-beside", daemon=True
        )
        self._thread.start()

    def result(self) -> R_co:
        with suppress(OSError):  # only root may take niceness back
            os.setpriority(os.PRIO_PGRP, self._child.pid, os.nice(0))
        self._thread.join()
        if not self._found:
            raise self._error
        return self._found[0]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._thread.join()
        self._child.wait()
        self._errors.close()

    def _follow(self, work: Work[R_co], reports: int) -> None:
        assert self._child.stdin is not None
        try:
            with open(reports, "rb") as told:
                with suppress(BrokenPipeError), self._child.stdin as pipe:
                    pickle.dump(work, pipe, protocol=pickle.HIGHEST_PROTOCOL)
                while True:
                    what, said = pickle.load(told)
                    if what == "progress" and self._progress is not None:
                        self._progress(*said)
                    elif what == "done":
                        found, peak = said
                        self.peak_gib = peak + peak_gib()
                        self._found.append(found)
                        return
                    elif what == "failed":
                        self._error = said
                        return
        except (EOFError, pickle.UnpicklingError):  # nothing more, or a part of what it was about to say
            self._errors.seek(max(self._errors.seek(0, os.SEEK_END) - SAID, 0))
            said = " ".join(self._errors.read().decode(errors="replace").split())
            status = self._child.wait()
            self._error = KarecError(
                f"the process for {type(work).__name__} ended with status {status}: {said}"
            )
        except BaseException as error:  # ``result`` raises it
            self._error = error
            self._child.kill()


def _run(reports: int) -> None:
    """What the process does: the work from its standard input, its progress and its end into the pipe
    ``reports``."""
    with open(reports, "wb") as told:

        def tell(what: str, said: Any) -> None:
            pickle.dump((what, said), told)
            told.flush()

        try:
            work: Work[Any] = pickle.load(sys.stdin.buffer)
            found = work.run(lambda *said: tell("progress", said))
        except BrokenPipeError:
            return  # whoever waited has gone
        except Exception as error:
            error.add_note(traceback.format_exc())
            tell("failed", error)
            return
        tell("done", (found, peak_gib()))
