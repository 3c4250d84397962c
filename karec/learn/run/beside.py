"""Hard towers, trained by a second process beside everything else: they need the encoded examples alone.

The process is started by ``subprocess``, with a fresh interpreter: torch's generators and threads are its own, so that
its towers are those that a process alone would train with as many threads. It gets the dataset through a pipe, encodes
the examples again with the run's encoder, and writes model and checkpoint where a training in turn would.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from karec._clock import Progress
from karec.errors import KarecError
from karec.features.encoder import Encoder
from karec.learn._torch import torch
from karec.learn.fit.prepare import chosen_device, prepared_with
from karec.learn.fit.state import FitState
from karec.learn.run.hard_towers import train_hard_towers
from karec.learn.run.memory import peak_gib
from karec.learn.run.run_folder import recordings
from karec.learn.run.tensorboard import EventFiles
from karec.learn.settings.train import TrainSettings
from karec.platform.dataset import Dataset

NAME = "baseline_hard"
PROGRAM = f"import sys; from {__name__} import _train; _train(int(sys.argv[1]))"
FEWEST_ROWS = 50_000  # training rows; of fewer, a process takes longer to start than it saves
SAID = 2000  # bytes of its standard error that an error repeats


def threads_beside(settings: TrainSettings, n_rows: int) -> int:
    """The threads of each of both where hard towers are trained beside the distilled ones; 0 where all are trained in
    turn: on a GPU or one thread, of few rows, without hard towers, or in a frozen program, which names no interpreter.
    """
    threads = settings.run.threads or torch.get_num_threads()
    wanted = "hard" in settings.evaluation.baselines and n_rows >= FEWEST_ROWS
    able = chosen_device(settings.run) == "cpu" and bool(sys.executable) and not getattr(sys, "frozen", False)
    return threads // 2 if wanted and able else 0


@dataclass(frozen=True)
class _Job:
    dataset: Dataset
    settings: TrainSettings
    out: Path
    facts: str
    threads: int

    def run(self, progress: Progress) -> FitState:
        torch.set_num_threads(self.threads)
        prepared = prepared_with(Encoder.load(self.out / "encoder.npz"), self.dataset, self.settings)
        path = self.out / f"{NAME}.onnx"
        if not self.settings.run.tensorboard:
            recording = recordings(self.out, self.settings, self.facts, None)(NAME)
            return train_hard_towers(prepared, self.settings, path, progress, recording)
        with EventFiles(self.out / "tensorboard") as events:
            recording = recordings(self.out, self.settings, self.facts, events)(NAME)
            return train_hard_towers(prepared, self.settings, path, progress, recording)


class HardTowersBeside:
    """A training that has begun, into ``out``, where the run's encoder lies; a context, which ends the process.

    ``facts``: what the checkpoint is of. ``progress`` is called by a thread of this process.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: TrainSettings,
        out: Path,
        facts: str,
        threads: int,
        progress: Progress | None = None,
    ) -> None:
        self._progress = progress
        self._state: FitState | None = None
        self.peak_gib = 0.0  # of this process and that one together, at most, when the training has ended
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
                env={**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path)},
                start_new_session=True,  # Ctrl-C ends this process, which ends the child
            )
        except BaseException:
            os.close(reader)
            self._errors.close()
            raise
        finally:
            os.close(writer)
        job = _Job(dataset, settings, out, facts, threads)
        self._thread = threading.Thread(target=self._follow, args=(job, reader), name="karec-hard-towers", daemon=True)
        self._thread.start()

    def result(self) -> FitState:
        """How the training went, once it has ended; raises what it raised, and KarecError when the process died."""
        self._thread.join()
        if self._state is None:
            raise self._error
        return self._state

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._thread.join()
        self._child.wait()
        self._errors.close()

    def _follow(self, job: _Job, reports: int) -> None:
        assert self._child.stdin is not None
        try:
            with open(reports, "rb") as told:
                with suppress(BrokenPipeError), self._child.stdin as pipe:
                    pickle.dump(job, pipe, protocol=pickle.HIGHEST_PROTOCOL)
                while True:
                    what, said = pickle.load(told)
                    if what == "progress" and self._progress is not None:
                        self._progress(*said)
                    elif what == "done":
                        self._state, peak = said
                        self.peak_gib = peak + peak_gib()
                        return
                    elif what == "failed":
                        self._error = said
                        return
        except (EOFError, pickle.UnpicklingError):  # nothing more, or a part of what it was about to say
            self._errors.seek(max(self._errors.seek(0, os.SEEK_END) - SAID, 0))
            said = " ".join(self._errors.read().decode(errors="replace").split())
            status = self._child.wait()
            self._error = KarecError(f"the process that trains hard towers ended with status {status}: {said}")
        except BaseException as error:  # ``result`` raises it
            self._error = error
            self._child.kill()


def _train(reports: int) -> None:
    """What the process does: the job from its standard input, its progress and its end into the pipe ``reports``."""
    with open(reports, "wb") as told:

        def tell(what: str, said: Any) -> None:
            pickle.dump((what, said), told)
            told.flush()

        try:
            job: _Job = pickle.load(sys.stdin.buffer)
            state = job.run(lambda *said: tell("progress", said))
        except BrokenPipeError:
            return  # whoever waited has gone
        except Exception as error:
            error.add_note(traceback.format_exc())
            tell("failed", error)
            return
        tell("done", (state, peak_gib()))
