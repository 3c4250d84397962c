"""Applies the patches of arms to scenes of karec.toml, by the rules of inheriting scenes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from karec.config.check import scene_mistakes
from karec.config.creator_arms import creator_patch_mistake
from karec.config.inherit import merge
from karec.config.scenes import RECALL, Config
from karec.errors import ConfigError, nearest
from karec.experiments.settings import Experiments, is_inside
from karec.toml import Place

ArmName = tuple[str, str]  # (experiment, arm)


def patches_of(scene: str, experiments: Experiments) -> dict[ArmName, Mapping[str, Any]]:
    """Returns {arm: its patches in the scene} of experiments that have not ended.

    Arms without patches in the scene are left out, unless they name a bundle.
    """
    now = datetime.now(UTC)
    arms = dict[ArmName, Mapping[str, Any]]()
    for name, experiment in experiments.experiments.items():
        for arm, table in experiment.arms.items() if experiment.end > now else ():
            patches = {
                key: value for key, value in table.patches.items() if is_inside(key, f"scenes.{scene}")
            }
            if patches or table.bundle:
                arms[name, arm] = patches
    return arms


def patch_scene(config: Config, scene: str, patches: Mapping[str, Any]) -> Config:
    """Returns ``config`` with the scene changed. Raises ConfigError for a path that the scene lacks."""
    table = {key: value for key, value in config.inherited(scene)[0].items() if key != "inherits"}
    for path, value in patches.items():
        try:
            table = merge(table, _change(table, path, value), Place(config.path)["scenes"][scene])
        except ConfigError as error:
            raise ConfigError(f"{path}: {str(error).removeprefix(f'{config.path}: ')}") from error
    return replace(config, scenes={**config.scenes, scene: table})


def patch_mistakes(
    config: Config, scene: str, experiments: Experiments, place: Place
) -> Iterator[ConfigError]:
    """Yields the mistakes of patches of ``scene`` that show without a bundle."""
    if scene_mistakes(config, scene):
        return  # of karec.toml: its own check reports them
    for (experiment, arm), patches in patches_of(scene, experiments).items():
        patches_place = place[experiment]["arms"][arm]["patches"]
        unit = experiments.layers[experiments.experiments[experiment].layer].unit
        try:
            patched = patch_scene(config, scene, patches)
            errors = scene_mistakes(patched, scene)
            if not errors and unit == "creator":
                reason = creator_patch_mistake(config.scene(scene), patched.scene(scene))
                errors = [ConfigError(reason)] if reason else []
        except ConfigError as mistake:
            errors = [mistake]
        for error in errors:
            yield patches_place.refusal(str(error).removeprefix(f"{config.path}: "))


def _change(table: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Returns the change of a scene, as an inheriting scene writes it, that sets ``path`` to ``value``."""
    head, *keys = path.split(".")[2:]
    stages = [str(stage.get("name")) for stage in table.get("stages", ())]
    step = {keys[0]: value if len(keys) == 1 else {keys[1]: value}} if 1 <= len(keys) <= 2 else None
    if not keys and head in ("consumed", "show_again"):
        return {head: value}
    if head == "limits" and len(keys) == 1 and keys[0] in (RECALL, *table.get("limits", {})):
        return {"limits": step}
    if step is not None and head in ("query", "recall"):
        return {head: step}
    if step is not None and head in stages:
        return {"stages": {head: step if keys == ["fallback"] else {"steps": step}}}
    known = ["consumed", "show_again", "limits", "query", "recall", *stages]
    advice = nearest(head, known) if head not in known else ""
    raise ConfigError(f"no step, limit or key has this path{advice}; arms may patch {known}")
