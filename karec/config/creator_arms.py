"""Builds the pipeline of an experiment by creator: arms of creators in the last stage that has scorers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from karec.catalog.schema import CREATOR
from karec.config.registry import step_class
from karec.config.scenes import Scene
from karec.errors import ConfigError
from karec.experiments.creators import CreatorAssignment
from karec.pipeline.cascade import Cascade
from karec.pipeline.creator_arms import CreatorArms
from karec.pipeline.step import Step
from karec.pipeline.types import Array
from karec.toml import Place

SCORING = ("hydrator", "scorer")  # roles of steps that an arm of creators may patch


def with_creator_arms(
    control: Cascade, arms: Mapping[str, Cascade], assignment: CreatorAssignment, stage_name: str
) -> Cascade:
    """Returns ``control`` with a stage that merges the orders of ``arms`` by the arm of each item's creator.

    Creators in other arms, in the holdout or in no arm get control. Raises ConfigError if the item index has
    no column of creators.

    Args:
        arms: {arm: pipeline with its patches}.
        stage_name: the stage that they patch.
    """
    if control.index is None or CREATOR not in control.index.schema.columns:
        raise ConfigError(f"the items have no column {CREATOR!r}, expected one for experiments by creator")
    lists = [_scoring_steps(cascade, stage_name) for cascade in (control, *arms.values())]
    n_shared = 0
    while all(len(steps) > n_shared and steps[n_shared] is lists[0][n_shared] for steps in lists):
        n_shared += 1
    numbers = {arm: number for number, arm in enumerate(arms, 1)}

    def choose(creators: Array) -> Array:
        names = assignment.arms(creators, with_debug=True).tolist()
        return np.array([numbers.get(name, 0) for name in names], np.int64)

    own_steps = tuple(steps[n_shared:] for steps in lists[1:])
    creator_arms = CreatorArms(CREATOR, choose, n_shared, own_steps)
    stages = tuple(
        replace(stage, creator_arms=creator_arms) if stage.name == stage_name else stage
        for stage in control.stages
    )
    configs = dict.fromkeys(str(cascade.versions["config"]) for cascade in (control, *arms.values()))
    return control.with_fields(stages=stages, versions={**control.versions, "config": "+".join(configs)})


def scoring_stage(scene: Scene) -> int:
    """Returns the position of the last stage with a scorer before its first selector.

    Raises ConfigError if there is none.
    """
    for position in reversed(range(len(scene.stages))):
        roles = [role for _, role in _first_steps(scene, position)]
        if "scorer" in roles:
            return position
    raise scene.place["stages"].refusal("no stage has a scorer, expected one for an experiment by creator")


def creator_patch_mistake(control: Scene, patched: Scene) -> str:
    """Returns why creators cannot have the arm ``patched`` of the scene ``control``; empty if they can.

    All arms score the same candidates, so only scorers and hydrators of the last stage with scorers differ.
    """
    position = scoring_stage(control)
    stage = control.stages[position]["name"]
    expected = f"creators share all but the hydrators and scorers of the stage {stage!r} before its selectors"
    if _without_first_steps(control, position) != _without_first_steps(patched, position):
        return f"the patches change another part of the scene: {expected}"
    first, second = (_first_steps(scene, position) for scene in (control, patched))
    while first and second and first[0] == second[0]:
        first, second = first[1:], second[1:]
    other = [role for _, role in (*first, *second) if role not in SCORING] if first or second else []
    return f"a {other[0]} is, or follows, a patched step: {expected}" if other else ""


def _scoring_steps(cascade: Cascade, stage_name: str) -> tuple[Step, ...]:
    (stage,) = (stage for stage in cascade.stages if stage.name == stage_name)
    n = next((i for i, step in enumerate(stage.steps) if step.role == "selector"), len(stage.steps))
    return stage.steps[:n]


def _first_steps(scene: Scene, position: int) -> Sequence[tuple[Mapping[str, Any], str]]:
    """Returns the tables and roles of the steps of a stage before its first selector."""
    place: Place = scene.place["stages"][position]["steps"]
    entries = [(entry, step_class(str(entry["use"]), place).role) for entry in _steps(scene, position)]
    n = next((i for i, (_, role) in enumerate(entries) if role == "selector"), len(entries))
    return entries[:n]


def _steps(scene: Scene, position: int) -> Sequence[Mapping[str, Any]]:
    steps: Sequence[Mapping[str, Any]] = scene.stages[position]["steps"]
    return steps


def _without_first_steps(scene: Scene, position: int) -> dict[str, Any]:
    n = len(_first_steps(scene, position))
    stages = [dict(stage) for stage in scene.stages]
    stages[position]["steps"] = list(_steps(scene, position))[n:]
    return {**{key: value for key, value in vars(scene).items() if key != "place"}, "stages": stages}
