"""In which line of a TOML file each key stands. ``tomllib`` reads values and forgets where they were."""

from __future__ import annotations

import re
from collections.abc import Mapping

Path = tuple[str | int, ...]

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_TEXT = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'', re.DOTALL)
_PLAIN = re.compile(r"[^,\]}\n#]+")


def toml_lines(text: str) -> Mapping[Path, int]:
    """{path: line, from 1} of every key, table and entry of a list in ``text``, which must be TOML.
    O(text)."""
    return _Scan(text).file()


class _Scan:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.lines: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}  # entries so far of each list of tables

    def file(self) -> Mapping[Path, int]:
        table: Path = ()
        self._skip()
        while self.at < len(self.text):
            if self._take("[["):
                table = self._table(entry=True)
            elif self._take("["):
                table = self._table(entry=False)
            else:
                self._pair(table)
            self._skip()
        return self.lines

    def _table(self, entry: bool) -> Path:
        line = self._line()
        path = self._inside(self._key())
        if entry:
            self.lines.setdefault(path, line)
            self.counts[path] = self.counts.get(path, 0) + 1
        if path in self.counts:
            path = (*path, self.counts[path] - 1)
        self._note(path, line)
        self._take("]]" if entry else "]")
        return path

    def _inside(self, keys: list[str]) -> Path:
        """The path of the last of ``keys``, in the last entries of the lists of tables on the way."""
        path: Path = ()
        for key in keys[:-1]:
            path = (*path, key)
            if path in self.counts:
                path = (*path, self.counts[path] - 1)
        return (*path, keys[-1])

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = (*table, *self._key())
        self._skip()
        self._take("=")
        self._skip()
        self._note(path, line)
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._take("["):
            number = 0
            self._skip()
            while not self._take("]"):
                self.lines.setdefault((*path, number), self._line())
                self._value((*path, number))
                number += 1
                self._skip()
                self._take(",")
                self._skip()
        elif self._take("{"):
            self._skip()
            while not self._take("}"):
                self._pair(path)
                self._skip()
                self._take(",")
                self._skip()
        else:
            found = _TEXT.match(self.text, self.at) or _PLAIN.match(self.text, self.at)
            self.at = found.end() if found else self.at + 1

    def _key(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip()
            found = _BARE.match(self.text, self.at) or _TEXT.match(self.text, self.at)
            if found is None:
                return keys
            self.at = found.end()
            keys.append(found[0].strip("\"'"))
            self._skip()
            if not self._take("."):
                return keys

    def _note(self, path: Path, line: int) -> None:
        """The line of ``path``, and of tables above it that have none yet."""
        for n in range(1, len(path) + 1):
            self.lines.setdefault(path[:n], line)

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _take(self, what: str) -> bool:
        if not self.text.startswith(what, self.at):
            return False
        self.at += len(what)
        return True
