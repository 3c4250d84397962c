"""Builds the Cascade of a scene of ``karec.toml``, and checks the chain of its steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from karec.bundle import Bundle
from karec.bundle.item_types import ItemTypeBundle
from karec.config.mix import read_mix
from karec.config.registry import build_exposure_step, build_step, step_class
from karec.config.resources import Resources
from karec.config.scenes import Config, Scene
from karec.config.wiring import check_wiring, with_exposure_control
from karec.errors import ConfigError, nearest
from karec.exposure.constraints import ExposureSettings
from karec.exposure.controller import ExposureController
from karec.features.similar_items import similar_items
from karec.pipeline.cascade import Cascade, MixedPart
from karec.pipeline.recall import Recall
from karec.pipeline.side_effects import SideEffectQueue
from karec.pipeline.stage import Stage
from karec.pipeline.step import (
    Filter,
    Hydrator,
    Merger,
    QueryHydrator,
    Scorer,
    Selector,
    SideEffect,
    Source,
    Step,
)
from karec.toml import Place, Settings, check_keys, construct, convert, read_key, read_tables

if TYPE_CHECKING:  # at run time this would load the compiler of the aggregates
    from karec.online.follow import Follower
    from karec.online.store.online_store import OnlineStore

S = TypeVar("S", bound=Step)
STAGE_ROLES: tuple[type[Step], ...] = (Hydrator, Filter, Scorer, Selector)


class StageTable(Settings, frozen=True):
    """The keys of a stage. The lists are checked with their steps; `fallback = false`: no fallback."""

    name: str
    steps: Any = None
    fallback: Any = None


def load_cascade(path: Path, scene: str, bundle: Bundle | None = None) -> Cascade:
    """Returns the cascade of ``scene``. ``bundle``: None for the one named in the file."""
    return build_cascade(Config.read(path), scene, bundle)


def build_cascade(
    config: Config,
    name: str,
    bundle: Bundle | None = None,
    online: Follower | None = None,
    store: OnlineStore | None = None,
) -> Cascade:
    """Returns the cascade of the scene ``name``, as ``build_cascades``."""
    return build_cascades(config, [name], bundle, online, store)[name]


def build_cascades(
    config: Config,
    names: Iterable[str],
    bundle: Bundle | None = None,
    online: Follower | None = None,
    store: OnlineStore | None = None,
    with_arms: Callable[[Cascade, Resources], Cascade] = lambda cascade, _: cascade,
) -> dict[str, Cascade]:
    """Returns {scene: cascade} of the scenes ``names`` and of those that they mix.

    Cascades on one bundle share it, and the data that their steps build from it.

    Args:
        bundle: None: the bundle named in the file.
        online: the online store that requests read; None: no online store.
        store: the online store that shares the exposure counters; None: those of this process only.
        with_arms: adds the arms of experiments to a cascade that was built from these resources.
    Raises:
        ConfigError: file, scene, step and mistake.
    """
    bundle = _bundle_of(config) if bundle is None else bundle
    builder = _CascadeBuilder(config, bundle, online, store, with_arms, {})
    return {name: builder.build(name) for name in names} | builder.built


@dataclass(frozen=True)
class _CascadeBuilder:
    """Builds each scene once. A nested function that calls itself would keep the bundle in memory."""

    config: Config
    bundle: Bundle
    online: Follower | None
    store: OnlineStore | None
    with_arms: Callable[[Cascade, Resources], Cascade]
    built: dict[str, Cascade]

    def build(self, name: str) -> Cascade:
        if name not in self.built:
            scene = self.config.scene(name)
            mix = read_mix(self.config, scene, self.build)
            resources = _resources(scene, self.bundle, self.config, self.store)
            exposure = [] if resources.exposure is None else [resources.exposure]
            counters = [SideEffectQueue(build_exposure_step("exposure_counter", one)) for one in exposure]
            control = build_scene(self.config, scene, self.bundle, self.online, resources, mix, counters)
            self.built[name] = self.with_arms(control, resources)
        return self.built[name]


def build_scene(
    config: Config,
    scene: Scene,
    bundle: Bundle,
    online: Follower | None,
    resources: Resources,
    mix: Mapping[str, MixedPart],
    counters: Sequence[SideEffectQueue],
) -> Cascade:
    """Returns the cascade of a scene without experiments. ``counters``: of ``resources.exposure``."""
    items, place = resources.bundle, scene.place
    query, recall, stages = _build_steps(scene, resources, bundle)
    side_effects = _steps(
        scene.side_effects, (SideEffect,), replace(resources, stages=stages), place["side_effects"]
    )
    check_wiring(query, recall, stages, (*(one.side_effect for one in counters), *side_effects), place)
    return Cascade(
        scene.name,
        query,
        recall,
        stages,
        (*counters, *(SideEffectQueue(step) for step in side_effects)),
        versions={"model": bundle.model_version, "bundle": bundle.path.name, "config": scene.version},
        index=items.index,
        threads=config.threads,
        naming=items.naming,
        online=online,
        item_type=scene.item_type or "",
        bundle=items,
        exposure=resources.exposure,
        as_of_ms=bundle.snapshot.time_ms if online is None else None,
        codes=items.snapshot.built.get("codes of names", lambda: _codes(items.snapshot.labels)),
        find_similar=lambda *query: similar_items(None if scene.item_type else items.encoder.cowatch, *query),
        mix=mix,
    )


def build_arm(control: Cascade, resources: Resources, bundle: Bundle, scene: Scene) -> Cascade:
    """Returns the pipeline of an arm: ``scene`` is that of ``control`` with patches.

    Steps with the same table are those of ``control``, which has the same ``resources``. So are the side
    effects and the exposure controller.
    """
    query, recall, stages = _build_steps(scene, resources, bundle)
    side_effects = [queue.side_effect for queue in control.side_effects]
    check_wiring(query, recall, stages, side_effects, scene.place)
    versions = {**control.versions, "config": scene.version}
    return control.with_fields(query_hydrators=query, recall=recall, stages=stages, versions=versions)


def _build_steps(
    scene: Scene, resources: Resources, bundle: Bundle
) -> tuple[tuple[QueryHydrator, ...], Recall, tuple[Stage, ...]]:
    recall = _recall(scene, resources)
    stages = tuple(_scene_stage(scene, i, resources) for i in range(len(scene.stages)))
    query = _steps(scene.query, (QueryHydrator,), replace(resources, bundle=bundle), scene.place["query"])
    return query, recall, stages


def _codes(labels: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
    """Returns {category: {name: code}}."""
    return {column: {name: code for code, name in enumerate(names)} for column, names in labels.items()}


def refused_steps(config: Config, name: str, bundle: Bundle) -> Iterator[ConfigError]:
    """Yields the mistakes that each step of the scene ``name`` finds when it is built.

    Side effects are left out: they need the other steps.
    """
    scene = config.scene(name)
    resources = _resources(scene, bundle, config)
    place = scene.place
    lists: list[tuple[Sequence[Mapping[str, Any]], tuple[type[Step], ...], Resources, Place]] = [
        (scene.query, (QueryHydrator,), replace(resources, bundle=bundle), place["query"]),
        (scene.recall, (Source,), resources, place["recall"]),
    ]
    for i, stage in enumerate(scene.stages):
        lists += [
            (stage.get(key) or [], STAGE_ROLES, resources, place["stages"][i][key])
            for key in ("steps", "fallback")
        ]
    for entries, roles, list_resources, list_place in lists:
        for i, entry in enumerate(entries):
            try:
                build_step(entry, roles, list_resources, list_place[i])
            except ConfigError as error:
                yield error


def load_cascades(path: Path, bundle: Bundle | None = None) -> dict[str, Cascade]:
    """Returns {scene: cascade} of all scenes, in the order of the file. They share one bundle."""
    config = Config.read(path)
    return build_cascades(config, config.scenes, bundle)


def build_stage(config: Config, scene: str, name: str, bundle: Bundle | None = None) -> Stage:
    """Returns the stage ``name`` of ``scene``, as ``load_cascade`` builds it."""
    table, _ = config.scene(scene).stage(name)
    bundle = _bundle_of(config) if bundle is None else bundle
    position = config.scene(scene).stages.index(table)
    return _scene_stage(config.scene(scene), position, _resources(config.scene(scene), bundle, config))


def scaled_recall(config: Config, scene: str, limit: int, bundle: Bundle, quota: int | None = None) -> Recall:
    """Returns the recall of ``scene`` with another ``limit``. Its sources have no timeouts.

    ``quota``: of every source, without min_items; None: quotas and min_items are scaled with the limit.
    """
    original = config.scene(scene)
    factor = limit / original.limit

    def scale(entry: Mapping[str, Any]) -> dict[str, Any]:
        own = {key: value for key, value in entry.items() if key != "timeout_ms"}
        if quota is not None:
            return {**own, "quota": quota, "min_items": 0}
        return {
            **own,
            "quota": max(int(entry["quota"] * factor), 1),
            "min_items": int(entry.get("min_items", 0) * factor),
        }

    scaled = replace(original, limit=limit, recall=[scale(entry) for entry in original.recall])
    return _recall(scaled, _resources(original, bundle, config))


def open_bundle(path: Path) -> Bundle:
    """Returns the verified bundle of the config at ``path``; it is one object per process."""
    return _bundle_of(Config.read(path))


def scene_names(path: Path) -> list[str]:
    """Returns the names of the scenes of the config at ``path``, in its order."""
    return list(Config.read(path).scenes)


def check_steps(scene: Scene) -> None:
    """Raises ConfigError for an unknown step of ``scene``. No bundle is needed."""
    lists = {"query": scene.query, "recall": scene.recall, "side_effects": scene.side_effects}
    steps = [(table, scene.place[key][i]) for key, tables in lists.items() for i, table in enumerate(tables)]
    for i, stage in enumerate(scene.stages):
        place = scene.place["stages"][i]["steps"]
        steps += [(table, place[j]) for j, table in enumerate(read_tables(stage.get("steps"), place))]
    for table, place in steps:
        step_class(read_key(table, "use", str, place), place)


def _bundle_of(config: Config) -> Bundle:
    return Bundle.shared(config.follow_bundle(), config.bundle_key)


def _resources(scene: Scene, bundle: Bundle, config: Config, store: OnlineStore | None = None) -> Resources:
    resources = Resources(bundle_of_type(scene, bundle), config.path.parent)
    if scene.exposure is None:
        return resources
    place = scene.place["exposure"]
    settings = convert(ExposureSettings, scene.exposure, place)
    items = resources.bundle
    try:
        controller = ExposureController(settings, items.index, items.snapshot, store=store, scene=scene.name)
    except ValueError as error:
        raise place.refusal(error) from error
    return replace(resources, exposure=controller)


def bundle_of_type(scene: Scene, bundle: Bundle) -> Bundle | ItemTypeBundle:
    """Returns the bundle, or its part for the item type of ``scene``."""
    if scene.item_type is None:
        return bundle
    if scene.item_type not in bundle.item_types:
        raise scene.place.refusal(
            f"item_type = {scene.item_type!r}: the bundle has no such item type"
            f"{nearest(scene.item_type, bundle.item_types)}; it has works and {bundle.item_types}. "
            "Songs and creators are published if works have these roles, "
            "others by [items.TYPE] in data.toml, or with karec.publish(…, item_types=…)"
        )
    return bundle.item_type(scene.item_type)


def _recall(scene: Scene, resources: Resources) -> Recall:
    place = scene.place["recall"]
    sources = _steps(scene.recall, (Source,), resources, place)
    sources = tuple(sorted(sources, key=lambda source: -source.priority))
    if not sources:
        raise place.refusal("a scene needs at least one source")
    if resources.exposure is not None and resources.exposure.settings.explore:
        sources = (build_exposure_step("underexposed", resources.exposure), *sources)
    merge = {
        "use": "merge",
        "quotas": [source.quota for source in sources],
        "min_items": [source.min_items for source in sources],
        "limit": scene.limit,
        "consumed": scene.consumed,
        "show_again": scene.show_again,
    }
    one_part = {"quotas": [scene.limit], "min_items": [0]}
    merger, whole = (_step(table, (Merger,), resources, place) for table in (merge, merge | one_part))
    return construct(Recall, {"sources": sources, "merger": merger, "whole": whole}, place)


def _scene_stage(scene: Scene, position: int, resources: Resources) -> Stage:
    """Returns the stage at ``position``; the last one with the scene's exposure control."""
    stage = _stage(scene.stages[position], resources, scene.place["stages"][position])
    if resources.exposure is None or position + 1 < len(scene.stages):
        return stage
    return with_exposure_control(stage, build_exposure_step("exposure_control", resources.exposure))


def _stage(table: Mapping[str, Any], resources: Resources, place: Place) -> Stage:
    check_keys(table, StageTable.__struct_fields__, place)
    name = read_key(table, "name", str, place)
    entries = read_tables(table.get("steps"), place["steps"])
    steps = _steps(entries, STAGE_ROLES, resources, place["steps"])
    fallback = None
    if table.get("fallback", False) is not False:
        fallback_place = place["fallback"]
        fallback = match_fallback(
            entries,
            steps,
            read_tables(table["fallback"], fallback_place),
            lambda entry, i: _step(entry, STAGE_ROLES, resources, fallback_place[i]),
        )
    return construct(Stage, {"name": name, "steps": steps, "fallback": fallback}, place)


def match_fallback(
    entries: Sequence[Any], steps: Sequence[Step], fallback: Sequence[Any], build: Callable[[Any, int], Step]
) -> tuple[Step, ...]:
    """Returns the steps of the entries of ``fallback``: a step of the stage for an equal entry, else a built
    one. Each step of the stage is taken once."""
    unused = list(zip(entries, steps, strict=True))
    matched = []
    for i, entry in enumerate(fallback):
        position = next((j for j, (own, _) in enumerate(unused) if own == entry), None)
        matched.append(build(entry, i) if position is None else unused.pop(position)[1])
    return tuple(matched)


def _steps(
    entries: Sequence[Mapping[str, Any]], roles: tuple[type[S], ...], resources: Resources, place: Place
) -> tuple[S, ...]:
    return tuple(_step(entry, roles, resources, place[i]) for i, entry in enumerate(entries))


def _step(table: Mapping[str, Any], roles: tuple[type[S], ...], resources: Resources, place: Place) -> S:
    """Returns the step of ``table``; an equal table of these resources has the same step."""
    key = (roles, json.dumps(table, sort_keys=True, default=str))
    if key not in resources.steps:
        resources.steps[key] = build_step(table, roles, resources, place)
    return cast(S, resources.steps[key])
