"""Writes the generated part of docs/steps.md, from the docstrings and settings of the steps.

Run it as ``python docs/generate_steps.py``, or ``make docs``.
"""

from __future__ import annotations

import inspect
import re
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from karec.config.registry import SOURCE_KEYS, STEP_KEYS, settings_type, step_classes
from karec.pipeline.step import Selector, Source, Step
from karec.toml import Place

PAGE = Path(__file__).with_name("steps.md")
WIDTH = 140
ROLES = {  # a merger is not in a karec.toml
    "query_hydrator": "Query hydrators (list `query`)",
    "source": "Sources (list `recall`)",
    "hydrator": "Hydrators (steps of a stage)",
    "filter": "Filters (steps of a stage)",
    "scorer": "Scorers (steps of a stage)",
    "selector": "Selectors (steps of a stage)",
    "side_effect": "Side effects (list `side_effects`)",
}
TYPE_NAMES = {int: "integer", float: "number", str: "text", bool: "true, false"}
BEGIN = "<!-- generated from here on -->\n"


def page() -> str:
    """Returns the text of docs/steps.md: its introduction, then a section for each step."""
    parts = [PAGE.read_text(encoding="utf-8").partition(BEGIN)[0] + BEGIN.rstrip()]
    for role, title in ROLES.items():
        parts.append(f"\n## {title}\n")
        parts += [_section(use, cls) for use, cls in step_classes().items() if cls.role == role]
    return "\n".join(parts) + "\n"


def _section(use: str, cls: type[Step]) -> str:
    parts = [part for part in _docstring(cls).split("\n\n") if not part.startswith(("Settings:", "Cost:"))]
    if cls.needs and len(cls.needs) < 4:
        parts.append(f"Needs {', '.join(f'`{need}`' for need in cls.needs)}.")
    text = textwrap.fill(" ".join(parts), WIDTH, break_on_hyphens=False)
    return "\n".join([f"### {use}", text, *_settings(cls)])


def _settings(cls: type[Step]) -> list[str]:
    """Returns a list item for each setting. Raises KeyError if no docstring of the step describes it."""
    docstrings = "\n".join(_docstring(base) for base in reversed(cls.__mro__) if issubclass(base, Step))
    entries = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", docstrings, re.MULTILINE)
    meanings = {name: " ".join(meaning.split()).rstrip(".") for name, meaning in entries}
    common = {*STEP_KEYS, *((*SOURCE_KEYS, "quota") if issubclass(cls, Source) else ())}
    fields = msgspec.structs.fields(settings_type(cls, Place(Path())))
    if issubclass(cls, Selector):  # the introduction has the optional k
        common |= {field.name for field in fields if field.name == "k" and not field.required}
    return [_setting(field, meanings[field.name]) for field in fields if field.name not in common]


def _setting(field: msgspec.structs.FieldInfo, meaning: str) -> str:
    default = ", required" if field.required else ""
    if field.default not in (None, msgspec.NODEFAULT):
        default = f", default `{msgspec.json.encode(field.default).decode()}`"
    text = f"- `{field.name}` ({_type_name(field.type)}{default}): {meaning}."
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _type_name(kind: Any) -> str:
    """Returns the name of a setting's type in TOML."""
    arguments = [option for option in typing.get_args(kind) if option is not types.NoneType]
    if isinstance(kind, types.UnionType):
        return " or ".join(map(_type_name, arguments))
    origin = typing.get_origin(kind)
    if origin in (Mapping, Sequence):
        collection = "table" if origin is Mapping else "list"
        return f"{collection} of {_type_name(arguments[-1])}s".replace(
            "table of numberss", "tables of numbers"
        )
    return TYPE_NAMES.get(kind, "table")


def _docstring(cls: type[Step]) -> str:
    """Returns the docstring of `cls` in Markdown; "" if it has none of its own."""
    return inspect.cleandoc(cls.__dict__.get("__doc__") or "").replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
