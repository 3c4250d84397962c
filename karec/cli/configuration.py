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
    from karec.config.checking import config_mistakes

    bundle: Bundle | None = None
    try:
        bundle = open_bundle(arguments.config)
    except KarecError as error:
        print(f"note: {error}; columns and models were not looked at", file=sys.stderr)
    found = config_mistakes(arguments.config, arguments.scene, bundle)
    for line in found:
        print(line)
    if found:
        raise SystemExit(1)
    print(f"{arguments.config}: no mistake")


def show(arguments: argparse.Namespace) -> None:
    from karec.config import scene_names
    from karec.config.shown import shown_scene

    print(shown_scene(arguments.config, arguments.scene or scene_names(arguments.config)[0]), end="")


def schema(arguments: argparse.Namespace) -> None:
    from karec.config.schema import config_schema

    print(json.dumps(config_schema(), indent=1, ensure_ascii=False))
