"""Small text files that C++ hosts read: lines of words and ``key=value`` fields, and a checksum in the last line.

docs/formats.md has the grammar, ``native/src/base/sealed_text.hpp`` the reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from karec._backend import library as _native

FORMAT = 1
_PLAIN = "/+"  # besides letters, digits and _.-; quote's ~ is not plain here


def line(word: str, value: str = "", fields: Mapping[str, object] | None = None) -> str:
    """``word value key=value …``; numbers are written so that they read back as the same float64 or int64."""
    parts = [word, *([_quoted(value)] if value else [])]
    parts += [f"{_quoted(key)}={_quoted(_spelled(held))}" for key, held in (fields or {}).items()]
    return " ".join(parts)


def sealed_text(kind: str, lines: Iterable[str]) -> str:
    """The whole text of a file of ``kind``."""
    body = "".join(f"{each}\n" for each in (f"{kind} {FORMAT}", *lines))
    return f"{body}seal {_native.xxh64(body.encode()):016x}\n"


def kind_of(path: Path) -> str | None:
    """The kind of the sealed text at ``path``; None where there is no file, or something else."""
    try:
        with path.open("rb") as file:
            found = re.match(rb"(karec-[a-z]+) \d+\n", file.read(64))
    except OSError:
        return None
    return found.group(1).decode() if found else None


def _quoted(text: str) -> str:
    return quote(text, safe=_PLAIN).replace("~", "%7E")


def _spelled(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)
