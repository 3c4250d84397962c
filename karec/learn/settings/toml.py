"""Settings as the text of a settings file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from karec.learn.settings.train import TrainSettings


def settings_toml(settings: TrainSettings) -> str:
    """A file that ``TrainSettings.from_toml`` reads as ``settings``: every key, but the model version, which
    is the publisher's."""
    values = asdict(settings)
    values.pop("model_version")
    sections = ("features", "optimizer", "ranker", "towers", "distil", "shadow", "evaluation", "run")
    lines = [f"{key} = {_value(value)}" for key, value in values.items() if key not in sections]
    for name in sections:
        lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in values[name].items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return (
        repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else json.dumps(value)
    )
