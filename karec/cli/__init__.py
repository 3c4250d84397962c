"""The command line: demo, data, train, recommend, evaluate, lab …; ``karec COMMAND --help`` shows
examples."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from karec.cli.arguments import parser
from karec.errors import KarecError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; errors that people can mend are printed without a traceback and give exit code 2."""
    # ONNX Runtime sends usage data to its maker unless told
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    arguments = parser(__doc__).parse_args(argv)
    try:
        arguments.run(arguments)
    except (KarecError, ValueError, OSError) as error:
        print(f"karec {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
