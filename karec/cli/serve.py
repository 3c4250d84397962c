"""``karec serve``: the cascade over HTTP."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from karec.errors import MissingExtra

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # of each call: cores are shared by requests


def run(arguments: argparse.Namespace) -> None:
    """Until a signal ends it; then the process ends with the status of its workers."""
    with _blocked(signal.SIGHUP):  # by itself it would end the process; what is read here is new
        _serve(arguments)


def _serve(arguments: argparse.Namespace) -> None:
    for name in ONE_THREAD:  # before NumPy is there
        os.environ.setdefault(name, "1")
    try:
        from karec.serve.workers import SIGNALS, Workers
    except ImportError as error:
        raise MissingExtra(error.name or "starlette", "serve", "karec serve") from error
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(message)s"
    )
    given = {name: getattr(arguments, name) for name in ("workers", "host", "port")}
    path = arguments.config.absolute()
    workers = Workers(
        path, {name: value for name, value in given.items() if value is not None}, arguments.insecure
    )
    with _blocked(*SIGNALS):
        print(
            f"{workers.address} ({workers.settings.workers} workers); what there is to call: "
            f"{workers.address}/docs",
            flush=True,
        )
        raise SystemExit(workers.run())


@contextmanager
def _blocked(*numbers: int) -> Iterator[None]:
    """Signals that come while the block runs wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
