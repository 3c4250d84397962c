"""What is in force in a scene, as TOML that loads to the same cascade, and where each value comes from."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from karec.config.inheriting import LISTS
from karec.config.origins import Origins
from karec.config.registry import EVERY_STEP, parameters, step_class
from karec.config.resources import GIVEN
from karec.config.scenes import Config
from karec.toml import Place

WIDTH = 60  # where the comments begin, at least


def shown_scene(path: Path, scene: str) -> str:
    """The text of a karec.toml with ``scene`` alone, which inherits nothing; each value with a comment: the
    line of the file, the scene that says it where it is another one, or ``default``. ConfigError as
    ``Config.scene``.
    """
    config = Config.read(path)
    config.scene(scene)  # refuses what is wrong
    return "\n".join(_lines(config, scene)) + "\n"


def _lines(config: Config, scene: str) -> Iterator[str]:
    origins = Origins(config)
    table, _ = config.inherited(scene)
    name = f"scenes.{_key(scene)}"

    def told(key: str, value: object, at: tuple[str | int, ...]) -> str:
        origin = origins.of(scene, at) or origins.of(scene, at[:-1])  # a name may be the key of its entry
        assert origin is not None, at
        where = f"line {origin.line}" + ("" if origin.scene == scene else f", scenes.{origin.scene}")
        return f"{f'{_key(key)} = {_value(value)}':<{WIDTH}} # {where}"

    for key in ("bundle", "bundle_key", "threads"):
        if key in config.table:
            yield f"{f'{key} = {_value(config.table[key])}':<{WIDTH}} # line {origins.line((key,))}"
    for table_of in ("live", "serve"):
        for key, value in config.table.get(table_of, {}).items():
            yield (
                f"{f'{table_of}.{_key(key)} = {_value(value)}':<{WIDTH}} # line "
                f"{origins.line((table_of, key))}"
            )
    yield f"\n[{name}]"
    for key in ("item_type", "candidates", "consumed", "show_again", *LISTS):
        if key in table and (key not in LISTS or not table[key]):
            yield told(key, table[key], (key,))
    for key in ("limits", "exposure"):
        if key in table:
            yield f"\n[{name}.{key}]"
            yield from (told(each, value, (key, each)) for each, value in table[key].items())

    def step_lines(step: Mapping[str, Any], at: tuple[str | int, ...]) -> Iterator[str]:
        yield from (told(key, value, (*at, key)) for key, value in step.items())
        for key, value in _defaults(str(step["use"]), Place(config.path)):
            if key not in step:
                yield f"{f'{_key(key)} = {_value(value)}':<{WIDTH}} # default"

    for key in LISTS:
        for i, entry in enumerate(table.get(key, ())):
            yield f"\n[[{name}.{key}]]"
            if key != "stages":
                yield from step_lines(entry, (key, i))
                continue
            for of_stage in ("name", "fallback"):
                if of_stage in entry:
                    yield told(
                        of_stage, entry[of_stage], (key, i, of_stage) if of_stage == "fallback" else (key, i)
                    )
            for j, step in enumerate(entry.get("steps", ())):
                yield f"\n[[{name}.stages.steps]]"
                yield from step_lines(step, (key, i, "steps", j))


def _defaults(use: str, place: Place) -> Iterator[tuple[str, object]]:
    """The keys that a step has when none is told; a default that is nothing cannot be written, and is left
    out."""
    for name, each in parameters(step_class(use, place)).items():
        told = each.default is not inspect.Parameter.empty and each.default is not None
        if told and name not in GIVEN and name not in EVERY_STEP:
            yield name, each.default


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:_}"
    if isinstance(value, float):
        return repr(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {key: each for key, each in dataclasses.asdict(value).items() if each is not None}
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(str(key))} = {_value(each)}" for key, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
