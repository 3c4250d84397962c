"""Builds a step from its table in karec.toml: its class by name, its settings by the keys of the table.

The settings of a step are the parameters of its constructor, except the objects that `Resources` gives, and
the keys that all steps of the role have. `settings_type` returns them as one msgspec struct.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from karec.config.resources import GIVEN, Resources
from karec.errors import ConfigError, nearest
from karec.exposure.controller import ExposureController
from karec.pipeline.deadline import MAX_TIMEOUT_MS
from karec.pipeline.step import Source, Step
from karec.toml import NonNegativeInt, Place, construct, convert, mistakes, read_key

EXPOSURE_STEPS = ("underexposed", "exposure_control", "exposure_counter")  # added for a table `exposure`
STEP_KEYS: Mapping[str, Any] = {"name": str, "on_failure": Literal["fail", "skip"]}
SOURCE_KEYS: Mapping[str, Any] = {
    "min_items": NonNegativeInt,
    "priority": int,
    "timeout_ms": Annotated[float, msgspec.Meta(gt=0, le=MAX_TIMEOUT_MS)] | None,
    "why": str,
}

S = TypeVar("S", bound=Step)


def build_step(table: Mapping[str, Any], roles: tuple[type[S], ...], resources: Resources, place: Place) -> S:
    """Returns the step of `table`. Raises ConfigError for a wrong key or value, or a step of another role."""
    cls = _class_of_role(table, roles, place)
    inside = place.with_keys(f"{place.keys} ({table['use']})")
    settings = convert(settings_type(cls, inside), table, inside)
    names = parameters(cls)
    arguments = {name: getattr(settings, name) for name in settings.__struct_fields__ if name in names}
    try:
        parts = {name: resources.get(name) for name in names if name in GIVEN}
    except LookupError as error:
        raise inside.refusal(error.args[0]) from error
    step: S = construct(cls, parts | arguments, inside)
    _set_common_keys(step, table, settings, place)
    if isinstance(step, Source):
        _check_source(step, place)
    return step


def make_unbuilt_step(table: Mapping[str, Any], place: Place) -> Step:
    """Returns a step with its name and settings but without its data, to check a whole scene."""
    cls = step_class(str(table["use"]), place)
    step: Step = object.__new__(cls)
    settings = convert(settings_type(cls, place), table, place)
    for name in parameters(cls).keys() & {*settings.__struct_fields__}:
        object.__setattr__(step, name, getattr(settings, name))
    _set_common_keys(step, table, settings, place)
    return step


def _set_common_keys(step: Step, table: Mapping[str, Any], settings: Any, place: Place) -> None:
    """Sets the keys of all steps of a role. A step may be a frozen dataclass."""
    object.__setattr__(step, "name", step_name(table, place))
    object.__setattr__(step, "on_failure", settings.on_failure)
    for key in SOURCE_KEYS.keys() & table.keys() if isinstance(step, Source) else ():
        object.__setattr__(step, key, getattr(settings, key))


def step_mistakes(table: Mapping[str, Any], roles: tuple[type[S], ...], place: Place) -> list[ConfigError]:
    """Returns every mistake of `table` that shows without a bundle."""
    try:
        cls = _class_of_role(table, roles, place)
        inside = place.with_keys(f"{place.keys} ({table['use']})")
        errors = mistakes(settings_type(cls, inside), table, inside)
    except ConfigError as error:
        error.path = (*place.path, "use")
        return [error]
    if not errors and issubclass(cls, Source):
        try:
            _check_source(typing.cast(Source, make_unbuilt_step(table, inside)), inside)
        except ConfigError as error:
            errors.append(error)
    return errors


def _check_source(source: Source, place: Place) -> None:
    if not source.min_items <= source.quota:
        raise place.refusal(f"min_items = {source.min_items}, expected 0 to {source.quota}, the quota")
    if source.timeout_ms is not None and source.on_failure == "fail":
        raise place.refusal('timeout_ms leaves out a late source: set on_failure = "skip" too')
    if source.why and type(source).causes is Source.causes:
        can = sorted(name for name, cls in step_classes().items() if "causes" in vars(cls))
        raise place.refusal(
            f"why: this source has no item that caused its items. Sources that have one: {can}"
        )
    if source.why and "{item}" not in source.why:
        raise place.refusal(
            f'why = {source.why!r}, expected a text with {{item}}, for example "like {{item}}"'
        )


def build_exposure_step(use: str, controller: ExposureController | None) -> Any:
    """Returns a step of `EXPOSURE_STEPS`; without a controller, one to check a scene with, not to run."""
    cls = step_classes()[use]
    if controller is None:
        step = object.__new__(cls)
    else:
        step = cls(**({"exposure": controller} if "exposure" in parameters(cls) else {}))
    step.name = use
    return step


def step_name(table: Mapping[str, Any], place: Place) -> str:
    """Returns the key `name`, else `use` without its module."""
    return str(table.get("name", read_key(table, "use", str, place).rsplit(":", 1)[-1]))


def step_classes() -> dict[str, type[Step]]:
    """Returns the class of each step of karec by its name, those of one role together."""
    # Imported here: the steps load ONNX Runtime, which commands that read a karec.toml do not need.
    from karec.steps import filters, hydrators, query, scorers, selectors, side_effects, sources

    roles = (query, sources, hydrators, filters, scorers, selectors, side_effects)
    return {use: cls for role in roles for use, cls in role.STEPS.items()}


def step_class(use: str, place: Place) -> type[Any]:
    """Returns the class of the step `use`: a name of `step_classes()`, or `"package.module:Class"`."""
    module, colon, name = use.partition(":")
    if use in EXPOSURE_STEPS:
        raise place.refusal(f"the scene's table `exposure` adds the step {use!r}: delete this entry")
    if not colon:
        classes = step_classes()
        if use in classes:
            return classes[use]
        raise place.refusal(
            f"no step {use!r}{nearest(use, classes)}; known are {sorted(classes)}, or write "
            "'package.module:Class'"
        )
    if not all(map(str.isidentifier, (*module.split("."), name))):
        raise place.refusal(f"use = {use!r}, expected 'package.module:Class'")
    try:
        cls = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module of the user may raise anything, also a SyntaxError
        raise place.refusal(f"{use!r} cannot be imported: {error}") from error
    if not (inspect.isclass(cls) and issubclass(cls, Step)):
        raise place.refusal(f"{use!r} is not a step; derive it from a role of karec.pipeline.step")
    if "index" in parameters(cls):
        raise place.refusal(
            f"{use!r} takes index, which no step is given: take schema (dim, columns), and read vectors and "
            "rows from request.index"
        )
    return cls


def _class_of_role(table: Mapping[str, Any], roles: tuple[type[Any], ...], place: Place) -> type[Any]:
    use = read_key(table, "use", str, place)
    cls = step_class(use, place)
    if not issubclass(cls, roles):
        role_names = " or ".join(role.__name__ for role in roles)
        raise place.refusal(f"{use!r} is a {cls.role}, expected a {role_names}")
    return cls


def steps_that_give(feature: str) -> list[str]:
    """Returns the names of the steps whose classes declare that they give `feature`."""
    return [use for use, cls in step_classes().items() if feature in cls.gives]


def parameters(cls: type[Any]) -> Mapping[str, inspect.Parameter]:
    """Returns the named parameters of the constructor of `cls`."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = inspect.signature(cls).parameters
    return {name: parameter for name, parameter in named.items() if parameter.kind not in variadic}


def settings_type(cls: type[Any], place: Place) -> type[msgspec.Struct]:
    """Returns the struct of the settings of `cls`, tagged by the key `use`."""
    try:
        return _settings_type(cls)  # type: ignore[arg-type]
    except (AttributeError, NameError) as error:
        raise place.refusal(
            f"the annotations of {cls.__name__} cannot be read: {error}. Import the name at the top of its "
            "module, not under TYPE_CHECKING."
        ) from error


@functools.cache
def _settings_type(cls: type[Any]) -> type[msgspec.Struct]:
    hints = typing.get_type_hints(cls.__init__, include_extras=True)
    fields: dict[str, Any] = {}
    for key, hint in {**STEP_KEYS, **(SOURCE_KEYS if issubclass(cls, Source) else {})}.items():
        fields[key] = (key, hint, getattr(cls, key))
    for name, parameter in parameters(cls).items():
        if name not in GIVEN:
            has_default = parameter.default is not inspect.Parameter.empty
            default = (_default(parameter.default),) if has_default else ()
            fields[name] = (name, hints.get(name, Any), *default)
    return msgspec.defstruct(
        cls.__name__,
        fields.values(),
        kw_only=True,
        forbid_unknown_fields=True,
        tag_field="use",
        namespace={"__doc__": cls.__doc__},
    )


def _default(value: Any) -> Any:
    """Returns a default that msgspec takes: it copies no values of other types."""
    is_plain = value is None or isinstance(value, bool | int | float | str)
    return value if is_plain else msgspec.field(default_factory=lambda: value)
