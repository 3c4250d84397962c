"""``karec check``: mistakes of a karec.toml, its effective settings, and its JSON Schema."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from karec.cli.options import Json
from karec.cli.output import print_json


def check(
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG", help="A karec.toml.")] = None,
    scene: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Scene to check (default: all) or to show (default: first)."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the effective settings of the scene and where each is from.")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of karec.toml, which editors read.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Print every mistake of CONFIG and of its experiments.toml with its line. Exit code 1 if there is one.

    If the bundle of CONFIG exists, scenes without a mistake are also built: this finds wrong columns, models
    and sizes.
    """
    if schema:
        from karec.config.schema import config_schema

        print_json(config_schema())
        return 0
    if config is None:
        raise ValueError("CONFIG is missing: name a karec.toml, or add --schema")
    if show:
        from karec.config import scene_names
        from karec.config.show import effective_config

        text = effective_config(config, scene or scene_names(config)[0])
        if as_json:
            print_json(tomllib.loads(text))
        else:
            print(text, end="")
        return 0
    mistakes, note = _find_mistakes(config, scene)
    if as_json:
        print_json({"mistakes": mistakes, "note": note})
        return int(bool(mistakes))
    if note:
        print(f"note: {note}", file=sys.stderr)
    for mistake in mistakes:
        print(mistake)
    if not mistakes:
        print(f"{config}: no mistakes")
    return int(bool(mistakes))


def _find_mistakes(path: Path, scene: str | None) -> tuple[list[str], str]:
    """Returns the mistakes, and a note if the bundle cannot be opened or does not fit the scenes."""
    from karec.config import open_bundle
    from karec.config.arms import experiment_mistakes
    from karec.config.check import config_mistakes
    from karec.config.open import input_times_mistake, unranked_scenes_note
    from karec.config.scenes import Config
    from karec.errors import ConfigError, KarecError
    from karec.refresh.publish_run import REFRESH_HOURS

    bundle = None
    note = ""
    try:
        bundle = open_bundle(path)
    except ConfigError:  # config_mistakes reports it
        note = "columns and models were not checked"
    except KarecError as error:
        note = f"{error}; columns and models were not checked"
    mistakes = config_mistakes(path, scene, bundle) or experiment_mistakes(Config.read(path), bundle)
    if bundle is not None and not mistakes:
        config = Config.read(path)
        notes = (
            input_times_mistake(config, bundle.facts.get(REFRESH_HOURS)),
            unranked_scenes_note(config, bundle),
        )
        note = "; ".join(text for text in notes if text is not None)
    return mistakes, note
