"""A stage of ``karec.toml`` for a C++ host: the steps as Python built them, in a file that ``PreRanker`` reads.

What is written is what runs: names and keys come from the step objects, defaults included, so that the host needs no
defaults of its own. docs/formats.md describes the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from karec._sealed_text import line, sealed_text
from karec.diversify.dpp import Dpp
from karec.ecosystem.freshness import Freshness
from karec.ecosystem.quota import Quota
from karec.ecosystem.tone import Tone
from karec.errors import ConfigError
from karec.prerank.inner_product import InnerProduct
from karec.prerank.rows import HasEmbedding, IndexRows, NotShown
from karec.stage import Stage, Step

KIND = "karec-prerank"


def export_stage(stage: Stage, scene: str, path: Path) -> None:
    """Write ``stage`` to ``path``. Raises ConfigError naming a step that runs in Python alone."""
    lines = [line("scene", scene), *(_step_line(step) for step in stage.steps)]
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(sealed_text(KIND, lines), encoding="ascii")
    aside.replace(path)


def _step_line(step: Step) -> str:
    if type(step) not in _FIELDS:
        known = sorted(use for use, _ in _FIELDS.values())
        raise ConfigError(f"the step {step.name!r} runs in Python alone; a C++ host knows {known}")
    if step.on_failure != "fail":
        raise ConfigError(f"the step {step.name!r}: on_failure = 'skip' is Python's alone; a C++ host gets the failure")
    use, fields = _FIELDS[type(step)]
    told = {key: value for key, value in fields(step).items() if value is not None}
    named = {} if step.name in ("", use) else {"name": step.name}
    return line("step", use, {**told, **named})


def _dpp(step: Any) -> Mapping[str, object]:
    settings = {"k": step.k, "diversity": float(step.diversity), "ridge": float(step.ridge)}
    settings |= {"type_weight": float(step.type_weight), "window": step.window, "types": step.types}
    settings |= {"max_per_type": step.max_per_type, "min_per_type": step.min_per_type or None}
    factors = ((column, value, factor) for column, each in step.weights.items() for value, factor in each.items())
    return settings | {f"weights.{column}.{value}": factor for column, value, factor in factors}


_FIELDS: Mapping[type[Step], tuple[str, Callable[[Any], Mapping[str, object]]]] = {
    IndexRows: ("index_rows", lambda step: {}),
    HasEmbedding: ("has_embedding", lambda step: {}),
    NotShown: ("not_shown", lambda step: {}),
    InnerProduct: ("inner_product", lambda step: {"k": step.k}),
    Freshness: (
        "freshness",
        lambda step: {"weight": float(step.weight), "half_life_hours": float(step.half_life_hours)},
    ),
    Tone: ("tone", lambda step: {"column": step.column, "at_least": float(step.at_least)}),
    Quota: ("quota", lambda step: {"column": step.column, "at_most": step.at_most}),
    Dpp: ("dpp", _dpp),
}
