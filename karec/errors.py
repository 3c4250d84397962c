"""Every error that karec raises on purpose, and which of them a request may survive.

``KarecError`` is the root. Bad arguments are plain ``ValueError`` / ``TypeError``, as in NumPy: they are
mistakes of the caller and are never swallowed.
"""

from __future__ import annotations

from collections.abc import Iterable


def one_line(text: str) -> str:
    """``text``, which may hold names from outside, as one printable line of at most 1,000 characters."""
    line = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    return line if len(line) <= 1000 else f"{line[:1000]}…"


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns ` (did you mean 'popular'?)`, or nothing if no known word is near."""
    from difflib import get_close_matches  # only for messages, `import karec` does without

    matches = get_close_matches(word, list(known))
    return f" (did you mean {matches[0]!r}?)" if matches else ""


class KarecError(Exception):
    """Root of karec's own errors."""


class ConfigError(KarecError):
    """``karec.toml`` holds a wrong key or value; the message names the key and what was expected.

    ``path``: the keys and positions that lead to it, where the file is TOML.
    """

    path: tuple[str | int, ...] = ()


class DataError(KarecError):
    """A data file is missing or misshapen; the message names file, column and what was expected."""


class BundleError(KarecError):
    """A published bundle is incomplete, altered or of another format."""


class IndexFormatError(KarecError):
    """An index file or an id file is truncated, altered or of another format."""


class LogSchemaError(KarecError):
    """A rank log does not have the columns that its reader needs."""


class ContractError(KarecError):
    """A step broke the contract of its role (shape, dtype, order): a programming error, always raised."""


class Unavailable(KarecError):
    """Something that a step depends on cannot answer now; a step marked ``on_failure="skip"`` survives it."""


class MissingExtra(KarecError, ImportError):
    """An optional dependency is not installed; the message says which extra brings it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'karec[{extra}]'")
