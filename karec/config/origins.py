"""Where each value of a scene comes from: the line of the file, in the scene itself or in one that it
inherits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from karec.config.inheriting import entry_name
from karec.config.scenes import Config
from karec.errors import ConfigError
from karec.toml import toml_lines

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Origin:
    """``line`` of the file, from 1, in the table of ``scene``."""

    scene: str
    line: int


class Origins:
    """Of all scenes of ``config``; its file is read again for the lines."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.lines = toml_lines(config.path.read_text(encoding="utf-8"))

    def of(self, name: str, path: Path) -> Origin | None:
        """Of what stands at ``path`` of the scene with what it inherits; None: no scene says it, it is a
        default."""
        table, parents = self.config.inherited(name)
        named = _named(table, path)
        for scene in (name, *parents):
            raw = _found(self.config.scenes[scene], named)
            if raw is not None and len(raw) == len(named):
                return Origin(scene, self.line(("scenes", scene, *raw)))
        return None

    def nearest(self, path: Path) -> int:
        """The line of ``path`` of the file, of which a scene's part is as ``of`` takes it; of what holds it,
        where no scene says it; 1 at worst.
        """
        if len(path) < 2 or path[0] != "scenes" or path[1] not in self.config.scenes:
            return self.line(path)
        try:
            self.config.inherited(str(path[1]))
        except ConfigError:  # the mistake is one of inheriting
            return self.line(path)
        for n in range(len(path), 2, -1):
            found = self.of(str(path[1]), path[2:n])
            if found is not None:
                return found.line
        return self.line(path[:2])

    def line(self, path: Path) -> int:
        """The line of what the file holds at ``path``, or of what holds it."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)


def _named(table: object, path: Path) -> Path:
    """``path`` with entries of lists by their names."""
    named: Path = ()
    for key in path:
        if isinstance(key, int) and isinstance(table, Sequence) and key < len(table):
            table = table[key]
            named = (*named, entry_name(table, key) if isinstance(table, Mapping) else key)
        else:
            table = table.get(key) if isinstance(table, Mapping) else None
            named = (*named, key)
    return named


def _found(table: object, named: Path) -> Path | None:
    """The path of ``named`` in what one scene says, as far as it says it; None: it says nothing of it."""
    found: Path = ()
    for key in named:
        at: Any = key
        if isinstance(table, list):
            names = [entry_name(each, i) if isinstance(each, Mapping) else i for i, each in enumerate(table)]
            if key not in names:
                return None
            at = names.index(key)
        elif not (isinstance(table, Mapping) and key in table):
            return None
        table = table[at]
        found = (*found, at)
    return found
