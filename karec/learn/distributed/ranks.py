"""Starts ranks, processes that train one model together, and lets them exchange values and errors.

torchrun (``torch.distributed.run``) starts the ranks, which communicate by gloo. In a process that it did not
start, ``world()`` is 1 and no function here communicates.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np

import karec
from karec.errors import KarecError
from karec.learn._torch import torch

dist = torch.distributed
TIMEOUT = timedelta(hours=6)  # other ranks wait while rank 0 evaluates and publishes
PR_SET_PDEATHSIG = 1
T = TypeVar("T")


class RankError(KarecError):
    """Another rank failed or ended, or has other code, settings or data."""


def launch(n: int, arguments: Sequence[str]) -> int:
    """Runs ``karec ARGUMENTS`` in ``n`` ranks of this machine. Returns the exit code of the first failure."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # ranks print their errors
    try:
        run.main(["--standalone", f"--nproc-per-node={n}", "-m", "karec.cli", *arguments])
    except ChildFailedError as error:
        failed, failure = error.get_first_failure()
        if failure.exitcode < 0:
            raise RankError(
                f"rank {failed} was killed by signal {-failure.exitcode}. Continue with --resume"
            ) from None
        return int(failure.exitcode)
    except SignalException:
        raise KeyboardInterrupt from None
    return 0


def is_started_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def connect_ranks() -> Iterator[None]:
    """Connects this process with the other ranks during the block; no effect if torchrun did not start it.

    Raises RankError if ranks have another version of karec's code, torch or NumPy.
    """
    if not is_started_by_torchrun():
        yield
        return
    is_own = not is_connected()  # Ray Train connects its ranks
    if is_own:
        with suppress(AttributeError):  # Linux: a rank ends with torchrun, also if that is killed
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        dist.init_process_group("gloo", timeout=TIMEOUT)
    try:
        require_equal("code", _code_version())
        yield
    finally:
        if is_own:
            dist.destroy_process_group()


def is_connected() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    return dist.get_rank() if is_connected() else 0


def world() -> int:
    """Number of ranks; 1 in a process that torchrun did not start."""
    return dist.get_world_size() if is_connected() else 1


class Communication:
    """Seconds that this process has spent in exchanges with other ranks."""

    seconds = 0.0


@contextmanager
def exchange() -> Iterator[None]:
    """Times a collective. Raises RankError in place of torch's error if another rank has ended."""
    begin = time.perf_counter()
    try:
        yield
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise RankError(
            f"rank {rank()}: another rank has ended or does not answer. Read its message and continue with "
            f"--resume ({reason})"
        ) from error
    finally:
        Communication.seconds += time.perf_counter() - begin


def broadcast(value: T) -> T:
    """Returns the value of rank 0 on all ranks."""
    if not is_connected():
        return value
    values = [value]
    with exchange():
        dist.broadcast_object_list(values, 0)
    return values[0]


def require_equal(name: str, value: str) -> None:
    """Raises RankError on all ranks if ``value`` is not that of rank 0."""
    if not is_connected():
        return
    values = _gather(value)
    others = [f"rank {i} has {other}" for i, other in enumerate(values) if other != values[0]]
    if others:
        raise RankError(
            f"ranks have different {name}: rank 0 has {values[0]}, {', '.join(others)}. Start all ranks with "
            "the same files, options and packages"
        )


@contextmanager
def share_errors() -> Iterator[None]:
    """Ends the block with an error on all ranks if it fails on one: the others raise RankError at its end."""
    if not is_connected():
        yield
        return
    failure: Exception | None = None
    try:
        yield
    except RankError:
        raise
    except (KarecError, OSError, ValueError) as error:
        failure = error
    messages = _gather(None if failure is None else f"{type(failure).__name__}: {failure}")
    if failure is not None:
        raise failure
    for number, message in enumerate(messages):
        if message is not None:
            raise RankError(f"rank {number} failed: {message}")


def _gather(value: T) -> list[T]:
    values: list[T] = [value] * world()
    with exchange():
        dist.all_gather_object(values, value)
    return values


def _code_version() -> str:
    """Returns a digest of karec's Python files and the versions of torch and NumPy."""
    digest, folder = hashlib.sha256(), Path(karec.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}".encode() + path.read_bytes())
    return f"karec {digest.hexdigest()[:12]}, torch {torch.__version__}, NumPy {np.__version__}"
