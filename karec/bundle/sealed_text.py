"""Small text files that C++ hosts read: lines of words and ``key=value`` fields, the last with a checksum.

``native/src/base/sealed_text.hpp`` has the grammar and the reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from karec import _native
from karec.errors import DataError

FORMAT = 1
UNQUOTED = "/+"  # also letters, digits and _.-; quote() leaves ~ as it is, this format does not


def format_line(word: str, value: str = "", fields: Mapping[str, object] | None = None) -> str:
    """Returns ``word value key=value …``. Numbers are written so that reading gives the same float64 or
    int64."""
    parts = [word, *([_quote(value)] if value else [])]
    for key, field in (fields or {}).items():
        text = repr(field) if isinstance(field, float) else str(field)
        parts.append(f"{_quote(key)}={_quote(text)}")
    return " ".join(parts)


def seal_lines(kind: str, lines: Iterable[str]) -> str:
    """Returns the text of a file of ``kind``."""
    body = "".join(f"{line}\n" for line in (f"{kind} {FORMAT}", *lines))
    return f"{body}seal {_native.xxh64(body.encode()):016x}\n"


def read_lines(path: Path, kind: str) -> list[str]:
    """Returns the lines of a file of ``kind``, without the first one and the checksum.

    Raises DataError if the file cannot be read, is of another kind or format, or was changed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    body, is_sealed, seal = data.rpartition(b"seal ")
    first = data.partition(b"\n")[0].decode("ascii", "replace")
    if first != f"{kind} {FORMAT}":
        raise DataError(f"{path} begins with {first[:40]!r}, this version reads {kind} {FORMAT}")
    if not is_sealed or seal != f"{_native.xxh64(body):016x}\n".encode():
        raise DataError(f"{path}: the checksum in its last line is not that of the lines before it")
    return body.decode("ascii", "replace").splitlines()[1:]


def read_kind(path: Path) -> str | None:
    """Returns the kind of the file; None if there is no file or another one."""
    try:
        with path.open("rb") as file:
            match = re.match(rb"(karec-[a-z]+) \d+\n", file.read(64))
    except OSError:
        return None
    return match.group(1).decode() if match else None


def _quote(text: str) -> str:
    return quote(text, safe=UNQUOTED).replace("~", "%7E")
