"""Builds the pipelines of arms. An arm is a scene of karec.toml with the changes of its patches."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, product
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from karec.bundle import Bundle
from karec.config.arm_bundles import ArmBundles, BuiltScene, build_with_bundle, open_arm_bundles
from karec.config.assemble import build_arm, build_cascades
from karec.config.creator_arms import scoring_stage, with_creator_arms
from karec.config.mix import mixed_scenes
from karec.config.patches import ArmName, patch_mistakes, patch_scene, patches_of
from karec.config.registry import EXPOSURE_STEPS
from karec.config.resources import Resources
from karec.config.scenes import Config
from karec.errors import ConfigError, KarecError, nearest, one_line
from karec.experiments.assignment import fnv32a
from karec.experiments.creators import CreatorAssignment
from karec.experiments.metrics import unknown_counts
from karec.experiments.scene import SceneExperiment, SceneExperiments
from karec.experiments.settings import BUNDLE, BY_CREATOR, Experiments, read_experiments
from karec.experiments.started import Versions, check_unchanged, read_versions
from karec.pipeline.cascade import Cascade
from karec.pipeline.step import Step
from karec.pipeline.types import Request
from karec.toml import Place, with_lines

if TYPE_CHECKING:  # at run time this would load the compiler of the aggregates
    from karec.online.follow import Follower
    from karec.online.store.online_store import OnlineStore

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
            if owned == BUNDLE:
                continue
            if len(keys) < 3 or keys[0] != "scenes" or keys[1] not in config.scenes:
                advice = nearest(keys[1], config.scenes) if len(keys) > 1 else ""
                message = f"{owned!r}, expected scenes.SCENE.PLACE{advice}"
                errors.append(Place(path)["layers"][name]["paths"][i].refusal(message))
    errors += _interleave_mistakes(config, experiments, Place(path)["experiments"])
    for scene in config.scenes if not errors else ():
        errors += patch_mistakes(config, scene, experiments, Place(path)["experiments"])
    if errors:
        raise with_lines(errors, path)
    check_unchanged(experiments, {**read_versions(path), **known}, path)
    return experiments


def experiment_mistakes(config: Config, bundle: Bundle | None = None) -> list[str]:
    """Returns the mistakes of experiments.toml, and with a bundle the arms that cannot be built from it.

    ``config`` has no mistakes of its own.
    """
    try:
        experiments = load_experiments(config)
        if config.experiments is None or experiments is None or bundle is None:
            return []
        if errors := list(_metric_mistakes(experiments, bundle, config.experiments)):
            raise with_lines(errors, config.experiments)
        cascades = build_scenes(config, config.scenes, experiments, bundle)
    except ConfigError as error:
        return str(error).splitlines()
    mistakes = []
    for cascade in cascades.values():
        cascade.close()
        missing = {} if cascade.experiments is None else cascade.experiments.missing
        mistakes += [f"{config.experiments}: the arm {arm}: {reason}" for arm, reason in missing.items()]
    return mistakes


def _metric_mistakes(experiments: Experiments, bundle: Bundle, path: Path) -> Iterator[ConfigError]:
    """Yields metrics with a count that no event of the bundle's labels has."""
    from karec.online.ingestion import head_of  # it loads the compiler of the aggregates

    meanings = [bundle.item_type(name).snapshot.meaning for name in bundle.item_types]
    labels = head_of(bundle.snapshot, meanings=meanings).labels
    for name, experiment in experiments.experiments.items():
        counts = () if experiment.metrics is None else experiment.metrics.counts
        for message in unknown_counts(counts, labels):
            yield Place(path)["experiments"][name].refusal(message, "metrics")


def _interleave_mistakes(config: Config, experiments: Experiments, place: Place) -> Iterator[ConfigError]:
    """Yields interleaved experiments in scenes of mixed pages, whose calibrations are for one pipeline."""
    mixed = mixed_scenes(config)
    for name, experiment in experiments.experiments.items():
        for scene in sorted(experiment.scenes & mixed) if experiment.interleave else ():
            yield place[name].refusal(
                f"the scene {scene!r} is on mixed pages, expected a scene whose pages have one item type",
                "interleave",
            )


def build_scenes(
    config: Config,
    names: Iterable[str],
    experiments: Experiments | None,
    bundle: Bundle,
    *,
    online: Follower | None = None,
    store: OnlineStore | None = None,
    arm_bundles: ArmBundles | None = None,
) -> dict[str, Cascade]:
    """Returns {scene: cascade} as ``build_cascades``, with a pipeline for each combination of arms.

    Pipelines share all that no patch changes. An arm that cannot be built from its bundle is logged and gets
    control. Experiments that have ended get no pipelines. ``arm_bundles``: None: they are opened here.

    Raises ConfigError for a mistake of a scene, too many combinations, or arms that do not fit together.
    """
    if experiments is None:
        return build_cascades(config, names, bundle, online, store)
    arm_bundles = open_arm_bundles(config, experiments) if arm_bundles is None else arm_bundles
    with_arms = partial(_with_arms, config, experiments, bundle, arm_bundles)
    return build_cascades(config, names, bundle, online, store, with_arms)


def _with_arms(
    config: Config,
    experiments: Experiments,
    bundle: Bundle,
    arm_bundles: ArmBundles,
    control: Cascade,
    resources: Resources,
) -> Cascade:
    """Returns ``control`` with the experiments that patch its scene, and the side effects of all bundles."""
    arms = patches_of(control.scene, experiments)
    combinations = _combinations(experiments, arms, config)
    scenes: dict[str | None, BuiltScene] = {None: BuiltScene(control, resources, bundle)}
    builder = _ArmBuilder(config, experiments, control, arms, arm_bundles, scenes, {}, {})
    for arm in dict.fromkeys((*arms, *chain.from_iterable(combinations))):
        builder.try_arm(arm)
    names = list(dict.fromkeys(experiment for experiment, _ in arms))
    pipelines = {
        tuple(dict(chosen).get(name, "") for name in names): builder.build(chosen)
        for chosen in combinations
        if builder.missing.keys().isdisjoint(chosen)
    }
    in_scene = tuple(builder.to_scene_experiment(name) for name in names)
    names_of_file = frozenset(experiments.experiments)
    side_effects = dict.fromkeys(chain.from_iterable(one.cascade.side_effects for one in scenes.values()))
    return control.with_fields(
        experiments=SceneExperiments(in_scene, pipelines, names_of_file), side_effects=tuple(side_effects)
    )


@dataclass(frozen=True)
class _ArmBuilder:
    """Builds the pipelines of one scene.

    arms     {arm: its patches in the scene}
    scenes   {path of the bundle: the scene built from it}; None: of the bundle of karec.toml
    built    pipelines of single arms; arms of creators share (experiment, BY_CREATOR)
    missing  {arm that cannot be built from its bundle: reason}
    """

    config: Config
    experiments: Experiments
    control: Cascade
    arms: Mapping[ArmName, Mapping[str, Any]]
    arm_bundles: ArmBundles
    scenes: dict[str | None, BuiltScene]
    built: dict[ArmName, Cascade]
    missing: dict[ArmName, str]

    def try_arm(self, arm: ArmName) -> None:
        """Adds the arm to ``built`` or ``missing``. Arms of creators come before their BY_CREATOR."""
        try:
            self.built[arm] = self.build((arm,))
        except (KarecError, OSError) as error:
            self.missing[arm] = reason = one_line(str(error))
            _log.warning("scenes.%s: the arm %s gets control: %s", self.control.scene, ".".join(arm), reason)

    def build(self, chosen: tuple[ArmName, ...]) -> Cascade:
        """Returns the pipeline with the patches of all ``chosen`` arms."""
        if not chosen:
            return self.control
        if len(chosen) == 1 and chosen[0] in self.built:
            return self.built[chosen[0]]
        patches = {path: value for arm in chosen for path, value in self.arms.get(arm, {}).items()}
        scene = patch_scene(self.config, self.control.scene, patches).scene(self.control.scene)
        pipeline = build_arm(*self._scene_of(chosen), scene)
        for name in (name for name, arm in chosen if arm == BY_CREATOR):
            others = [arm for arm in chosen if arm[0] != name]
            arms = [arm for arm in self.arms if arm[0] == name and arm not in self.missing]
            own = {arm[1]: self.build((*others, arm)) for arm in arms}
            stage = str(scene.stages[scoring_stage(scene)]["name"])
            assignment = CreatorAssignment.from_settings(self.experiments, name)
            pipeline = with_creator_arms(pipeline, own, assignment, stage)
        return pipeline

    def _scene_of(self, chosen: tuple[ArmName, ...]) -> BuiltScene:
        """Returns the scene built from the bundle that an arm names, at most one of ``chosen``."""
        arms = [self.experiments.experiments[name].arms.get(arm) for name, arm in chosen]
        path = next((arm.bundle for arm in arms if arm is not None and arm.bundle), None)
        if path is not None and path not in self.scenes:
            other = self.arm_bundles[path]
            if isinstance(other, str):
                raise ConfigError(other)
            self.scenes[path] = build_with_bundle(self.config, self.scenes[None], other)
        return self.scenes[path]

    def to_scene_experiment(self, name: str) -> SceneExperiment:
        settings = self.experiments.experiments[name]
        names = (*settings.arms, BY_CREATOR)
        own = {arm: self.built[name, arm] for arm in names if (name, arm) in self.built}
        paths = {path for arm in settings.arms for path in self.arms.get((name, arm), ())}
        return SceneExperiment(
            name,
            settings,
            self.experiments.layers[settings.layer].unit,
            seed=fnv32a(self.experiments.seed(name).encode()),
            holdout_seed=fnv32a(self.experiments.holdout_seed(name).encode()),
            built=frozenset(own),
            missing={arm: self.missing[name, arm] for arm in names if (name, arm) in self.missing},
            rank_stages=_rank_stages(self.control, own.values(), paths),
        )


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


def _rank_stages(control: Cascade, arms: Collection[Cascade], paths: Iterable[str]) -> frozenset[str]:
    """Returns the values of ``first_stage`` with which a request with ``item_ids`` reaches a patched step."""
    patched = {tuple(path.split(".")[2:4]) for path in paths}
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
