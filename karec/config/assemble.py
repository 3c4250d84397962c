"""``karec.toml`` → scenes → a Cascade. A step is named by ``use``: a name of ``STEPS``, or ``"package.module:Class"``.

    bundle = "bundles"                       # holds `current`; relative to this file

    [scenes.home]
    candidates = 100_000                     # at most so many works leave recall
    request = [{ use = "user_features" }, { use = "user_tower" }]

    [[scenes.home.recall]]                   # one table a channel; quota = how many works it may bring
    use = "popular"
    quota = 30_000

    [[scenes.home.stages]]
    name = "prerank"
    steps = [{ use = "index_rows" }, { use = "inner_product", k = 3000 }]

The other keys of a step are parameters of its class. What a class takes from the bundle (``index``, ``snapshot``,
``encoder``, ``user_tower``, ``ranker``, ``bundle``), ``config_folder`` and, for observers, the scene's ``stages`` are
given by their parameters' names and cannot be configured.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from karec.bundle import Bundle
from karec.cascade import Cascade, Recall
from karec.errors import ConfigError, ContractError
from karec.observer_queue import ObserverQueue
from karec.stage import Merger, Observer, RequestHydrator, Selector, Source, Stage, Step

STEPS: Mapping[str, str] = {
    "user_features": "karec.request.user_features:UserFeatures",
    "user_tower": "karec.request.user_tower:UserTower",
    "profile": "karec.recall.profile:Profile",
    "social": "karec.recall.social:Social",
    "model": "karec.recall.model:Model",
    "popular": "karec.recall.popular:Popular",
    "fresh": "karec.recall.popular:Fresh",
    "merge": "karec.recall.merger:QuotaMerger",
    "index_rows": "karec.prerank.rows:IndexRows",
    "has_embedding": "karec.prerank.rows:HasEmbedding",
    "not_shown": "karec.prerank.rows:NotShown",
    "inner_product": "karec.prerank.inner_product:InnerProduct",
    "freshness": "karec.ecosystem.freshness:Freshness",
    "tone": "karec.ecosystem.tone:Tone",
    "quota": "karec.ecosystem.quota:Quota",
    "ranker": "karec.rank.ranker:Ranker",
    "fusion": "karec.rank.ranker:FusedScore",
    "top_k": "karec.rank.ranker:TopK",
    "rank_log": "karec.observe.rank_log:RankLogObserver",
    "shadow": "karec.observe.shadow:Shadow",
    "dpp": "karec.diversify.dpp:Dpp",
    "mmr": "karec.diversify.mmr_ssd:Mmr",
    "ssd": "karec.diversify.mmr_ssd:Ssd",
    "scatter": "karec.rerank.rules:Scatter",
}
GIVEN = ("index", "snapshot", "encoder", "user_tower", "ranker", "bundle", "config_folder", "stages")
SCENE_KEYS = ("candidates", "request", "recall", "stages", "observers")


def load_cascade(path: Path, scene: str, bundle: Bundle | None = None) -> Cascade:
    """The cascade of ``scene``. ``bundle`` may be one that is open already; else the config's is opened."""
    config = _read(path)
    scenes = config["scenes"]
    if scene not in scenes:
        raise ConfigError(f"{path}: no scene {scene!r}{_meant(scene, scenes)}; it has {sorted(scenes)}")
    resources = _Resources(open_bundle(path) if bundle is None else bundle, path.parent)
    return _build_scene(scene, scenes[scene], resources, f"{path}: scenes.{scene}")


def load_stage(path: Path, scene: str, name: str, bundle: Bundle | None = None) -> Stage:
    """One stage of ``scene`` alone, as ``load_cascade`` would build it."""
    scenes = _read(path)["scenes"]
    if scene not in scenes:
        raise ConfigError(f"{path}: no scene {scene!r}{_meant(scene, scenes)}; it has {sorted(scenes)}")
    resources = _Resources(open_bundle(path) if bundle is None else bundle, path.parent)
    where = f"{path}: scenes.{scene}.stages"
    stages = _tables(scenes[scene].get("stages"), where)
    for i, spec in enumerate(stages):
        if spec.get("name") == name:
            return _stage(spec, resources, f"{where}[{i}]")
    raise ConfigError(f"{where}: no stage {name!r}; there are {[spec.get('name') for spec in stages]}")


def open_bundle(path: Path) -> Bundle:
    """The bundle that the config at ``path`` names, opened and verified."""
    return Bundle.open(path.parent / _value(_read(path), "bundle", str, str(path)))


def scene_names(path: Path) -> list[str]:
    """The scenes of the config at ``path``, in its order."""
    return list(_read(path)["scenes"])


@dataclass(frozen=True)
class _Resources:
    """What steps are given by the names of their parameters."""

    bundle: Bundle
    config_folder: Path
    stages: tuple[Stage, ...] = ()

    def get(self, name: str) -> Any:
        return getattr(self if name in ("bundle", "config_folder", "stages") else self.bundle, name)


def _read(path: Path) -> dict[str, Any]:
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    _known_keys(config, ("bundle", "scenes"), str(path))
    if not _value(config, "scenes", dict, str(path)):
        raise ConfigError(f"{path}: scenes is empty; a scene is a table [scenes.NAME]")
    return config


def _build_scene(scene: str, spec: Any, resources: _Resources, where: str) -> Cascade:
    if not isinstance(spec, dict):
        raise ConfigError(f"{where} must be a table")
    _known_keys(spec, SCENE_KEYS, where)
    sources = _steps(spec.get("recall"), Source, resources, f"{where}.recall")
    if not sources:
        raise ConfigError(f"{where}.recall: a scene needs at least one recall channel")
    limit = _value(spec, "candidates", int, where)
    merge = {"use": "merge", "quotas": [source.quota for source in sources], "limit": limit}
    merger = _step(merge, Merger, resources, where)
    bundle = resources.bundle
    stages = tuple(
        _stage(stage, resources, f"{where}.stages[{i}]")
        for i, stage in enumerate(_tables(spec.get("stages"), f"{where}.stages"))
    )
    observed = replace(resources, stages=stages)
    cascade = Cascade(
        scene=scene,
        request_hydrators=_steps(spec.get("request", []), RequestHydrator, resources, f"{where}.request"),
        recall=Recall(sources, merger),
        stages=stages,
        observers=tuple(
            ObserverQueue(step) for step in _steps(spec.get("observers", []), Observer, observed, f"{where}.observers")
        ),
        versions={
            "model": bundle.model_version,
            "bundle": bundle.path.name,
            "index_generation": bundle.index.generation,
        },
    )
    _check_whole(cascade, where)
    return cascade


def _check_whole(cascade: Cascade, where: str) -> None:
    """What no step sees by itself: names that clash, a feed that nothing cuts, a log of a stage that is not there."""
    stages = [stage.name for stage in cascade.stages]
    for what, names in (("recall", [source.name for source in cascade.recall.sources]), ("stages", stages)):
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ConfigError(f"{where}.{what}: the name {twice[0]!r} stands twice; give one of them another `name`")
    last = cascade.stages[-1].steps[-1] if cascade.stages and cascade.stages[-1].steps else None
    if not isinstance(last, Selector) or getattr(last, "k", None) is not None:
        raise ConfigError(f"{where}.stages: the last step must be a selector without k, which takes the request's")
    for observer in (queue.observer for queue in cascade.observers):
        for stage in observer.watches or ():
            if stage not in stages:
                raise ConfigError(f"{where}.observers: {observer.name} watches the stage {stage!r}; there are {stages}")
        if observer.on_failure == "fail":
            raise ConfigError(
                f"{where}.observers: {observer.name} runs after the answer and cannot fail it: leave out on_failure"
            )


def _stage(spec: Mapping[str, Any], resources: _Resources, where: str) -> Stage:
    _known_keys(spec, ("name", "steps"), where)
    name = _value(spec, "name", str, where)
    steps = _steps(spec.get("steps"), Step, resources, f"{where}.steps")
    try:
        return Stage(name, steps)
    except ContractError as error:
        raise ConfigError(f"{where}: {error}") from error


S = typing.TypeVar("S", bound=Step)


def _steps(specs: Any, role: type[S], resources: _Resources, where: str) -> tuple[S, ...]:
    return tuple(_step(spec, role, resources, f"{where}[{i}]") for i, spec in enumerate(_tables(specs, where)))


def _step(spec: Mapping[str, Any], role: type[S], resources: _Resources, where: str) -> S:
    use = _value(spec, "use", str, where)
    cls = _step_class(use, where)
    if not issubclass(cls, role):
        raise ConfigError(f"{where}: {use!r} is a {cls.role}, a {role.__name__} belongs here")
    options = {key: value for key, value in spec.items() if key not in ("use", "name", "on_failure")}
    parameters = inspect.signature(cls).parameters
    try:
        hints = typing.get_type_hints(cls.__init__)
    except NameError as error:
        raise ConfigError(f"{where}: the annotations of {use!r} cannot be read, {error}: import it plainly") from error
    given = [name for name in GIVEN if name in parameters]
    settable = [name for name in parameters if name not in given]
    _known_keys(options, settable, f"{where} ({use})")
    for key, value in options.items():
        if not _fits(value, hints.get(key, Any)):
            raise ConfigError(f"{where} ({use}): {key} = {value!r}, expected {_spell(hints[key])}")
    missing = [n for n in settable if n not in options and parameters[n].default is inspect.Parameter.empty]
    if missing:
        raise ConfigError(f"{where} ({use}): the key {missing[0]!r} is missing")
    try:
        step: S = cls(**{name: resources.get(name) for name in given}, **options)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where} ({use}): {error}") from error
    on_failure = spec.get("on_failure", cls.on_failure)
    if on_failure not in ("fail", "skip"):
        raise ConfigError(f"{where}: on_failure = {on_failure!r}, expected 'fail' or 'skip'")
    step_name = _value(spec, "name", str, where) if "name" in spec else use.rsplit(":", 1)[-1]
    object.__setattr__(step, "name", step_name)
    object.__setattr__(step, "on_failure", on_failure)
    return step


def _step_class(use: str, where: str) -> Any:
    if use not in STEPS and ":" not in use:
        raise ConfigError(
            f"{where}: no step {use!r}{_meant(use, STEPS)}; known are {sorted(STEPS)}, or write 'package.module:Class'"
        )
    module, _, name = STEPS.get(use, use).partition(":")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where}: {use!r} cannot be imported: {error}") from error
    if not (inspect.isclass(cls) and issubclass(cls, Step)):
        raise ConfigError(f"{where}: {use!r} is not a step; derive it from a role of karec.stage")
    return cls


def _tables(value: Any, where: str) -> Sequence[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ConfigError(f"{where} must be a list of tables")
    return value


def _value(spec: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    if key not in spec:
        raise ConfigError(f"{where}: the key {key!r} is missing")
    if not _fits(spec[key], kind):
        raise ConfigError(f"{where}: {key} = {spec[key]!r}, expected {_spell(kind)}")
    return spec[key]


def _known_keys(spec: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in spec:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{_meant(key, known)}; known are {sorted(known)}")


def _meant(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _fits(value: Any, hint: Any) -> bool:
    """Whether a TOML value suits an annotation; int suits float, a list any sequence, a table any mapping."""
    origin = typing.get_origin(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    kind = origin or hint
    inner = typing.get_args(hint)
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return isinstance(value, dict) and all(_fits(entry, inner[1] if inner else Any) for entry in value.values())
    if isinstance(kind, type) and issubclass(kind, Sequence) and kind is not str:
        return isinstance(value, list) and all(_fits(entry, inner[0] if inner else Any) for entry in value)
    return isinstance(kind, type) and isinstance(value, kind)


def _spell(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
