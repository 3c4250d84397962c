"""The command line ``karec``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from karec.errors import KarecError

INTERRUPTED = 130  # typer's exit code after Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0; 2 after an error, which is one line; 130 after Ctrl-C.

    ``train`` and ``check`` have further exit codes.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime sends usage data by default
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        from karec.cli.app import run
    except ImportError as error:
        if error.name not in {"typer", "rich"}:
            raise
        message = f"karec: the command line needs the package {error.name!r}: pip install 'karec[cli]'"
        print(message, file=sys.stderr)
        return 2
    command = " ".join(["karec", *(word for word in words[:1] if not word.startswith("-"))])
    try:
        status = run(words)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader ended, for example head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no error at exit
        return 1  # as rich does
    except (KarecError, ValueError, OSError) as error:
        reason = str(error)
        if isinstance(error, OSError) and error.strerror and error.filename is not None:
            reason = f"{error.filename}: {error.strerror}"  # without the number of the error
        print(f"{command}: {reason}", file=sys.stderr)
        return 2
    if status == INTERRUPTED:
        hint = ": continue with --resume" if words[0] == "train" else ""
        print(f"interrupted{hint}", file=sys.stderr)
    return status
