"""The JSON Schema of ``karec.toml``, for editors: from the registry's classes, their annotations and
docstrings.

It knows keys, kinds of values, and which steps belong where. What two keys mean together, and what a bundle
holds, a schema cannot say: ``karec config check`` does.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from karec.config.live_settings import LiveSettings
from karec.config.registry import EVERY_SOURCE, EXPOSURE_STEPS, parameters, step_classes
from karec.config.resources import GIVEN
from karec.config.scenes import COUNTED
from karec.config.serve_settings import ServeSettings
from karec.exposure.constraints import ExposureSettings
from karec.pipeline.step import Filter, Hydrator, QueryHydrator, Scorer, Selector, SideEffect, Source, Step

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ROLES: Mapping[str, tuple[type[Step], ...]] = {
    "query": (QueryHydrator,),
    "recall": (Source,),
    "steps": (Hydrator, Filter, Scorer, Selector),
    "side_effects": (SideEffect,),
}
ADDED = ("merge", *EXPOSURE_STEPS)  # steps that no file lists
FALLBACK = "fallback of a stage"  # beside the steps' names in $defs
COUNT: Schema = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}
PLAIN: Mapping[Any, Schema] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
}


def config_schema() -> Schema:
    """Of the whole file; ``$defs`` holds a table for each step."""
    defs = {use: _step(use, cls) for use, cls in step_classes().items() if use not in ADDED}
    scene = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "inherits": {
                "type": "string",
                "description": "The scene whose keys this one takes, but those it changes.",
            },
            "item_type": {
                "type": "string",
                "description": "What it recommends: work, or an item type of the bundle.",
            },
            "consumed": {"type": "array", "items": {"type": "string"}},
            "show_again": {"type": "boolean", "description": "Works that a user was shown come again."},
            "limits": {
                "type": "object",
                "description": "How many works are left, by names of your choice; recall is always needed.",
                "additionalProperties": {"anyOf": [{"type": "integer", "minimum": 1}, {"const": False}]},
            },
            "candidates": {"anyOf": [{"type": "integer", "minimum": 1}, {"const": False}]},
            "query": _list_or_changes("query"),
            "recall": _list_or_changes("recall"),
            "stages": _stages(),
            "side_effects": _list_or_changes("side_effects"),
            "exposure": {"anyOf": [_exposure(), {"const": False}]},
        },
    }
    return {
        "$schema": DIALECT,
        "title": "karec.toml",
        "type": "object",
        "required": ["scenes"],
        "additionalProperties": False,
        "properties": {
            "bundle": {
                "type": "string",
                "description": "The folder that holds `current`; relative to this file.",
            },
            "bundle_key": {
                "type": "string",
                "description": "PEM file of the key that bundles must be signed for.",
            },
            "threads": {
                "type": "integer",
                "minimum": 1,
                "description": "Requests that run at once, of all scenes.",
            },
            "live": {**_of_class(LiveSettings), "description": _said(LiveSettings)},
            "serve": {**_of_class(ServeSettings), "description": _said(ServeSettings)},
            "scenes": {"type": "object", "minProperties": 1, "additionalProperties": scene},
        },
        "$defs": {**defs, FALLBACK: _fallback()},
    }


def _step(use: str, cls: type[Any]) -> Schema:
    properties: Schema = {
        "use": {"const": use},
        "name": {"type": "string", "description": "For the trace, and for scenes that inherit it."},
        "on_failure": {"enum": ["fail", "skip"]},
        "before": {
            "type": "string",
            "description": "Of an entry that a scene adds: which one it stands before.",
        },
    }
    if issubclass(cls, Source):
        properties |= {key: _of_hint(kind) for key, kind in EVERY_SOURCE.items()}
    table = _of_class(cls, GIVEN)
    for key in COUNTED:
        if key in table["properties"]:
            table["properties"][key] = COUNT
    return {**table, "description": _said(cls), "properties": {**properties, **table["properties"]}}


def _fallback() -> Schema:
    return {
        "description": "The steps that run if the time is short, with the filters and rules of the stage.",
        "anyOf": [{"const": False}, {"type": "array", "minItems": 1, "items": _entry("steps")}],
    }


def _of_class(cls: type[Any], given: Collection[str] = ()) -> Schema:
    """A table of the class's parameters: known keys, which are needed, of which kinds."""
    settable = {name: each for name, each in parameters(cls).items() if name not in given}
    hints = typing.get_type_hints(cls if dataclasses.is_dataclass(cls) else cls.__init__)
    properties = {}
    for name, each in settable.items():
        properties[name] = dict(_of_hint(hints.get(name, Any)))
        if isinstance(each.default, bool | int | float | str):
            properties[name]["default"] = each.default
    required = [name for name, each in settable.items() if each.default is inspect.Parameter.empty]
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}


def _of_hint(hint: Any) -> Schema:
    """As ``karec.toml.checked`` takes values."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (typing.Union, types.UnionType):
        options = [_of_hint(option) for option in inner if option is not types.NoneType]
        return options[0] if len(options) == 1 else {"anyOf": options}
    if dataclasses.is_dataclass(hint):
        return {**_of_class(typing.cast(type, hint)), "description": _said(typing.cast(type, hint))}
    kind = origin or hint
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return {"type": "object", "additionalProperties": _of_hint(inner[1]) if inner else {}}
    if isinstance(kind, type) and issubclass(kind, Sequence):
        if kind is tuple and inner and not (len(inner) == 2 and inner[1] is Ellipsis):
            each = [_of_hint(of) for of in inner]
            return {"type": "array", "prefixItems": each, "items": False, "minItems": len(each)}
        return {"type": "array", "items": _of_hint(inner[0]) if inner else {}}
    return {}


def _said(cls: type[Any]) -> str:
    """The docstring's first paragraph, on one line."""
    return " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())


def _uses(key: str) -> list[str]:
    return [use for use, cls in step_classes().items() if use not in ADDED and issubclass(cls, ROLES[key])]


def _entry(key: str) -> Schema:
    """A step of one list: one of the registry's, whose keys are known, or of a class of one's own."""
    return {
        "type": "object",
        "required": ["use"],
        "properties": {"use": {"anyOf": [{"enum": _uses(key)}, {"type": "string", "pattern": ":"}]}},
        "allOf": [
            {
                "if": {"required": ["use"], "properties": {"use": {"const": use}}},
                "then": {"$ref": f"#/$defs/{use}"},
            }
            for use in _uses(key)
        ],
    }


def _changes() -> Schema:
    """Of an inherited list: by the name of an entry its changed keys, or false."""
    return {"type": "object", "additionalProperties": {"anyOf": [{"const": False}, {"type": "object"}]}}


def _list_or_changes(key: str) -> Schema:
    return {
        "if": {"type": "array"},
        "then": {"items": _entry(key)},
        "else": _changes(),
    }


def _stages() -> Schema:
    stage = {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string"},
            "steps": {"type": "array", "items": _entry("steps")},
            "fallback": {"$ref": f"#/$defs/{FALLBACK}"},
        },
    }
    changed = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string"},
            "before": {"type": "string"},
            "steps": _list_or_changes("steps"),
            "fallback": {"$ref": f"#/$defs/{FALLBACK}"},
        },
    }
    either = {"anyOf": [{"const": False}, changed]}
    return {
        "if": {"type": "array"},
        "then": {"items": stage},
        "else": {"type": "object", "additionalProperties": either},
    }


def _exposure() -> Schema:
    """None of its keys is needed in a scene that inherits others."""
    table = _of_class(ExposureSettings)
    keys = {name: {"anyOf": [each, {"const": False}]} for name, each in table["properties"].items()}
    return {**table, "properties": keys, "required": []}
