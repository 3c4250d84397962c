"""Shows the configuration of one scene as it is in effect, with the origin of each value."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karec.config.inherit import LISTS, entry_name
from karec.config.registry import STEP_KEYS, parameters, step_class
from karec.config.resources import GIVEN
from karec.config.scenes import Config
from karec.errors import ConfigError
from karec.toml import Keys, Place, toml_key, toml_lines, toml_value

COMMENT_COLUMN = 60  # at least


def effective_config(path: Path, scene: str) -> str:
    """Returns a karec.toml with only `scene`, without inheritance, that loads to the same cascade.

    Each value has a comment: the line in the file, the scene if it is inherited, or `default`. Raises
    ConfigError for a mistake in the scene.
    """
    config = Config.read(path)
    config.scene(scene)
    return "\n".join(_lines(config, scene)) + "\n"


@dataclass(frozen=True)
class Origin:
    """A line of the file, from 1, in the table of `scene`."""

    scene: str
    line: int


class Origins:
    """The lines of the values of all scenes of a file, also of inherited values."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.lines = toml_lines(config.path.read_text(encoding="utf-8"))

    def find(self, name: str, path: Keys) -> Origin | None:
        """Returns the origin of `path` in the scene `name` with what it inherits; None for a default."""
        table, parents = self.config.inherited(name)
        name_path = _with_names(table, path)
        for scene in (name, *parents):
            raw = _find_raw(self.config.scenes[scene], name_path)
            if raw is not None and len(raw) == len(name_path):
                return Origin(scene, self.line(("scenes", scene, *raw)))
        return None

    def nearest_line(self, path: Keys) -> int:
        """Returns the line of `path`, a path in the inherited scene, or of the nearest table around it."""
        if len(path) < 2 or path[0] != "scenes" or path[1] not in self.config.scenes:
            return self.line(path)
        try:
            self.config.inherited(str(path[1]))
        except ConfigError:  # a mistake of the inheritance
            return self.line(path)
        for n in range(len(path), 2, -1):
            origin = self.find(str(path[1]), path[2:n])
            if origin is not None:
                return origin.line
        return self.line(path[:2])

    def line(self, path: Keys) -> int:
        """Returns the line of `path` in the file, or of the nearest table around it."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)


def _with_names(table: object, path: Keys) -> Keys:
    """Returns `path` with the names of list entries in place of their positions."""
    name_path: Keys = ()
    for key in path:
        if isinstance(key, int) and isinstance(table, Sequence) and key < len(table):
            table = table[key]
            name_path = (*name_path, entry_name(table, key) if isinstance(table, Mapping) else key)
        else:
            table = table.get(key) if isinstance(table, Mapping) else None
            name_path = (*name_path, key)
    return name_path


def _find_raw(table: object, name_path: Keys) -> Keys | None:
    """Returns the path of `named` in the table of one scene as written; None if the scene does not set it."""
    raw: Keys = ()
    for key in name_path:
        position: Any = key
        if isinstance(table, list):
            names = [
                entry_name(entry, i) if isinstance(entry, Mapping) else i for i, entry in enumerate(table)
            ]
            if key not in names:
                return None
            position = names.index(key)
        elif not (isinstance(table, Mapping) and key in table):
            return None
        table = table[position]
        raw = (*raw, position)
    return raw


def _lines(config: Config, scene: str) -> Iterator[str]:
    origins = Origins(config)
    table, _ = config.inherited(scene)
    name = f"scenes.{toml_key(scene)}"

    def line(key: str, value: object, path: Keys) -> str:
        origin = origins.find(scene, path) or origins.find(scene, path[:-1])  # a name may be its entry's key
        assert origin is not None, path
        suffix = "" if origin.scene == scene else f", scenes.{origin.scene}"
        return _commented(f"{toml_key(key)} = {toml_value(value)}", f"line {origin.line}{suffix}")

    def step_lines(step: Mapping[str, Any], path: Keys) -> Iterator[str]:
        yield from (line(key, value, (*path, key)) for key, value in step.items())
        for key, value in _defaults(str(step["use"]), Place(config.path)):
            if key not in step:
                yield _commented(f"{toml_key(key)} = {toml_value(value)}", "default")

    yield from _top_lines(config, origins)
    yield f"\n[{name}]"
    for key in ("item_type", "consumed", "show_again", *LISTS):
        if key in table and (key not in LISTS or not table[key]):
            yield line(key, table[key], (key,))
    for key in ("limits", "exposure", "mix"):
        if key in table:
            yield f"\n[{name}.{key}]"
            yield from (line(entry, value, (key, entry)) for entry, value in table[key].items())
    for key in LISTS:
        for i, entry in enumerate(table.get(key, ())):
            yield f"\n[[{name}.{key}]]"
            if key != "stages":
                yield from step_lines(entry, (key, i))
                continue
            yield line("name", entry["name"], (key, i))
            if "fallback" in entry:
                yield line("fallback", entry["fallback"], (key, i, "fallback"))
            for j, step in enumerate(entry.get("steps", ())):
                yield f"\n[[{name}.stages.steps]]"
                yield from step_lines(step, (key, i, "steps", j))


def _top_lines(config: Config, origins: Origins) -> Iterator[str]:
    for key in ("bundle", "bundle_key", "bundle_cache", "threads"):
        if key in config.table:
            yield _commented(f"{key} = {toml_value(config.table[key])}", f"line {origins.line((key,))}")
    for table in ("live", "serve"):
        for key, value in config.table.get(table, {}).items():
            setting = f"{table}.{toml_key(key)} = {toml_value(value)}"
            yield _commented(setting, f"line {origins.line((table, key))}")


def _commented(setting: str, origin: str) -> str:
    return f"{setting:<{COMMENT_COLUMN}} # {origin}"


def _defaults(use: str, place: Place) -> Iterator[tuple[str, object]]:
    """Yields the keys of a step with their defaults; TOML cannot write None, so it is left out."""
    for name, parameter in parameters(step_class(use, place)).items():
        has_default = parameter.default not in (inspect.Parameter.empty, None)
        if has_default and name not in GIVEN and name not in STEP_KEYS:
            yield name, parameter.default
