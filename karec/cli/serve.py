"""``karec serve``: the cascade over HTTP."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from karec.errors import MissingExtra

# of a request: requests share the cores. NumPy reads these when it is imported.
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run(arguments: argparse.Namespace) -> None:
    """Serves until a signal ends it."""
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    try:
        from karec.serve.supervisor import serve
    except ImportError as error:
        raise MissingExtra(error.name or "starlette", "serve", "karec serve") from error
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(message)s"
    )
    options = {name: getattr(arguments, name) for name in ("workers", "host", "port")}
    overrides = {name: value for name, value in options.items() if value is not None}
    path = arguments.config.absolute()
    raise SystemExit(serve(path, overrides, is_insecure=arguments.insecure, fd=arguments.fd))
