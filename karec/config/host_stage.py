"""Exports stages of ``karec.toml`` to a JSON file that the C++ ``Stages`` reads.

Names and keys come from the built step objects, defaults included, so that the host needs no defaults of its
own. The file has the hash of its source: the scene's name and the tables of the stages, with inherited keys
and with limits as numbers. Comments, other stages and the model version do not change it. docs/formats.md
describes the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from karec import _native
from karec.bundle import Bundle
from karec.config.assemble import build_stage
from karec.config.scenes import Config, Scene
from karec.errors import ConfigError
from karec.features.encoder import CONTENT
from karec.files import read_json, write_text_aside
from karec.pipeline.stage import Stage
from karec.pipeline.step import Step
from karec.steps.filters.has_embedding import HasEmbedding
from karec.steps.filters.not_shown import NotShown
from karec.steps.filters.quota import Quota
from karec.steps.filters.tone import Tone
from karec.steps.hydrators.index_rows import IndexRows
from karec.steps.hydrators.ranker import Ranker
from karec.steps.scorers.freshness import Freshness
from karec.steps.scorers.fusion import Fusion
from karec.steps.selectors.dpp import Dpp
from karec.steps.selectors.inner_product import InnerProduct
from karec.steps.selectors.page_rules import PageRules
from karec.steps.selectors.top_k import TopK

FORMAT = 1
KEYS = {"format", "scene", "source", "stages"}


def export_stages(
    config: Path, scene: str, stages: Sequence[str], path: Path, bundle: Bundle | None = None
) -> None:
    """Writes ``stages`` of ``scene`` to ``path``, in the order of the scene. Empty: all.

    Raises ConfigError for a step that only Python has, a step that needs rows before the scene has them, or a
    scene of another item type than works.
    """
    content = _content(Config.read(config), scene, stages, bundle)
    write_text_aside(path, json.dumps(content, indent=1) + "\n", "ascii")


def check_export(config: Path, scene: str, path: Path, bundle: Bundle | None = None) -> None:
    """Raises ConfigError, with the reason, if ``export_stages`` would write other content for the stages of
    ``path`` than it has."""
    exported = read_stages(path)
    settings = Config.read(config)
    names = [stage["name"] for stage in exported["stages"]]
    if exported == _content(settings, scene, names, bundle):
        return
    if exported["source"] != _source(settings.scene(scene), names):
        reason = f"its stages of scenes.{scene} in {config} have changed since"
    else:
        reason = "it was edited, or another version of karec wrote it"
    raise ConfigError(f"{path} is stale: {reason}. Write it again with karec export stage")


def hosted_stages(config: Path, scene: str, bundle: Bundle | None = None) -> list[str]:
    """Returns the names of the first stages of ``scene`` up to the first with a step that only Python has."""
    settings = Config.read(config)
    names = []
    for table in settings.scene(scene).stages:
        stage = build_stage(settings, scene, table["name"], bundle)
        try:
            for step in stage.steps:
                step_settings(step)
        except ConfigError:
            break
        names.append(stage.name)
    return names


def read_stages(path: Path) -> dict[str, Any]:
    """Returns the content of exported stages. Raises ConfigError if the file is not one."""
    try:
        content = read_json(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.keys() != KEYS or not _has_names(content["stages"]):
        actual = "a karec.toml" if path.suffix == ".toml" else "not an exported stage"
        raise ConfigError(f"{path} is {actual}, expected a file of karec export stage")
    return content


def _has_names(stages: object) -> bool:
    return isinstance(stages, list) and all(
        isinstance(stage, dict) and isinstance(stage.get("name"), str) for stage in stages
    )


def _content(config: Config, scene: str, names: Sequence[str], bundle: Bundle | None) -> dict[str, Any]:
    if config.scene(scene).item_type is not None:
        raise ConfigError(f"scenes.{scene}: item_type works only in Python; C++ hosts have works")
    tables = _tables(config.scene(scene), names)
    stages = [build_stage(config, scene, table["name"], bundle) for table in tables]
    settings = [
        {"name": stage.name, "steps": [step_settings(step) for step in stage.steps]} for stage in stages
    ]
    _check_rows(config.scene(scene), stages)
    return {
        "format": FORMAT,
        "scene": scene,
        "source": _source(config.scene(scene), names),
        "stages": settings,
    }


def _check_rows(scene: Scene, stages: Sequence[Stage]) -> None:
    """Raises ConfigError if a step of the scene's first stages needs rows that no earlier step gives.

    Python refuses such a scene too. Later stages get the rows of earlier ones, which a C++ host looks up.
    """
    for table, stage in zip(scene.stages, stages, strict=False):
        if stage.name != table["name"]:
            return
        for step in stage.steps:
            if "rows" in step.needs:
                raise ConfigError(f"the step {step.name!r} needs rows: put index_rows before it")
            if "rows" in step.gives:
                return


def _tables(scene: Scene, names: Sequence[str]) -> list[Mapping[str, Any]]:
    """Returns the tables of the named stages, or of all stages, in the order of the scene."""
    named = [scene.stage(name)[0] for name in names]  # raises ConfigError for an unknown name
    return [table for table in scene.stages if not names or table in named]


def _source(scene: Scene, names: Sequence[str]) -> str:
    """Returns 16 hexadecimal digits of the stages without their fallbacks: hosts have no deadlines."""
    tables = [
        {key: value for key, value in table.items() if key != "fallback"} for table in _tables(scene, names)
    ]
    canonical = json.dumps([scene.name, *tables], sort_keys=True)
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


def _ranker(step: Any) -> dict[str, Any]:
    if step.model is not None:
        raise ConfigError(
            f"the step {step.name!r}: model = {step.model!r} works only in Python; C++ hosts have the "
            "bundle's ranker"
        )
    return {}


def _ranker_of_bundle(step: Any) -> dict[str, Any]:
    if CONTENT in step.ranker.inputs:
        raise ConfigError(f"the step {step.name!r}: a ranker of item vectors works only in Python")
    return _ranker(step)


def _fusion(step: Any) -> dict[str, Any]:
    if step.share < 1.0:
        raise ConfigError(f"the step {step.name!r}: share = {step.share} works only in Python")
    weights = zip(step.tasks, step.weights.tolist(), strict=True)
    return {
        **_ranker(step),
        "kind": step.fusion.kind,
        "weights": [{"task": task, "weight": weight} for task, weight in weights if weight > 0],
    }


def _inner_product(step: Any) -> dict[str, Any]:
    if step.only_warm:
        raise ConfigError(f"the step {step.name!r}: only_warm = true works only in Python")
    quotas = [{"column": column, "at_most": count} for column, count in step.at_most.items()]
    return {"k": step.k, "at_most": quotas, "min_items": step.min_items if quotas else 0}


def _page_rules(step: Any) -> dict[str, Any]:
    for key in ("places", "boosts"):
        if getattr(step, key):
            raise ConfigError(
                f"the step {step.name!r}: {key} work only in Python; C++ hosts have the rules of neighbours"
            )
    rules = [
        {
            "column": rule.column,
            "window": rule.window if isinstance(rule.window, int) else None,
            "max_count": rule.count,
            "values": list(rule.values),
            "apart": [{"first": first, "second": second} for first, second in rule.apart],
        }
        for rule in step.rules
    ]
    return {"k": step.k, "rules": rules}


_SETTINGS: Mapping[type[Step], tuple[str, Callable[[Any], dict[str, Any]]]] = {
    IndexRows: ("index_rows", lambda step: {}),
    HasEmbedding: ("has_embedding", lambda step: {}),
    NotShown: ("not_shown", lambda step: {}),
    InnerProduct: ("inner_product", _inner_product),
    Freshness: (
        "freshness",
        lambda step: {"weight": step.weight, "half_life_hours": step.half_life_hours},
    ),
    Tone: ("tone", lambda step: {"column": step.column, "at_least": step.at_least}),
    Quota: ("quota", lambda step: {"column": step.column, "at_most": step.at_most}),
    Ranker: ("ranker", _ranker_of_bundle),
    Fusion: ("fusion", _fusion),
    TopK: ("top_k", lambda step: {"k": step.k}),
    Dpp: ("dpp", _dpp),
    PageRules: ("page_rules", _page_rules),
}
