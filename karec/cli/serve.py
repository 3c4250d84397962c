"""``karec serve``: the cascade over HTTP."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from karec.errors import MissingExtra

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # of each call: cores are shared by requests


def run(arguments: argparse.Namespace) -> None:
    """Until a signal ends it; then the process ends with the status of its workers."""
    for name in ONE_THREAD:  # before NumPy is there
        os.environ.setdefault(name, "1")
    try:
        from karec.serve.workers import Workers
    except ImportError as error:
        raise MissingExtra(error.name or "starlette", "serve", "karec serve") from error
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(message)s")
    given = {name: getattr(arguments, name) for name in ("workers", "host", "port")}
    path = arguments.config.absolute()
    workers = Workers(path, {name: value for name, value in given.items() if value is not None}, arguments.insecure)
    print(
        f"{workers.address} ({workers.settings.workers} workers); what there is to call: {workers.address}/docs",
        flush=True,
    )
    raise SystemExit(workers.run())
