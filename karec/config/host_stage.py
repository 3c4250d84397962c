"""Exports a stage of ``karec.toml`` to a file that the C++ ``PreRanker`` reads.

Names and keys come from the built step objects, defaults included, so that the host needs no defaults of its
own. The file has the hash of its source: the scene's name and the stage's table, with inherited keys and with
limits as numbers. Comments, other stages and the model version do not change it. docs/formats.md describes
the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from karec import _native
from karec.bundle import Bundle
from karec.bundle.sealed_text import format_line, read_kind, seal_lines
from karec.config.assemble import build_stage
from karec.config.scenes import Config, Scene
from karec.errors import ConfigError
from karec.files import write_text_aside
from karec.pipeline.step import Step
from karec.steps.filters.has_embedding import HasEmbedding
from karec.steps.filters.not_shown import NotShown
from karec.steps.filters.quota import Quota
from karec.steps.filters.tone import Tone
from karec.steps.hydrators.index_rows import IndexRows
from karec.steps.scorers.freshness import Freshness
from karec.steps.selectors.dpp import Dpp
from karec.steps.selectors.inner_product import InnerProduct

KIND = "karec-prerank"


def export_stage(config: Path, scene: str, stage: str, path: Path, bundle: Bundle | None = None) -> None:
    """Writes a stage of ``scene`` to ``path``. Raises ConfigError for a step that only Python has."""
    write_text_aside(path, _text(Config.read(config), scene, stage, bundle), "ascii")


def check_export(config: Path, scene: str, stage: str, path: Path, bundle: Bundle | None = None) -> None:
    """Raises ConfigError, with the reason, if ``export_stage`` would write another file than ``path`` now."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if read_kind(path) != KIND:
        content = "a karec.toml" if path.suffix == ".toml" else "not an exported stage"
        raise ConfigError(f"{path} is {content}, expected a file of karec export stage")
    settings = Config.read(config)
    if text == _text(settings, scene, stage, bundle):
        return
    source = re.search(r"^scene .*\bsource=(\w+)", text, re.MULTILINE)
    if source is None or source.group(1) != _source(settings.scene(scene), stage):
        reason = f"the stage {stage} of scenes.{scene} in {config} has changed since"
    else:
        reason = "it was edited, or another version of karec wrote it"
    raise ConfigError(f"{path} is stale: {reason}. Write it again with karec export stage")


def _text(config: Config, scene: str, name: str, bundle: Bundle | None) -> str:
    stage = build_stage(config, scene, name, bundle)
    head = format_line("scene", scene, {"source": _source(config.scene(scene), name)})
    return seal_lines(KIND, [head, *(step_line(step) for step in stage.steps)])


def _source(scene: Scene, name: str) -> str:
    """Returns 16 hexadecimal digits of the stage without its fallback: hosts have no deadlines."""
    table, _ = scene.stage(name)
    plain = {key: value for key, value in table.items() if key != "fallback"}
    canonical = json.dumps([scene.name, plain], sort_keys=True)
    return f"{_native.xxh64(canonical.encode()):016x}"


def step_line(step: Step) -> str:
    """Returns the line of a step for the host. Raises ConfigError if it runs only in Python."""
    if type(step) not in _FIELDS:
        uses = sorted(use for use, _ in _FIELDS.values())
        raise ConfigError(f"the step {step.name!r} runs only in Python; C++ hosts have {uses}")
    if step.on_failure != "fail":
        raise ConfigError(
            f"the step {step.name!r}: on_failure = 'skip' works only in Python; a C++ host gets the failure"
        )
    use, fields = _FIELDS[type(step)]
    settings = {key: value for key, value in fields(step).items() if value is not None}
    name = {} if step.name in ("", use) else {"name": step.name}
    return format_line("step", use, {**settings, **name})


def _dpp(step: Any) -> Mapping[str, object]:
    similarity = step.similarity.settings
    if step.similarity.own_vectors is not None:
        raise ConfigError(
            f"the step {step.name!r}: similarity.vectors = {similarity.vectors!r} works only in Python; C++ "
            "hosts have 'item'"
        )
    options = step.options
    settings = {"k": step.k, "diversity": float(options["diversity"]), "ridge": float(options["ridge"])}
    settings |= {
        "type_weight": float(options["type_weight"]),
        "window": options["window"],
        "types": step.types,
    }
    settings |= {"max_per_type": options["max_per_type"], "min_per_type": options["min_per_type"] or None}
    factors = (
        (column, value, factor)
        for column, by_value in step.weights.items()
        for value, factor in by_value.items()
    )
    settings |= {"centre": 1} if similarity.centre else {}
    settings |= {"whiten": float(similarity.whiten)} if similarity.whiten > 0 else {}
    settings |= {f"facets.{column}": float(weight) for column, weight in similarity.facets.items()}
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
