"""Reads TOML files and checks their tables: known keys, kinds of values, and the place of every mistake.

    table = read_toml(path)                         {key: value}; ConfigError when the file is absent or not
                                                    TOML
    settings = fill(Settings, table, Place(path))   a dataclass, or any class, from the table

``fill`` takes the keys of a table as parameters of a class's ``__init__``, and their types from its
annotations:

    annotation              TOML                    what the class gets
    int, str, bool          the same kind           as it is; true and false are no int
    float                   int or float            float
    Literal["a", "b"]       one of the values       as it is
    tuple[X, ...]           list                    tuple of X; any other sequence type gets a list
    tuple[X, Y]             list of two             tuple
    Mapping[str, X]         table                   dict of X
    a dataclass             table                   an instance, filled by the same rules
    X | None, X | Y         as X, or as Y           the first kind that fits; None is the absent key
    Any                     anything                as it is

Every mistake is a ConfigError of one line, ``file: place: what is wrong``, with the nearest known name.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import tomllib
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from karec.errors import ConfigError, ContractError

T = TypeVar("T")

_KINDS = {Sequence: "a list", Mapping: "a table"}

REMOVED: Mapping[str, str] = {
    "ranker.first": "Delete it. To save time, lower limits.prerank of the scene.",
    "ranker.precision": "Delete it: rankers serve in float32. `karec export models` writes int8 variants.",
    **dict.fromkeys(
        ("distil.pairwise", "distil.pairwise_weight", "distil.chunks"),
        "Delete it: distil.list_weight trains the order of a list.",
    ),
    "distil.unexposed_weight": "Delete it: distil.pool_weight trains on works that were not shown.",
    "distil.born_again": "Delete it: the towers are trained once.",
    **{f"recipe = {name!r}": "Use 'list'." for name in ("pairwise", "chunks", "unexposed", "born-again")},
    "model = 'first'": "Delete the stage. To save time, lower limits.prerank of the scene.",
    "recall.floor": "Use 'min_items'.",
    **{
        f"use = {old!r}": f"Use {new!r}."
        for old, new in {
            "i2i": "item_to_item",
            "on_now": "open_now",
            "is_on": "is_open",
            "as_user": "same_as_user",
            "scatter": "page_rules",
            "random": "karec.lab.simulate.random_order:RandomOrder",
        }.items()
    },
    "scenes.items": "Use 'item_type'.",
    "scenes.request": "Use 'query'.",
    "scenes.observers": "Use 'side_effects'.",
    "scenes.counts": "Use 'limits'.",
    "exposure.controller": "Delete it: the only controller is dual ascent, 'dual'.",
}
"""Advice for a removed key, by `table.key`, or a removed value, by `key = 'value'`."""


@dataclass(frozen=True)
class Place:
    """A table in a file, written ``file: scenes.home.recall[0]``. ``place[key]`` is the place of what it
    holds."""

    file: Path
    keys: str = ""
    path: tuple[str | int, ...] = ()

    def __getitem__(self, key: str | int) -> Place:
        path = (*self.path, key)
        if isinstance(key, int):
            return Place(self.file, f"{self.keys}[{key}]", path)
        return Place(self.file, f"{self.keys}.{key}" if self.keys else key, path)

    def called(self, keys: str) -> Place:
        """The same place, written ``keys``."""
        return Place(self.file, keys, self.path)

    def __str__(self) -> str:
        return f"{self.file}: {self.keys}" if self.keys else str(self.file)

    def refusal(self, message: object) -> ConfigError:
        """The error to raise for a mistake here, in one line."""
        error = ConfigError(" ".join(f"{self}: {message}".split()))
        error.path = self.path
        return error


def read_toml(path: Path) -> dict[str, Any]:
    """The file's top-level table. Raises ConfigError when it cannot be read or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def fill(cls: type[T], table: object, place: Place, base: T | None = None) -> T:
    """An instance of ``cls`` from ``table``; a key that is absent has the value of ``base``, else the class's
    default.

    ``base`` needs a dataclass; a nested dataclass takes what its table lacks from the nested value of
    ``base``.
    """
    return construct(cls, keywords(cls, table, place, base=base), place, base)


def keywords(
    cls: type[Any], table: object, place: Place, given: Collection[str] = (), base: object | None = None
) -> dict[str, Any]:
    """The checked keyword arguments that ``table`` gives ``cls``. ``given`` are parameters that no key may
    set."""
    if not isinstance(table, dict):
        raise place.refusal(f"expected a table, got {table!r}")
    settable = {name: each for name, each in parameters(cls).items() if name not in given}
    known_keys(table, settable, place)
    hints = _hints(cls, place)
    values = {}
    for name, value in table.items():
        hint = hints.get(name, Any)
        if dataclasses.is_dataclass(hint):
            values[name] = fill(typing.cast(type, hint), value, place[name], getattr(base, name, None))
        else:
            values[name] = checked(value, hint, name, place)
    if base is None:
        for name, parameter in settable.items():
            if name not in table and parameter.default is inspect.Parameter.empty:
                raise place.refusal(f"the key {name!r} is missing")
    return values


def mistakes(
    cls: type[Any], table: object, place: Place, given: Collection[str] = ()
) -> Iterator[ConfigError]:
    """What ``keywords`` refuses, and what dataclasses in it do: every mistake, and not the first alone."""
    if not isinstance(table, dict):
        yield place.refusal(f"expected a table, got {table!r}")
        return
    settable = {name: each for name, each in parameters(cls).items() if name not in given}
    hints = _hints(cls, place)
    for name, value in table.items():
        try:
            known_keys({name: value}, settable, place)
            yield from _mistakes_of_value(value, hints.get(name, Any), name, place)
        except ConfigError as error:
            error.path = (*place.path, name)
            yield error
    for name, parameter in settable.items():
        if name not in table and parameter.default is inspect.Parameter.empty:
            yield place.refusal(f"the key {name!r} is missing")


def _mistakes_of_value(value: Any, hint: Any, name: str, place: Place) -> list[ConfigError]:
    """Of dataclasses each; else what ``checked`` raises."""
    options = [option for option in typing.get_args(hint) if option is not types.NoneType]
    if typing.get_origin(hint) in (typing.Union, types.UnionType) and len(options) == 1:
        return _mistakes_of_value(value, options[0], name, place)
    of = next(iter(typing.get_args(hint)), None)
    if isinstance(value, list) and dataclasses.is_dataclass(of):
        each_of = [(each, of, place[name][at]) for at, each in enumerate(value)]
    elif dataclasses.is_dataclass(hint):
        each_of = [(value, hint, place[name])]
    else:
        checked(value, hint, name, place)
        return []
    found: list[ConfigError] = []
    for each, kind, at in each_of:
        of_keys = list(mistakes(typing.cast(type, kind), each, at))
        found += of_keys
        if not of_keys:
            try:
                fill(typing.cast(type, kind), each, at)
            except ConfigError as error:
                found.append(error)
    return found


def construct(cls: type[T], arguments: Mapping[str, Any], place: Place, base: T | None = None) -> T:
    """``cls(**arguments)``, or ``base`` with them replaced; what the class refuses is told with its place."""
    try:
        return cls(**arguments) if base is None else dataclasses.replace(base, **arguments)  # type: ignore[type-var]
    except (ValueError, TypeError, ConfigError, ContractError) as error:
        raise place.refusal(error) from error


def parameters(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """The named parameters of ``cls.__init__``, without ``self``, ``*args`` and ``**kwargs``."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: each for name, each in inspect.signature(cls).parameters.items() if each.kind not in variadic
    }


def known_keys(table: Mapping[str, Any], known: Iterable[str], place: Place) -> None:
    """Raises ConfigError for the first key that is not among ``known``."""
    known = list(known)
    for key in table:
        if key not in known:
            # An entry of a list may be named: recall.popular.min_items, scenes.home.limits.
            names = [name for name in place.path if isinstance(name, str)][-2:]
            advice = next((REMOVED[old] for name in names if (old := f"{name}.{key}") in REMOVED), None)
            if advice is not None:
                raise place.refusal(f"the key {key!r} was removed. {advice}")
            raise place.refusal(f"unknown key {key!r}{nearest(key, known)}; known are {sorted(known)}")


def refuse_removed(key: str, value: object) -> None:
    """Raises ConfigError if ``value`` of ``key`` was removed."""
    named = f"{key} = {value!r}"
    if named in REMOVED:
        raise ConfigError(f"{named} was removed. {REMOVED[named]}")


def nearest(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'popular'?)``, or nothing where no known word is near."""
    close = difflib.get_close_matches(word, list(known))
    return f" (did you mean {close[0]!r}?)" if close else ""


def required(table: Mapping[str, Any], key: str, hint: Any, place: Place) -> Any:
    """The value of ``key``, checked against ``hint``; ConfigError when it is absent."""
    if key not in table:
        raise place.refusal(f"the key {key!r} is missing")
    return checked(table[key], hint, key, place)


def tables(value: object, place: Place) -> Sequence[dict[str, Any]]:
    """``value`` as a list of tables."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise place.refusal("must be a list of tables")
    return value


def checked(value: Any, hint: Any, key: str, place: Place) -> Any:
    """``value`` converted to the annotation ``hint``. ``key`` names the value within ``place``:
    ``rules[0].window``."""
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _one_of(value, hint, key, place)
    if origin is typing.Literal:
        if any(value == each and type(value) is type(each) for each in typing.get_args(hint)):
            return value
        raise place.refusal(
            f"{key} = {value!r}, expected one of {', '.join(map(repr, typing.get_args(hint)))}"
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return _as_float(value, key, place)
    kind, inner = origin or hint, typing.get_args(hint)
    if isinstance(value, dict) and _is(kind, Mapping):
        of = inner[1] if inner else Any
        return {name: checked(each, of, f"{key}.{name}", place) for name, each in value.items()}
    # a text is a sequence only to Python
    if isinstance(value, list) and kind is not str and _is(kind, Sequence):
        each_of = _kinds_of_places(kind, inner, len(value))
        if each_of is not None:
            found = [
                checked(each, of, f"{key}[{i}]", place)
                for i, (each, of) in enumerate(zip(value, each_of, strict=True))
            ]
            return tuple(found) if kind is tuple else found
    elif dataclasses.is_dataclass(hint):
        return fill(typing.cast(type, hint), value, place[key])
    elif type(value) in (bool, str):  # a bool is an int and a str is a sequence only to Python
        if kind in (type(value), object):
            return value
    elif (
        isinstance(kind, type)
        and isinstance(value, kind)
        and not (kind is date and isinstance(value, datetime))
    ):
        return value
    raise place.refusal(f"{key} = {value!r}, expected {_spelled(hint)}")


def _one_of(value: Any, hint: Any, key: str, place: Place) -> Any:
    options = [option for option in typing.get_args(hint) if option is not types.NoneType]
    if len(options) == 1:
        return checked(value, options[0], key, place)
    for option in options:
        try:
            return checked(value, option, key, place)
        except ConfigError:
            continue
    raise place.refusal(f"{key} = {value!r}, expected {' or '.join(map(_spelled, options))}")


def _kinds_of_places(kind: Any, inner: tuple[Any, ...], n: int) -> list[Any] | None:
    """The annotation of each of ``n`` places of a sequence; None where the sequence has another length."""
    if kind is not tuple or (len(inner) == 2 and inner[1] is Ellipsis):
        return [inner[0] if inner else Any] * n
    if not inner:
        return [Any] * n
    return list(inner) if len(inner) == n else None


def _as_float(value: int, key: str, place: Place) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise place.refusal(f"{key} is too large for a number with a point") from error


def _hints(cls: type[Any], place: Place) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls if dataclasses.is_dataclass(cls) else cls.__init__)
    except NameError as error:
        raise place.refusal(
            f"the annotations of {cls.__name__} cannot be read, {error}: import it plainly"
        ) from error


def _is(kind: Any, abstract: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, abstract)


def _spelled(hint: Any) -> str:
    kind = typing.get_origin(hint) or hint
    if kind is typing.Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    if kind is tuple and Ellipsis not in typing.get_args(hint) and typing.get_args(hint):
        return f"a list of {len(typing.get_args(hint))}"
    if isinstance(kind, type) and kind is not str:
        for abstract, name in _KINDS.items():
            if issubclass(kind, abstract):
                return name
    return kind.__name__ if isinstance(kind, type) else str(hint)
