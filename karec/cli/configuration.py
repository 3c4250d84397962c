"""A karec.toml: its mistakes, what is in force, and the schema that editors read."""

from __future__ import annotations

import argparse
import json
import sys

from karec.errors import KarecError


def check(arguments: argparse.Namespace) -> None:
    """Prints a line for each mistake; ends with 1 where there is one."""
    from karec.bundle import Bundle
    from karec.config import open_bundle
    from karec.config.check import config_mistakes
    from karec.errors import ConfigError

    bundle: Bundle | None = None
    note = ""
    try:
        bundle = open_bundle(arguments.config)
    except ConfigError:  # a mistake of the file itself, which is told below
        note = "note: columns and models were not looked at"
    except KarecError as error:
        note = f"note: {error}; columns and models were not looked at"
    found = config_mistakes(arguments.config, arguments.scene, bundle)
    if note:
        print(note, file=sys.stderr)
    for line in found:
        print(line)
    if found:
        raise SystemExit(1)
    print(f"{arguments.config}: no mistake")


def show(arguments: argparse.Namespace) -> None:
    from karec.config import scene_names
    from karec.config.show import effective_config

    print(effective_config(arguments.config, arguments.scene or scene_names(arguments.config)[0]), end="")


def schema(arguments: argparse.Namespace) -> None:
    from karec.config.schema import config_schema

    print(json.dumps(config_schema(), indent=1, ensure_ascii=False))
