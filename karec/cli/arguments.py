"""The command line: its commands, whose options stand in the files beside this one."""

from __future__ import annotations

import argparse
from pathlib import Path

from karec.cli import commands
from karec.cli.argument_types import command
from karec.cli.cascade_arguments import add_cascade, add_configuration, add_refresh, add_service
from karec.cli.data_arguments import add_data, add_evaluations, add_exports, add_screening
from karec.cli.lab_arguments import add_lab


def parser(description: str) -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="karec", description=description)
    names = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_cascade(names)
    add_refresh(names)
    add_service(names)
    add_data(names)
    add_configuration(names)
    add_screening(names)
    add_evaluations(names)
    add_lab(names)
    add_exports(names)
    inspect = command(
        names,
        "inspect",
        "what a bundle, an index file, a rank log, a karec.toml or an exported stage holds",
        commands.inspect,
    )
    inspect.add_argument("path", type=Path)
    return whole
