"""The JSON Schema of karec.toml, for editors.

It has the keys, the types and ranges of values, and the roles of steps. `karec check` also reports
mistakes that depend on several keys or on a bundle.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import msgspec

from karec.config.inherit import LISTS
from karec.config.mix import MixSettings
from karec.config.registry import EXPOSURE_STEPS, settings_type, step_classes
from karec.config.scenes import COUNT_KEYS, FileTable, SceneTable
from karec.exposure.constraints import ExposureSettings
from karec.pipeline.step import QueryHydrator, SideEffect, Source, Step
from karec.toml import Place

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FALLBACK = "fallback of a stage"  # with the names of the steps in $defs
ADDED = ("merge", *EXPOSURE_STEPS)  # steps that no file lists
ROLES: dict[str, type[Step]] = {"query": QueryHydrator, "recall": Source, "side_effects": SideEffect}
LIMIT_OR_NAME: Schema = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}


def config_schema() -> Schema:
    """Returns the schema of a whole file; `$defs` has a table for each step."""
    classes = {use: cls for use, cls in step_classes().items() if use not in ADDED}
    structs = {use: settings_type(cls, Place(Path())) for use, cls in classes.items()}
    types = [*structs.values(), FileTable, SceneTable, ExposureSettings, MixSettings]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    components = {name: _as_toml(component) for name, component in components.items()}
    names = [schema["$ref"].rpartition("/")[2] for schema in schemas]
    *step_tables, file, scene, exposure, mix = [components.pop(name) for name in names]
    steps = {use: _step(use, table, classes[use]) for use, table in zip(structs, step_tables, strict=True)}
    scene["properties"] |= _scene_lists(classes)
    limits = scene["properties"]["limits"]
    limits["additionalProperties"] = {"anyOf": [limits["additionalProperties"], {"const": False}]}
    for key, table in (("exposure", exposure), ("mix", mix)):
        scene["properties"][key] = {"anyOf": [_changes_of(table), {"const": False}]}
    file["properties"]["scenes"] |= {"minProperties": 1, "additionalProperties": scene}
    file["required"] = ["scenes"]
    fallback = {
        "description": "The steps that run if the time is short, with the filters and rules of the stage.",
        "anyOf": [{"const": False}, {"type": "array", "minItems": 1, "items": _stage_step(classes)}],
    }
    return {
        "$schema": DIALECT,
        **file,
        "title": "karec.toml",
        "$defs": {**components, **steps, FALLBACK: fallback},
    }


def _as_toml(component: Schema) -> Schema:
    """Returns a table without null, which TOML lacks, and without other keys, which `convert` refuses."""
    if "properties" not in component:
        return component
    properties = {}
    for key, value in component["properties"].items():
        options = [option for option in value.get("anyOf", ()) if option != {"type": "null"}]
        rest = {name: item for name, item in value.items() if name != "anyOf" and item is not None}
        properties[key] = {
            **rest,
            **(options[0] if len(options) == 1 else {"anyOf": options} if options else {}),
        }
    description = inspect.cleandoc(component.get("description", "")).partition("\n\n")[0]
    return {**component, "properties": properties, "description": description, "additionalProperties": False}


def _step(use: str, table: Schema, cls: type[Step]) -> Schema:
    properties = {**table["properties"], "use": {"const": use}, "before": {"type": "string"}}
    for key in COUNT_KEYS:
        if key in properties:
            properties[key] = LIMIT_OR_NAME
    description = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0]
    return {**table, "title": use, "description": description, "properties": properties}


def _entry(uses: list[str]) -> Schema:
    """A step in a list: one of `uses`, whose keys are known, or a class of the user."""
    return {
        "type": "object",
        "required": ["use"],
        "properties": {"use": {"anyOf": [{"enum": uses}, {"type": "string", "pattern": ":"}]}},
        "allOf": [
            {
                "if": {"required": ["use"], "properties": {"use": {"const": use}}},
                "then": {"$ref": f"#/$defs/{use}"},
            }
            for use in uses
        ],
    }


def _stage_step(classes: dict[str, type[Step]]) -> Schema:
    other_roles = tuple(ROLES.values())
    return _entry([use for use, cls in classes.items() if not issubclass(cls, other_roles)])


def _list_or_changes(entry: Schema) -> Schema:
    """A list, or changes of an inherited list: {name of an entry: its changed keys, or false}."""
    changes = {"type": "object", "additionalProperties": {"anyOf": [{"const": False}, {"type": "object"}]}}
    return {"if": {"type": "array"}, "then": {"items": entry}, "else": changes}


def _scene_lists(classes: dict[str, type[Step]]) -> Schema:
    lists = {
        key: _list_or_changes(_entry([use for use, cls in classes.items() if issubclass(cls, role)]))
        for key, role in ROLES.items()
    }
    keys: Schema = {"name": {"type": "string"}, "fallback": {"$ref": f"#/$defs/{FALLBACK}"}}
    step = _stage_step(classes)
    stage = {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {**keys, "steps": {"type": "array", "items": step}},
    }
    changed = {
        "type": "object",
        "additionalProperties": False,
        "properties": {**keys, "before": {"type": "string"}, "steps": _list_or_changes(step)},
    }
    either = {"anyOf": [{"const": False}, changed]}
    changes = {"type": "object", "additionalProperties": either}
    stages = {"if": {"type": "array"}, "then": {"items": stage}, "else": changes}
    return {key: lists.get(key, stages) for key in LISTS}


def _changes_of(table: Schema) -> Schema:
    """A table of which a scene may change or remove each key."""
    properties = {key: {"anyOf": [value, {"const": False}]} for key, value in table["properties"].items()}
    return {**table, "properties": properties, "required": []}
