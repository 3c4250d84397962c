"""Exports a stage of ``karec.toml`` to a JSON file that the C++ ``PreRanker`` reads.

Names and keys come from the built step objects, defaults included, so that the host needs no defaults of its
own. The file has the hash of its source: the scene's name and the stage's table, with inherited keys and with
limits as numbers. Comments, other stages and the model version do not change it. docs/formats.md describes
the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from karec import _native
from karec.bundle import Bundle
from karec.config.assemble import build_stage
from karec.config.scenes import Config, Scene
from karec.errors import ConfigError
from karec.files import read_json, write_text_aside
from karec.pipeline.step import Step
from karec.steps.filters.has_embedding import HasEmbedding
from karec.steps.filters.not_shown import NotShown
from karec.steps.filters.quota import Quota
from karec.steps.filters.tone import Tone
from karec.steps.hydrators.index_rows import IndexRows
from karec.steps.scorers.freshness import Freshness
from karec.steps.selectors.dpp import Dpp
from karec.steps.selectors.inner_product import InnerProduct

FORMAT = 1
KEYS = {"format", "scene", "source", "stages"}


def export_stage(config: Path, scene: str, stage: str, path: Path, bundle: Bundle | None = None) -> None:
    """Writes a stage of ``scene`` to ``path``. Raises ConfigError for a step that only Python has."""
    content = _content(Config.read(config), scene, stage, bundle)
    write_text_aside(path, json.dumps(content, indent=1) + "\n", "ascii")


def check_export(config: Path, scene: str, stage: str, path: Path, bundle: Bundle | None = None) -> None:
    """Raises ConfigError, with the reason, if ``export_stage`` would write other content than ``path``
    has."""
    exported = read_stage(path)
    settings = Config.read(config)
    if exported == _content(settings, scene, stage, bundle):
        return
    if exported["source"] != _source(settings.scene(scene), stage):
        reason = f"the stage {stage} of scenes.{scene} in {config} has changed since"
    else:
        reason = "it was edited, or another version of karec wrote it"
    raise ConfigError(f"{path} is stale: {reason}. Write it again with karec export stage")


def read_stage(path: Path) -> dict[str, Any]:
    """Returns the content of an exported stage. Raises ConfigError if the file is not one."""
    try:
        content = read_json(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.keys() != KEYS:
        actual = "a karec.toml" if path.suffix == ".toml" else "not an exported stage"
        raise ConfigError(f"{path} is {actual}, expected a file of karec export stage")
    return content


def _content(config: Config, scene: str, name: str, bundle: Bundle | None) -> dict[str, Any]:
    stage = build_stage(config, scene, name, bundle)
    return {
        "format": FORMAT,
        "scene": scene,
        "source": _source(config.scene(scene), name),
        "stages": [{"name": name, "steps": [step_settings(step) for step in stage.steps]}],
    }


def _source(scene: Scene, name: str) -> str:
    """Returns 16 hexadecimal digits of the stage without its fallback: hosts have no deadlines."""
    table, _ = scene.stage(name)
    plain = {key: value for key, value in table.items() if key != "fallback"}
    canonical = json.dumps([scene.name, plain], sort_keys=True)
    return f"{_native.xxh64(canonical.encode()):016x}"


def step_settings(step: Step) -> dict[str, Any]:
    """Returns all settings of a step for the host. Raises ConfigError if it runs only in Python."""
    if type(step) not in _SETTINGS:
        uses = sorted(use for use, _ in _SETTINGS.values())
        raise ConfigError(f"the step {step.name!r} runs only in Python; C++ hosts have {uses}")
    if step.on_failure != "fail":
        raise ConfigError(
            f"the step {step.name!r}: on_failure = 'skip' works only in Python; a C++ host gets the failure"
        )
    use, settings = _SETTINGS[type(step)]
    return {"use": use, "name": step.name or use, **settings(step)}


def _dpp(step: Any) -> dict[str, Any]:
    similarity = step.similarity.settings
    if step.similarity.own_vectors is not None:
        raise ConfigError(
            f"the step {step.name!r}: similarity.vectors = {similarity.vectors!r} works only in Python; C++ "
            "hosts have 'item'"
        )
    options = step.options
    return {
        "k": step.k,
        "diversity": options["diversity"],
        "ridge": options["ridge"],
        "type_weight": options["type_weight"],
        "window": options["window"],
        "types": step.types,
        "max_per_type": options["max_per_type"],
        "min_per_type": options["min_per_type"] or 0,
        "weights": [
            {"column": column, "value": value, "factor": factor}
            for column, by_value in step.weights.items()
            for value, factor in by_value.items()
        ],
        "centre": similarity.centre,
        "whiten": similarity.whiten,
        "facets": [{"column": column, "weight": weight} for column, weight in similarity.facets.items()],
    }


_SETTINGS: Mapping[type[Step], tuple[str, Callable[[Any], dict[str, Any]]]] = {
    IndexRows: ("index_rows", lambda step: {}),
    HasEmbedding: ("has_embedding", lambda step: {}),
    NotShown: ("not_shown", lambda step: {}),
    InnerProduct: ("inner_product", lambda step: {"k": step.k}),
    Freshness: (
        "freshness",
        lambda step: {"weight": step.weight, "half_life_hours": step.half_life_hours},
    ),
    Tone: ("tone", lambda step: {"column": step.column, "at_least": step.at_least}),
    Quota: ("quota", lambda step: {"column": step.column, "at_most": step.at_most}),
    Dpp: ("dpp", _dpp),
}
