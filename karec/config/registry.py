"""Builds a step from its table in ``karec.toml``: the class by name, arguments by keys."""

from __future__ import annotations

import functools
import importlib
import inspect
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar

import msgspec

from karec.config.resources import GIVEN, Resources
from karec.errors import ConfigError, nearest
from karec.exposure.controller import ExposureController
from karec.pipeline.step import Source, Step
from karec.toml import REMOVED, Place, construct, convert, mistakes, read_key

EXPOSURE_STEPS = ("underexposed", "exposure_control", "exposure_counter")  # added for a table `exposure`
# keys that every step takes
EVERY_STEP: Mapping[str, Any] = {"use": str, "name": str, "on_failure": Literal["fail", "skip"]}
MAX_TIMEOUT_MS = 86_400_000  # a day; threading limits the time that a thread can wait
# keys that every source takes too
EVERY_SOURCE = {"min_items": int, "priority": int, "timeout_ms": float}

S = TypeVar("S", bound=Step)
T = TypeVar("T")


def build_step(table: Mapping[str, Any], roles: tuple[type[S], ...], resources: Resources, place: Place) -> S:
    """Returns the step of ``table``. Raises ConfigError for a wrong key or value, or a step of another
    role."""
    use = read_key(table, "use", str, place)
    cls = step_class(use, place)
    _check_role(cls, use, roles, place)
    step: S = _construct_step(cls, use, table, resources, place)
    on_failure = read_key(table, "on_failure", EVERY_STEP["on_failure"], place, cls.on_failure)
    object.__setattr__(step, "name", step_name(table, place))  # a step may be a frozen dataclass
    object.__setattr__(step, "on_failure", on_failure)
    if isinstance(step, Source):
        for key, kind in EVERY_SOURCE.items():
            if key in table:
                object.__setattr__(step, key, read_key(table, key, kind, place))
        _check_source(step, place)
    return step


def step_mistakes(
    table: Mapping[str, Any], roles: tuple[type[S], ...], place: Place
) -> Iterator[ConfigError]:
    """Yields every mistake of ``table`` that can be found without a bundle."""
    try:
        use = read_key(table, "use", str, place)
        cls = step_class(use, place)
        _check_role(cls, use, roles, place)
    except ConfigError as error:
        error.path = (*place.path, "use")
        yield error
        return
    inside = place.called(f"{place.keys} ({use})")
    options = {key: value for key, value in table.items() if key not in _common(cls)}
    errors = mistakes(settings_type(cls, inside), options, inside)
    for key in _common(cls) & table.keys():
        try:
            read_key(table, key, {**EVERY_STEP, **EVERY_SOURCE}[key], inside)
        except ConfigError as error:
            error.path = (*place.path, key)
            errors.append(error)
    yield from errors
    if errors:
        return
    try:
        step = make_unbuilt_step(table, inside)
        if isinstance(step, Source):
            _check_source(step, inside)
    except ConfigError as error:
        yield error


def _common(cls: type[Any]) -> set[str]:
    """Returns the keys that every step of the role takes."""
    return {*EVERY_STEP, *(EVERY_SOURCE if issubclass(cls, Source) else ())}


def make_unbuilt_step(table: Mapping[str, Any], place: Place) -> Step:
    """Returns a step with its name and settings whose constructor was not called, to check a scene with."""
    cls = step_class(str(table["use"]), place)
    step: Step = object.__new__(cls)
    defaults = {name: each.default for name, each in parameters(cls).items() if name not in GIVEN}
    for key, value in {**defaults, **table, "name": step_name(table, place)}.items():
        if key != "use":
            object.__setattr__(step, key, value)
    return step


def _check_source(source: Source, place: Place) -> None:
    if source.quota < 0:
        raise place.refusal(f"quota = {source.quota}, expected at least 0")
    if not 0 <= source.min_items <= source.quota:
        raise place.refusal(f"min_items = {source.min_items}, expected 0 … {source.quota}, the quota")
    if source.timeout_ms is None:
        return
    if not 0 < source.timeout_ms <= MAX_TIMEOUT_MS:
        raise place.refusal(
            f"timeout_ms = {source.timeout_ms}, expected a time above 0, at most {MAX_TIMEOUT_MS:,}, a day"
        )
    if source.on_failure == "fail":
        raise place.refusal('timeout_ms leaves out a late source: set on_failure = "skip" too')


def build_exposure_step(use: str, controller: ExposureController | None) -> Any:
    """Returns a step of ``EXPOSURE_STEPS``; without a controller, one to check a scene with, not to run."""
    cls = step_classes()[use]
    if controller is None:
        step = object.__new__(cls)
    else:
        step = cls(**({"exposure": controller} if "exposure" in parameters(cls) else {}))
    step.name = use
    return step


def step_name(table: Mapping[str, Any], place: Place) -> str:
    """Returns the key ``name``, or ``use`` without its module."""
    if "name" in table:
        return str(read_key(table, "name", str, place))
    return str(read_key(table, "use", str, place)).rsplit(":", 1)[-1]


def step_classes() -> dict[str, type[Step]]:
    """Returns the class of each step of karec by its name, those of one role together."""
    # Imported here: the steps load ONNX Runtime, which commands that read a karec.toml do not need.
    from karec.steps import filters, hydrators, query, scorers, selectors, side_effects, sources

    roles = (query, sources, hydrators, filters, scorers, selectors, side_effects)
    return {use: cls for role in roles for use, cls in role.STEPS.items()}


def step_class(use: str, place: Place) -> type[Any]:
    """Returns the class of the step ``use``: a name of ``step_classes()``, or ``"package.module:Class"``."""
    module, colon, name = use.partition(":")
    if use in EXPOSURE_STEPS:
        raise place.refusal(f"the scene's table `exposure` adds the step {use!r}: delete this entry")
    if not colon:
        known = step_classes()
        if use in known:
            return known[use]
        if (advice := REMOVED.get(f"use = {use!r}")) is not None:
            raise place.refusal(f"use = {use!r} was removed. {advice}")
        raise place.refusal(
            f"no step {use!r}{nearest(use, known)}; known are {sorted(known)}, or write "
            "'package.module:Class'"
        )
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise place.refusal(f"{use!r} cannot be imported: {error}") from error
    if not (inspect.isclass(cls) and issubclass(cls, Step)):
        raise place.refusal(f"{use!r} is not a step; derive it from a role of karec.pipeline.step")
    if "index" in parameters(cls):
        raise place.refusal(
            f"{use!r} takes index, which no step is given: take schema (dim, columns), and read vectors and "
            "rows from request.index"
        )
    return cls


def _check_role(cls: type[Any], use: str, roles: tuple[type[Any], ...], place: Place) -> None:
    if not issubclass(cls, roles):
        raise place.refusal(
            f"{use!r} is a {cls.role}, expected a {' or '.join(role.__name__ for role in roles)}"
        )


def steps_that_give(feature: str) -> list[str]:
    """Returns the names of the steps whose classes declare that they give ``feature``."""
    return [use for use, cls in step_classes().items() if feature in cls.gives]


def parameters(cls: type[Any]) -> Mapping[str, inspect.Parameter]:
    """Returns the named parameters of the constructor of `cls`."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = inspect.signature(cls).parameters
    return {name: parameter for name, parameter in named.items() if parameter.kind not in variadic}


def _same(value: T) -> T:
    return value


@functools.cache
def _settings_type(cls: type[Any]) -> type[msgspec.Struct]:
    hints = typing.get_type_hints(cls.__init__, include_extras=True)
    fields: list[Any] = []
    for name, parameter in parameters(cls).items():
        if name in GIVEN:
            continue
        default: Any = parameter.default
        if default is inspect.Parameter.empty:
            fields.append((name, hints.get(name, Any)))
            continue
        is_plain = default is None or isinstance(default, bool | int | float | str)
        default = default if is_plain else msgspec.field(default_factory=functools.partial(_same, default))
        fields.append((name, hints.get(name, Any), default))
    return msgspec.defstruct(
        cls.__name__, fields, kw_only=True, forbid_unknown_fields=True, namespace={"__doc__": cls.__doc__}
    )


def settings_type(cls: type[Any], place: Place) -> type[msgspec.Struct]:
    """Returns the struct of the settings of `cls`: the parameters of its constructor but the resources."""
    try:
        return _settings_type(cls)  # type: ignore[arg-type]
    except NameError as error:
        raise place.refusal(
            f"the annotations of {cls.__name__} cannot be read: {error}. Import the name at the top of its "
            "module, not under TYPE_CHECKING."
        ) from error


def _construct_step(
    cls: type[S], use: str, table: Mapping[str, Any], resources: Resources, place: Place
) -> S:
    inside = place.called(f"{place.keys} ({use})")
    options = {key: value for key, value in table.items() if key not in _common(cls)}
    settings = convert(settings_type(cls, inside), options, inside)
    arguments = {name: getattr(settings, name) for name in settings.__struct_fields__}
    try:
        parts = {name: resources.get(name) for name in parameters(cls) if name in GIVEN}
    except LookupError as error:
        raise inside.refusal(error.args[0]) from error
    return construct(cls, parts | arguments, inside)
