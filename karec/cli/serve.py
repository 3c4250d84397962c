"""``karec serve``: pages over HTTP."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from karec.cli.options import Config
from karec.errors import MissingExtra

# Threads of one request: requests share the cores. NumPy reads these variables when it is imported.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def serve(
    config: Config,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes (default: serve.workers of CONFIG, or 1).")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on (default: serve.host of CONFIG, or 127.0.0.1).")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, help="Port; 0: a free one (default: serve.port of CONFIG, or 8080).")
    ] = None,
    fd: Annotated[
        int | None,
        typer.Option(min=0, help="Inherited listening socket, instead of host and port (systemd: 3)."),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", help="Accept requests from other machines without a token and with any Host header."
        ),
    ] = False,
) -> int:
    """Serve pages over HTTP with worker processes, until SIGTERM or Ctrl-C."""
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, "1")
    try:
        from karec.serve.supervisor import serve as run_service
    except ImportError as error:
        raise MissingExtra(error.name or "starlette", "serve", "karec serve") from error
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(message)s"
    )
    options = {"workers": workers, "host": host, "port": port}
    overrides = {name: value for name, value in options.items() if value is not None}
    return run_service(config.absolute(), overrides, is_insecure=insecure, fd=fd)
