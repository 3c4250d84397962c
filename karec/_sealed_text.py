"""Small text files that C++ hosts read: lines of words and ``key=value`` fields, and a checksum in the last
line.

docs/formats.md has the grammar, ``native/src/base/sealed_text.hpp`` the reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from karec import _native
from karec.errors import DataError

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


def lines_of(path: Path, kind: str) -> list[str]:
    """The lines of a file of ``kind`` as written, without the first and the seal.

    Raises DataError when it cannot be read, is of another kind or format, or does not have the bytes that
    were sealed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    body, found, seal = data.rpartition(b"seal ")
    first = data.partition(b"\n")[0].decode("ascii", "replace")
    if first != f"{kind} {FORMAT}":
        raise DataError(f"{path} begins with {first[:40]!r}, this version reads {kind} {FORMAT}")
    if not found or seal != f"{_native.xxh64(body):016x}\n".encode():
        raise DataError(
            f"{path} is not what was written: its last line is not the seal of the lines before it"
        )
    return body.decode("ascii", "replace").splitlines()[1:]


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
