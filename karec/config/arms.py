"""Builds the arms of experiments: an arm is a scene of karec.toml that inherits it and changes some keys."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain, product
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from karec.bundle import Bundle
from karec.config.assemble import build_arm, build_cascades
from karec.config.check import scene_mistakes
from karec.config.creator_arms import creator_patch_mistake, scoring_stage, with_creator_arms
from karec.config.inherit import merge
from karec.config.mix import mixed_scenes
from karec.config.registry import EXPOSURE_STEPS
from karec.config.resources import Resources
from karec.config.scenes import RECALL, Config, file_place
from karec.errors import ConfigError, KarecError, nearest, one_line
from karec.experiments.assignment import fnv32a
from karec.experiments.creators import CreatorAssignment
from karec.experiments.scene import SceneExperiment, SceneExperiments
from karec.experiments.settings import BY_CREATOR, Experiments, read_experiments
from karec.experiments.started import Versions, check_unchanged, read_known
from karec.pipeline.cascade import Cascade
from karec.pipeline.step import Step
from karec.pipeline.types import Request
from karec.toml import Place, with_lines

if TYPE_CHECKING:  # at run time this would load the compiler of the aggregates
    from karec.online.follow import Follower
    from karec.online.store.online_store import OnlineStore

    ArmName = tuple[str, str]  # (experiment, arm)

MAX_PIPELINES = 100  # of a scene

_log = logging.getLogger("karec.config")


def load_experiments(config: Config, known: Versions = MappingProxyType({})) -> Experiments | None:
    """Returns the experiments of a karec.toml without mistakes; None if it names no experiments.toml.

    Raises ConfigError with one line for each mistake that shows without a bundle, also if an experiment that
    has started differs from its version in ``known`` or in the file of versions next to it.
    """
    path = config.experiments
    if path is None:
        return None
    experiments = read_experiments(path)
    errors = []
    for name, layer in experiments.layers.items():
        for i, owned in enumerate(layer.paths):
            keys = owned.split(".")
            if len(keys) < 3 or keys[0] != "scenes" or keys[1] not in config.scenes:
                advice = nearest(keys[1], config.scenes) if len(keys) > 1 else ""
                message = f"{owned!r}, expected scenes.SCENE.PLACE{advice}"
                errors.append(Place(path)["layers"][name]["paths"][i].refusal(message))
    errors += _interleave_mistakes(config, experiments, Place(path)["experiments"])
    for scene in config.scenes if not errors else ():
        errors += _patch_mistakes(config, scene, experiments, Place(path)["experiments"])
    if errors:
        raise with_lines(errors, path)
    check_unchanged(experiments, {**read_known(path), **known}, path)
    return experiments


def build_scenes(
    config: Config,
    names: Iterable[str],
    experiments: Experiments | None,
    bundle: Bundle,
    *,
    online: Follower | None = None,
    store: OnlineStore | None = None,
) -> dict[str, Cascade]:
    """Returns {scene: cascade} as ``build_cascades``, with a pipeline for each combination of arms.

    Pipelines share all that no patch changes. An arm that cannot be built from the bundle is logged and gets
    control. Experiments that have ended get no pipelines.

    Raises ConfigError for a mistake of a scene, too many combinations, or arms that do not fit together.
    """
    if experiments is None:
        return build_cascades(config, names, bundle, online, store)
    with_arms = partial(_with_arms, config, experiments, bundle)
    return build_cascades(config, names, bundle, online, store, with_arms)


def _with_arms(
    config: Config, experiments: Experiments, bundle: Bundle, control: Cascade, resources: Resources
) -> Cascade:
    """Returns ``control`` with the experiments that patch its scene."""
    scene = control.scene
    arms = _arms_of(scene, experiments)
    combinations = _combinations(experiments, arms, config)

    def build(chosen: Sequence[ArmName]) -> Cascade:
        patches = {path: value for arm in chosen if arm in arms for path, value in arms[arm].items()}
        patched = _patched(config, scene, patches).scene(scene)
        pipeline = build_arm(control, patched, resources, bundle)
        for name in (name for name, arm in chosen if arm == BY_CREATOR):
            others = [arm for arm in chosen if arm[0] != name]
            own = {arm[1]: build([*others, arm]) for arm in arms if arm[0] == name and arm not in missing}
            stage = str(patched.stages[scoring_stage(patched)]["name"])
            assignment = CreatorAssignment.from_settings(experiments, name)
            pipeline = with_creator_arms(pipeline, own, assignment, stage)
        return pipeline

    missing: dict[ArmName, str] = {}
    built = _build_arms(scene, arms, build, missing)
    by_creator = [arm for arm in chain.from_iterable(combinations) if arm[1] == BY_CREATOR]
    built |= _build_arms(scene, dict.fromkeys(by_creator), build, missing)
    names = list(dict.fromkeys(experiment for experiment, _ in arms))
    pipelines = {}
    for chosen in (chosen for chosen in combinations if missing.keys().isdisjoint(chosen)):
        key = tuple(dict(chosen).get(experiment, "") for experiment in names)
        pipelines[key] = built[chosen[0]] if len(chosen) == 1 else build(chosen) if chosen else control
    in_scene = tuple(_scene_experiment(name, experiments, control, built, missing) for name in names)
    names_of_file = frozenset(experiments.experiments)
    return control.with_fields(experiments=SceneExperiments(in_scene, pipelines, names_of_file))


def _scene_experiment(
    name: str,
    experiments: Experiments,
    control: Cascade,
    built: Mapping[ArmName, Cascade],
    missing: Mapping[ArmName, str],
) -> SceneExperiment:
    """Returns the experiment ``name`` in the scene of ``control``."""
    settings = experiments.experiments[name]
    names = (*settings.arms, BY_CREATOR)
    own = {arm: built[name, arm] for arm in names if (name, arm) in built}
    paths = {path for arm in settings.arms.values() for path in arm.patches}
    return SceneExperiment(
        name,
        settings,
        experiments.layers[settings.layer].unit,
        seed=fnv32a(experiments.seed(name).encode()),
        holdout_seed=fnv32a(experiments.holdout_seed(name).encode()),
        built=frozenset(own),
        missing={arm: missing[name, arm] for arm in names if (name, arm) in missing},
        rank_stages=_rank_stages(control, own.values(), paths),
    )


def _build_arms(
    scene: str,
    arms: Iterable[ArmName],
    build: Callable[[Sequence[ArmName]], Cascade],
    missing: dict[ArmName, str],
) -> dict[ArmName, Cascade]:
    """Returns the pipelines of single arms. ``missing`` gets the reasons of those that the bundle lacks."""
    built: dict[ArmName, Cascade] = {}
    for arm in arms:
        try:
            built[arm] = build([arm])
        except (KarecError, OSError) as error:
            missing[arm] = one_line(str(error))
            _log.warning("scenes.%s: the arm %s gets control: %s", scene, ".".join(arm), missing[arm])
    return built


def experiment_mistakes(config: Config, bundle: Bundle | None = None) -> list[str]:
    """Returns the mistakes of experiments.toml, and with a bundle the arms that cannot be built from it.

    ``config`` has no mistakes of its own.
    """
    try:
        experiments = load_experiments(config)
        if experiments is None or bundle is None:
            return []
        cascades = build_scenes(config, config.scenes, experiments, bundle)
    except ConfigError as error:
        return str(error).splitlines()
    mistakes = []
    for cascade in cascades.values():
        cascade.close()
        missing = {} if cascade.experiments is None else cascade.experiments.missing
        mistakes += [f"{config.experiments}: the arm {arm}: {reason}" for arm, reason in missing.items()]
    return mistakes


def _arms_of(scene: str, experiments: Experiments) -> dict[ArmName, Mapping[str, Any]]:
    """Returns {arm: its patches in the scene} of experiments that have not ended, if it has patches there."""
    now = datetime.now(UTC)
    arms = {
        (name, arm): {
            path: value for path, value in table.patches.items() if path.startswith(f"scenes.{scene}.")
        }
        for name, experiment in experiments.experiments.items()
        if experiment.end > now
        for arm, table in experiment.arms.items()
    }
    return {arm: patches for arm, patches in arms.items() if patches}


def _combinations(
    experiments: Experiments, arms: Iterable[ArmName], config: Config
) -> list[tuple[ArmName, ...]]:
    """Returns every choice of at most one arm for each layer. Arms of creators are in one pipeline."""
    layers: dict[str, list[ArmName]] = {}
    for arm in arms:
        layer = experiments.experiments[arm[0]].layer
        is_by_creator = experiments.layers[layer].unit == "creator"
        option = (arm[0], BY_CREATOR) if is_by_creator else arm
        if option not in layers.setdefault(layer, []):
            layers[layer].append(option)
    n = prod(1 + len(options) for options in layers.values())
    if n > MAX_PIPELINES:
        raise ConfigError(
            f"{config.experiments}: the arms of {len(layers)} layers have {n} combinations in one scene, "
            f"expected at most {MAX_PIPELINES}. Remove arms or layers."
        )
    options_of_layers = [[(), *((arm,) for arm in options)] for options in layers.values()]
    return [tuple(chain.from_iterable(choice)) for choice in product(*options_of_layers)]


def _patched(config: Config, scene: str, patches: Mapping[str, Any]) -> Config:
    """Returns ``config`` with the scene changed. Raises ConfigError for a path that the scene lacks."""
    table = {key: value for key, value in config.inherited(scene)[0].items() if key != "inherits"}
    for path, value in patches.items():
        try:
            table = merge(table, _change(table, path, value), file_place(config.path)["scenes"][scene])
        except ConfigError as error:
            raise ConfigError(f"{path}: {str(error).removeprefix(f'{config.path}: ')}") from error
    return replace(config, scenes={**config.scenes, scene: table})


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


def _patch_mistakes(
    config: Config, scene: str, experiments: Experiments, place: Place
) -> Iterator[ConfigError]:
    """Yields the mistakes of patches of ``scene`` that show without a bundle."""
    if scene_mistakes(config, scene):
        return  # of karec.toml: its own check reports them
    for (experiment, arm), patches in _arms_of(scene, experiments).items():
        patches_place = place[experiment]["arms"][arm]["patches"]
        unit = experiments.layers[experiments.experiments[experiment].layer].unit
        try:
            patched = _patched(config, scene, patches)
            errors = scene_mistakes(patched, scene)
            if not errors and unit == "creator":
                reason = creator_patch_mistake(config.scene(scene), patched.scene(scene))
                errors = [ConfigError(reason)] if reason else []
        except ConfigError as mistake:
            errors = [mistake]
        for error in errors:
            yield patches_place.refusal(str(error).removeprefix(f"{config.path}: "))


def _interleave_mistakes(config: Config, experiments: Experiments, place: Place) -> Iterator[ConfigError]:
    """Yields interleaved experiments in scenes of mixed pages, whose calibrations are for one pipeline."""
    mixed = mixed_scenes(config)
    for name, experiment in experiments.experiments.items():
        scenes = {
            path.split(".")[1] for arm in experiment.arms.values() for path in arm.patches if path.count(".")
        }
        for scene in sorted(scenes & mixed) if experiment.interleave else ():
            yield place[name].refusal(
                f"the scene {scene!r} is on mixed pages, expected a scene whose pages have one item type",
                "interleave",
            )


def _rank_stages(control: Cascade, arms: Collection[Cascade], paths: Iterable[str]) -> frozenset[str]:
    """Returns the values of ``first_stage`` with which a request with ``item_ids`` reaches a patched step."""
    patched = {tuple(path.split(".")[2:4]) for path in paths if path.split(".")[1] == control.scene}
    reached = set()
    for first_stage in [stage.name for stage in control.stages]:
        own = _ranking_steps(control, first_stage)
        for pipeline in arms:
            steps = _ranking_steps(pipeline, first_stage)
            changed = {place for place in own.keys() | steps.keys() if own.get(place) is not steps.get(place)}
            if patched & (own.keys() | steps.keys()) or changed:
                reached.add(first_stage)
    return frozenset(reached)


def _ranking_steps(cascade: Cascade, first_stage: str) -> dict[tuple[str, str], Step]:
    """Returns {(list or stage, name): step} of the steps that may run for a request with ``item_ids``."""
    stages = cascade.stages_of(Request(0, item_ids=(0,), first_stage=first_stage))
    steps = {
        (stage.name, step.name): step for stage in stages for step in (*stage.steps, *(stage.fallback or ()))
    }
    return {
        place: step
        for place, step in ({("query", step.name): step for step in cascade.query_hydrators} | steps).items()
        if step.name not in EXPOSURE_STEPS
    }
