"""Reads TOML files into typed settings and reports every mistake of a table at once.

    table = read_toml(path)                          {key: value}; ConfigError if the file is not TOML
    settings = convert(TrainSettings, table, Place(path))

`convert` takes a `Settings` struct or a dataclass. Their annotations give the types, and `msgspec.Meta` in an
annotation gives the range of a number:

    annotation                           TOML                    value
    int, str, bool, date, datetime       the same type           unchanged; true and false are not an int
    float                                int or float            float, finite
    Literal["a", "b"]                    one of the values       unchanged
    tuple[X, ...]                        list                    tuple of X; another sequence type: list
    tuple[X, Y]                          list of two             tuple
    Mapping[str, X]                      table                   dict of X
    a Settings struct or a dataclass     table                   an instance
    X | None, X | Y                      as X, or as Y           the first type that fits
    Annotated[int, Meta(ge=1, le=9)]     int from 1 to 9         int

A mistake is one line: `file:line: table: key = value, expected …`, with the nearest known key.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, cast

import msgspec

from karec.errors import ConfigError, ContractError, nearest

T = TypeVar("T")
Keys = tuple[str | int, ...]

MAX_INT = 2**63 - 1
Count = Annotated[int, msgspec.Meta(ge=1)]
NonNegativeInt = Annotated[int, msgspec.Meta(ge=0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]

_NATIVE = (date, datetime)  # TOML has them, so a string is not converted to them


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings from a TOML table or from Python. Values from Python are checked like those of a file.

    Raises ConfigError that names the field and the expected value.
    """

    def __post_init__(self) -> None:
        errors: list[ConfigError] = []
        for field in msgspec.structs.fields(type(self)):
            place = Place(Path(), field.name, (field.name,))
            value = _convert(field.type, getattr(self, field.name), place, Place(Path()), errors)
            msgspec.structs.force_setattr(self, field.name, value)
        if errors:
            raise ConfigError("; ".join(str(error).removeprefix(f"{Path()}: ") for error in errors))

    def replace(self, **values: Any) -> Self:
        """Returns a copy with other values. A dict changes fields of the settings in that field."""
        nested = {
            name: old.replace(**value)
            for name, value in values.items()
            if isinstance(value, Mapping) and isinstance(old := getattr(self, name), Settings)
        }
        return msgspec.structs.replace(self, **{**values, **nested})

    def to_dict(self) -> dict[str, Any]:
        """Returns the values as JSON has them: settings as dicts, tuples as lists."""
        return cast(dict[str, Any], msgspec.to_builtins(self))


@dataclass(frozen=True)
class Place:
    """A place in a TOML file, written `file: scenes.home.recall[0]`. `place[key]` is one level deeper.

    keys      the text that messages show
    path      the keys and positions from the top of the file
    """

    file: Path
    keys: str = ""
    path: Keys = ()

    def __getitem__(self, key: str | int) -> Place:
        path = (*self.path, key)
        if isinstance(key, int):
            return replace(self, keys=f"{self.keys}[{key}]", path=path)
        return replace(self, keys=f"{self.keys}.{key}" if self.keys else key, path=path)

    def with_keys(self, keys: str) -> Place:
        """Returns the same place with another text for messages."""
        return replace(self, keys=keys)

    def __str__(self) -> str:
        return f"{self.file}: {self.keys}" if self.keys else str(self.file)

    def refusal(self, message: object, key: str | int | None = None) -> ConfigError:
        """Returns the one-line error for a mistake in this place, or in its `key`."""
        error = ConfigError(" ".join(f"{self}: {message}".split()))
        error.path = self.path if key is None else (*self.path, key)
        return error


def read_toml(path: Path) -> dict[str, Any]:
    """Returns the top-level table. Raises ConfigError if the file cannot be read or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder, expected a file, for example {path}/karec.toml") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # of TOML, of UTF-8, or of a number with more digits than Python reads
        raise ConfigError(f"{path} is not TOML: {error}") from error


def convert(
    cls: type[T],
    table: object,
    place: Place,
    *,
    base: T | None = None,
    given: Mapping[str, Any] | None = None,
) -> T:
    """Returns an instance of `cls`, a Settings struct or a dataclass, from `table`.

    Args:
        base: values of absent keys, also in nested tables; None: the defaults of `cls`.
        given: values of fields that no key may set.
    Raises:
        ConfigError with one line for each mistake, in the order of the file's lines.
    """
    errors: list[ConfigError] = []
    settings = _convert_table(cls, table, place, errors, base, given or {})
    if errors:
        raise with_lines(errors, place.file)
    return cast(T, settings)


def mistakes(
    cls: type[Any], table: object, place: Place, given: Mapping[str, Any] | None = None
) -> list[ConfigError]:
    """Returns the mistakes that `convert` reports, one error each, without line numbers."""
    errors: list[ConfigError] = []
    _convert_table(cls, table, place, errors, None, given or {})
    return errors


def with_lines(errors: Sequence[ConfigError], file: Path) -> ConfigError:
    """Returns one error with the lines of all errors. A line number is missing if the file lacks the key."""
    try:
        lines = toml_lines(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        lines = {}
    texts = []
    for error in sorted(errors, key=lambda error: lines.get(error.path, math.inf)):
        line = lines.get(error.path)
        text = str(error)
        texts.append(text if line is None else f"{file}:{line}{text.removeprefix(str(file))}")
    combined = ConfigError("\n".join(texts))
    combined.path = errors[0].path
    return combined


def _convert_table(
    cls: type[Any],
    table: object,
    place: Place,
    errors: list[ConfigError],
    base: object | None,
    given: Mapping[str, Any],
) -> Any:
    """Returns an instance of `cls`; None if mistakes of the table were added to `errors`."""
    if not isinstance(table, dict):
        errors.append(place.refusal(f"expected a table, got {table!r}"))
        return None
    n_before = len(errors)
    fields = {name: field for name, field in _fields(cls).items() if name not in given}
    values = {name: getattr(base, name) for name in fields} if base is not None else {}
    tag_field = cls.__struct_config__.tag_field if issubclass(cls, msgspec.Struct) else None
    for key, value in table.items():
        if key == tag_field:
            continue
        if key not in fields:
            nested = [name for name, field in fields.items() if _has_field(field.hint, key)]
            errors.append(unknown_key(key, fields, place, nested))
            continue
        old = getattr(base, key, None)
        values[key] = _convert(fields[key].hint, value, place[key], place, errors, old)
    errors += [
        place.refusal(f"the key {name!r} is missing")
        for name, field in fields.items()
        if field.is_required and name not in table and base is None
    ]
    if len(errors) > n_before:
        return None
    try:
        return cls(**{**values, **given})
    except (ValueError, TypeError, ConfigError, ContractError) as error:
        errors.append(place.refusal(error))
        return None


def _has_field(hint: Any, key: str) -> bool:
    return is_settings(hint) and key in _fields(hint)


@dataclass(frozen=True)
class _Field:
    hint: Any
    is_required: bool


def _fields(cls: type[Any]) -> dict[str, _Field]:
    if issubclass(cls, msgspec.Struct):
        return {field.name: _Field(field.type, field.required) for field in msgspec.structs.fields(cls)}
    hints = typing.get_type_hints(cls, include_extras=True)
    absent = dataclasses.MISSING
    return {
        field.name: _Field(hints[field.name], field.default is absent and field.default_factory is absent)
        for field in dataclasses.fields(cls)
        if field.init
    }


def _convert(
    hint: Any, value: Any, place: Place, table: Place, errors: list[ConfigError], base: object | None = None
) -> Any:
    """Returns `value` as the annotation `hint`. Messages name the key in `table`, which contains `place`."""
    plain, inner = _without_meta(hint), typing.get_args(_without_meta(hint))
    origin = typing.get_origin(plain) or plain
    if origin in (typing.Union, types.UnionType):
        return _convert_union(inner, value, place, table, errors, base)
    if is_settings(plain):
        is_instance = isinstance(value, plain)
        return value if is_instance else _convert_table(plain, value, place, errors, base, {})
    if isinstance(value, Mapping) and _is_subclass(origin, Mapping):
        item = inner[1] if inner else Any
        return {key: _convert(item, entry, place[key], table, errors) for key, entry in value.items()}
    # str is a Sequence in Python, a list is not a str in TOML
    if isinstance(value, list | tuple) and origin is not str and _is_subclass(origin, Sequence):
        items = _item_hints(origin, inner, len(value))
        if items is not None:
            converted = [
                _convert(item, entry, place[i], table, errors)
                for i, (item, entry) in enumerate(zip(items, value, strict=True))
            ]
            return tuple(converted) if origin is tuple else converted
    value = float(value) if isinstance(value, float) else value  # np.float64 is a subclass of float
    try:
        converted = msgspec.convert(value, hint, builtin_types=_NATIVE)
        if not _is_out_of_range(converted):
            return converted
    except msgspec.ValidationError:
        pass
    errors.append(_wrong_value(value, _expected(hint, value), place, table))
    return None


def _convert_union(
    options: Sequence[Any],
    value: Any,
    place: Place,
    table: Place,
    errors: list[ConfigError],
    base: object | None,
) -> Any:
    if value is None and types.NoneType in options:
        return None
    options = [option for option in options if option is not types.NoneType]
    tables = [option for option in options if is_settings(option)]
    options = tables if isinstance(value, Mapping) and len(tables) == 1 else options
    if len(options) == 1:
        return _convert(options[0], value, place, table, errors, base)
    for option in options:
        refused: list[ConfigError] = []
        converted = _convert(option, value, place, table, refused)
        if not refused:
            return converted
    errors.append(_wrong_value(value, " or ".join(map(_type_name, options)), place, table))
    return None


def _wrong_value(value: object, expected: str, place: Place, table: Place) -> ConfigError:
    name = place.keys.removeprefix(table.keys).removeprefix(".")
    error = table.refusal(f"{name} = {value!r}, expected {expected}")
    error.path = place.path
    return error


def _item_hints(origin: Any, inner: tuple[Any, ...], n: int) -> list[Any] | None:
    """Returns the annotation of each item of a sequence of `n`; None if the annotation has another length."""
    if origin is not tuple or (len(inner) == 2 and inner[1] is Ellipsis):
        return [inner[0] if inner else Any] * n
    if not inner:
        return [Any] * n
    return list(inner) if len(inner) == n else None


def _is_out_of_range(value: object) -> bool:
    """Returns True for a number that no setting may have: not finite, or above 64 bits."""
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, int) and abs(value) > MAX_INT


def _expected(hint: Any, value: Any) -> str:
    """Returns the expected value, in words, for the message of a wrong scalar."""
    plain = _without_meta(hint)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and (plain is float or (plain is int and isinstance(value, int))):
        if isinstance(value, float) and not math.isfinite(value):
            return "a finite number"
        return f"at most {MAX_INT}" if abs(value) > MAX_INT else _range_in_words(hint)
    if plain is str and isinstance(value, str):
        return "a text that is not empty"
    if plain is datetime:
        return "a time with its offset, for example 2026-12-01T00:00:00Z"
    if typing.get_origin(plain) is Literal:
        return f"one of {', '.join(map(repr, typing.get_args(plain)))}"
    return _type_name(plain)


def _range_in_words(hint: Any) -> str:
    bounds = {
        name: getattr(meta, name)
        for meta in getattr(hint, "__metadata__", ())
        for name in ("ge", "gt", "le", "lt")
        if getattr(meta, name, None) is not None
    }
    if {*bounds} == {"ge", "le"}:
        return f"{bounds['ge']} to {bounds['le']}"
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return ", ".join(f"{words[name]} {bound}" for name, bound in bounds.items())


def _type_name(hint: Any) -> str:
    plain = _without_meta(hint)
    origin = typing.get_origin(plain) or plain
    if origin is Literal:
        return " or ".join(map(repr, typing.get_args(plain)))
    if origin is tuple and Ellipsis not in typing.get_args(plain) and typing.get_args(plain):
        return f"a list of {len(typing.get_args(plain))}"
    if is_settings(plain) or _is_subclass(origin, Mapping):
        return "a table"
    if origin is not str and _is_subclass(origin, Sequence):
        return "a list"
    return origin.__name__ if isinstance(origin, type) else str(plain)


def _without_meta(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def _is_subclass(origin: Any, abstract: type) -> bool:
    return isinstance(origin, type) and issubclass(origin, abstract)


def is_settings(hint: Any) -> bool:
    """Returns True if `convert` makes a table into an instance of `hint`."""
    is_class = isinstance(hint, type) and typing.get_origin(hint) is None
    return is_class and (issubclass(hint, msgspec.Struct) or dataclasses.is_dataclass(hint))


def read_key(
    table: Mapping[str, Any], key: str, hint: Any, place: Place, default: Any = msgspec.UNSET
) -> Any:
    """Returns the value of one key. Raises ConfigError if it is absent without a default, or wrong."""
    if key not in table:
        if default is msgspec.UNSET:
            raise place.refusal(f"the key {key!r} is missing")
        return default
    errors: list[ConfigError] = []
    value = _convert(hint, table[key], place[key], place, errors)
    if errors:
        raise errors[0]
    return value


def read_tables(value: object, place: Place) -> Sequence[dict[str, Any]]:
    """Returns `value` if it is a list of tables, else raises ConfigError."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise place.refusal("must be a list of tables")
    return value


def construct(cls: type[T], arguments: Mapping[str, Any], place: Place) -> T:
    """Returns `cls(**arguments)`. Raises ConfigError with the place for arguments that the class refuses."""
    try:
        return cls(**arguments)
    except (ValueError, TypeError, ConfigError, ContractError) as error:
        raise place.refusal(error) from error


def unknown_key(key: str, known: Iterable[str], place: Place, nested: Sequence[str] = ()) -> ConfigError:
    """Returns the error for a key that is not `known`. `nested`: tables in `place` that have this key."""
    known = sorted(known)
    if nested:
        places = " or ".join(f"{name}.{key}" for name in nested)
        return place.refusal(f"the key {key!r} belongs to a section. Write it at {places}.", key)
    return place.refusal(f"unknown key {key!r}{nearest(key, known)}; known are {known}", key)


def check_keys(table: Mapping[str, Any], known: Iterable[str], place: Place) -> None:
    """Raises ConfigError for the first key that is not `known`."""
    known = list(known)
    for key in table:
        if key not in known:
            raise unknown_key(key, known, place)


def toml_key(key: str) -> str:
    """Returns `key` as TOML writes it, quoted if needed."""
    return key if _BARE_KEY.fullmatch(key) else _toml_string(key)


def toml_value(value: object) -> str:
    """Returns a value as TOML writes it. Keys with the value None are left out of tables."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:_}"
    if isinstance(value, float):
        return repr(value)
    if is_settings(type(value)):
        value = msgspec.to_builtins(value)
    if isinstance(value, Mapping):
        items = [
            f"{toml_key(str(key))} = {toml_value(item)}" for key, item in value.items() if item is not None
        ]
        return f"{{ {', '.join(items)} }}" if items else "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(toml_value, value))}]"
    return _toml_string(str(value))


def _toml_string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_lines(text: str) -> Mapping[Keys, int]:
    """Returns {path: line, from 1} of each key, table and list entry in `text`. Empty if it is not TOML.

    tomllib does not report lines. Cost: O(text).
    """
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}
    return _LineScan(text).scan()


_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'', re.DOTALL)
_OTHER_VALUE = re.compile(r"[^,\]}\n#]+")


class _LineScan:
    """A scan of a valid TOML text, from `at` on."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.lines: dict[Keys, int] = {}
        self.n_entries: dict[Keys, int] = {}  # entries so far in each list of tables

    def scan(self) -> Mapping[Keys, int]:
        table: Keys = ()
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

    def _table(self, entry: bool) -> Keys:
        line = self._line()
        path = self._inside(self._key())
        if entry:
            self.lines.setdefault(path, line)
            self.n_entries[path] = self.n_entries.get(path, 0) + 1
        if path in self.n_entries:
            path = (*path, self.n_entries[path] - 1)
        self._store(path, line)
        self._take("]]" if entry else "]")
        return path

    def _inside(self, keys: list[str]) -> Keys:
        """Returns the path of a table header. A list of tables on the way continues in its last entry."""
        path: Keys = ()
        for key in keys[:-1]:
            path = (*path, key)
            if path in self.n_entries:
                path = (*path, self.n_entries[path] - 1)
        return (*path, keys[-1])

    def _pair(self, table: Keys) -> None:
        line = self._line()
        path = (*table, *self._key())
        self._skip()
        self._take("=")
        self._skip()
        self._store(path, line)
        self._value(path)

    def _value(self, path: Keys) -> None:
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
            match = _STRING.match(self.text, self.at) or _OTHER_VALUE.match(self.text, self.at)
            self.at = match.end() if match else self.at + 1

    def _key(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip()
            match = _BARE_KEY.match(self.text, self.at) or _STRING.match(self.text, self.at)
            if match is None:
                return keys
            self.at = match.end()
            keys.append(match[0].strip("\"'"))
            self._skip()
            if not self._take("."):
                return keys

    def _store(self, path: Keys, line: int) -> None:
        """Stores the line of `path`, and of tables above it that have no line yet."""
        for n in range(1, len(path) + 1):
            self.lines.setdefault(path[:n], line)

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def _skip(self) -> None:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def _take(self, token: str) -> bool:
        if not self.text.startswith(token, self.at):
            return False
        self.at += len(token)
        return True
