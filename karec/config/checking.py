"""Every mistake of a ``karec.toml``, each in a line with its place: without a bundle what shows without
one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from karec.bundle import Bundle
from karec.config.assemble import STAGE_KEYS, STAGE_ROLES, build_cascade, refused_steps
from karec.config.inherit import LISTS
from karec.config.live_settings import LiveSettings
from karec.config.registry import build_exposure_step, make_unbuilt_step, step_mistakes
from karec.config.scenes import (
    COUNTED,
    RECALL,
    SCENE_KEYS,
    TOP_KEYS,
    Config,
    counted_entry,
    limit_of,
    limits_of,
)
from karec.config.serve_settings import ServeSettings
from karec.config.show import Origins
from karec.config.wiring import wiring_mistakes, with_exposure_control
from karec.errors import ConfigError, KarecError
from karec.exposure.constraints import ExposureSettings
from karec.pipeline.step import Merger, QueryHydrator, SideEffect, Source, Stage, Step
from karec.screening.settings import read_settings
from karec.toml import Place, check_keys, construct, mistakes, read_key, read_tables, read_toml

ROLES: Mapping[str, tuple[type[Step], ...]] = {
    "query": (QueryHydrator,),
    "recall": (Source,),
    "side_effects": (SideEffect,),
}


LEAST = {"state": "memory:", "events": "events"}  # a table ``live`` without a mistake
# beside the lists: kind, and what stands for one that is absent
_KEYS_OF_SCENES: Sequence[tuple[str, Any, object]] = (
    ("item_type", str, ""),
    ("consumed", Sequence[str], []),
    ("show_again", bool, False),
    ("exposure", Mapping[str, Any], {}),
)


def config_mistakes(path: Path, scene: str | None = None, bundle: Bundle | None = None) -> list[str]:
    """The mistakes of the file at ``path``, in order of lines, ``file:line: keys: what is wrong``; of
    ``scene``: its.

    With a ``bundle`` scenes without a mistake are built, which finds columns, models and sizes that do not
    fit. A mistake that several scenes inherit is told once. ConfigError where the file cannot be read or
    lacks the scene.
    """
    config = Config.of_table(path, read_toml(path))
    if scene is not None and scene not in config.scenes:
        config.inherited(scene)
    unknown = _without_unknown(config)
    origins = Origins(config)
    told: dict[tuple[int, str], None] = {}
    for name in config.scenes if scene is None else [scene]:
        found = list(_scene_mistakes(config, name, unknown))
        if not found and bundle is not None:
            found = list(_built(config, name, bundle))
        for error in found:
            line = origins.lines.get(error.path) or origins.nearest_line(error.path)
            said = str(error).removeprefix(f"{path}: ")
            known = any(at == line and _what(said) == _what(other) for at, other in told)
            if not known:
                told[line, said] = None
    for error in _top_mistakes(config):
        told[origins.line(error.path), str(error).removeprefix(f"{path}: ")] = None
    return [f"{path}:{line}: {said}" for line, said in sorted(told, key=lambda each: each[0])]


def _what(said: str) -> str:
    """A message without its place."""
    return said.partition(": ")[2]


def _without_unknown(config: Config) -> dict[str, list[ConfigError]]:
    """Takes unknown keys out of the scenes' tables; {scene: what is wrong with them}."""
    found: dict[str, list[ConfigError]] = {}
    for name, table in config.scenes.items():
        for key in [key for key in table if key not in SCENE_KEYS] if isinstance(table, dict) else ():
            try:
                check_keys({key: table.pop(key)}, SCENE_KEYS, Place(config.path)["scenes"][name])
            except ConfigError as error:
                found.setdefault(name, []).append(error)
    return found


def _inherited(
    config: Config, name: str, found: list[ConfigError]
) -> tuple[dict[str, Any], Sequence[str]] | None:
    """As ``config.inherited``; a change of what is not inherited goes to ``found`` and out of its table.
    None: the scene has no table of keys, or its parents none.
    """
    while True:
        try:
            return config.inherited(name)
        except ConfigError as error:
            error.path = error.path or ("scenes", name)
            found.append(error)
            table: Any = config.scenes
            for key in error.path[1:-1]:
                table = table[key] if isinstance(table, dict) and key in table else None
            if len(error.path) < 4 or not isinstance(table, dict) or error.path[-1] not in table:
                return None
            del table[error.path[-1]]


def _top_mistakes(config: Config) -> Iterator[ConfigError]:
    for key in config.table:
        try:
            check_keys({key: None}, TOP_KEYS, Place(config.path))
        except ConfigError as error:
            error.path = (key,)
            yield error
    of_live = mistakes(LiveSettings, config.table.get("live", LEAST), Place(config.path)["live"])
    of_serve = mistakes(ServeSettings, config.table.get("serve", {}), Place(config.path)["serve"])
    yield from (*of_live, *of_serve)
    tables_read = [name for name, found in (("live", of_live), ("serve", of_serve)) if not found]
    for read in ("bundle", "bundle_key", "threads", *tables_read):
        try:
            getattr(config, read)
        except ConfigError as error:
            error.path = error.path or (read,)
            yield error
            continue
        if read == "live" and config.live is not None and config.live.screen is not None:
            try:
                read_settings(config.path.parent / config.live.screen)
            except KarecError as error:
                yield Place(config.path)["live"]["screen"].refusal(error)


def _built(config: Config, name: str, bundle: Bundle) -> Iterator[ConfigError]:
    try:
        refused = list(refused_steps(config, name, bundle))
        yield from refused
        if not refused:
            build_cascade(config, name, bundle).close()
    except ConfigError as error:
        yield error
    except KarecError as error:
        yield Place(config.path)["scenes"][name].refusal(error)


def _scene_mistakes(
    config: Config, name: str, unknown: Mapping[str, Sequence[ConfigError]]
) -> Iterator[ConfigError]:
    found: list[ConfigError] = []
    inherited = _inherited(config, name, found)
    if inherited is None:
        yield from found
        return
    table, parents = inherited
    found += [error for scene in (name, *parents) for error in unknown.get(scene, ())]
    place = config.place_of(name, parents)
    used: set[str] = set()
    limits = _limits(table, used, place, found)
    lists = {key: _entries(table.get(key, []), limits, used, place[key], found) for key in LISTS}
    for key, roles in ROLES.items():
        for entry, at in lists[key]:
            found += step_mistakes(entry, roles, at)
    stages = [
        (
            stage,
            at,
            _steps(stage, "steps", limits, used, at, found),
            _fallback(stage, limits, used, at, found),
        )
        for stage, at in lists["stages"]
    ]
    for count in config.scenes[name].get("limits", {}):
        if count in limits and count not in used | {RECALL}:
            found.append(
                place["limits"][count].refusal("no step names it: write it as the k or quota of a step")
            )
    for key, hint, absent in _KEYS_OF_SCENES:
        try:
            read_key(table, key, hint, place, absent)
        except ConfigError as error:
            error.path = (*place.path, key)
            found.append(error)
    if isinstance(table.get("exposure"), dict):
        found += mistakes(ExposureSettings, table["exposure"], place["exposure"])
    if not lists["recall"] and not found:
        found.append(place["recall"].refusal("a scene needs at least one recall channel"))
    limit = None
    try:
        limit = limit_of(table, limits, place)
        if limit is None and not _names(table.get("limits"), RECALL):
            found.append(
                place.refusal("the key 'limits.recall' is missing: how many works leave recall at most")
            )
    except ConfigError as error:
        found.append(error)
    yield from found
    if not found:
        yield from _wiring(lists, stages, limit, table.get("exposure"), place)


def _names(limits: object, name: str) -> bool:
    """Whether the table names the count, with a number that may be wrong, which is told then."""
    return isinstance(limits, dict) and name in limits


def _limits(
    table: Mapping[str, Any], used: set[str], place: Place, found: list[ConfigError]
) -> dict[str, int]:
    """The limits. What is wrong with one goes to ``found`` and its name to ``used``: nothing else is told of
    it."""
    limits: dict[str, int] = {}
    given = table.get("limits", {})
    for name, count in given.items() if isinstance(given, dict) else [("", given)]:
        try:
            limits.update(limits_of({"limits": {name: count} if name else count}, place))
        except ConfigError as error:
            error.path = (*place.path, "limits", *([name] if name else []))
            found.append(error)
            if name:
                limits[name] = 1
                used.add(name)
    return limits


def _entries(
    value: object, limits: Mapping[str, int], used: set[str], place: Place, found: list[ConfigError]
) -> list[tuple[dict[str, Any], Place]]:
    """The tables of a list, names of limits replaced; what is wrong with them goes to ``found``. Steps are
    left."""
    try:
        if isinstance(value, dict):
            raise place.refusal("must be a list of tables; a table overrides entries of an inherited list")
        each = read_tables(value, place)
    except ConfigError as error:
        found.append(error)
        return []
    entries = []
    for i, table in enumerate(each):
        deep = {key: entry for key, entry in table.items() if key == "steps" or isinstance(entry, list)}
        plain = {key: entry for key, entry in table.items() if key not in deep}
        try:
            plain = counted_entry(plain, limits, used, place[i])
        except ConfigError as error:
            found.append(error)
            plain = {
                key: entry for key, entry in plain.items() if not isinstance(entry, str) or key not in limits
            }
            plain |= {key: 1 for key in COUNTED if isinstance(plain.get(key), str | int)}  # told already
        entries.append(({**plain, **deep}, place[i]))
    return entries


def _steps(
    stage: Mapping[str, Any],
    key: str,
    limits: Mapping[str, int],
    used: set[str],
    at: Place,
    found: list[ConfigError],
) -> list[dict[str, Any]]:
    """The steps of a stage, or of its fallback, by the ``key`` of their list."""
    if key == "steps":
        try:
            check_keys(stage, STAGE_KEYS, at)
        except ConfigError as error:
            found.append(error)
        if not isinstance(stage.get("name"), str):
            found.append(
                at.refusal("the key 'name' is missing" if "name" not in stage else "name must be a text")
            )
    steps = _entries(stage.get(key, []), limits, used, at[key], found)
    for step, place in steps:
        found += step_mistakes(step, STAGE_ROLES, place)
    return [step for step, _ in steps]


def _fallback(
    stage: Mapping[str, Any], limits: Mapping[str, int], used: set[str], at: Place, found: list[ConfigError]
) -> list[dict[str, Any]] | None:
    if stage.get("fallback", False) is False:
        return None
    return _steps(stage, "fallback", limits, used, at, found)


def _wiring(
    lists: Mapping[str, Sequence[tuple[dict[str, Any], Place]]],
    stages: Sequence[tuple[Mapping[str, Any], Place, list[dict[str, Any]], list[dict[str, Any]] | None]],
    limit: int | None,
    exposure: Mapping[str, Any] | None,
    place: Place,
) -> Iterator[ConfigError]:
    """Of steps that were never built: needs that a step finds out when it is built are not among them."""
    request, recall, observers = (
        [make_unbuilt_step(entry, at) for entry, at in lists[key]]
        for key in ("query", "recall", "side_effects")
    )
    sources = [source for source in recall if isinstance(source, Source)]
    merger = make_unbuilt_step({"use": "merge", "limit": limit}, place)
    assert isinstance(merger, Merger)
    try:
        chain = [_hollow_stage(stage["name"], steps, fallback, at) for stage, at, steps, fallback in stages]
    except ConfigError as error:
        yield error
        return
    if exposure is not None and chain:
        chain[-1] = with_exposure_control(chain[-1], build_exposure_step("exposure_control", None))
        observers = [build_exposure_step("exposure_counter", None), *observers]
        if exposure.get("explore"):
            sources = [build_exposure_step("underexposed", None), *sources]
    yield from wiring_mistakes(request, sources, merger, chain, observers, place)


def _hollow_stage(
    name: str, entries: list[dict[str, Any]], fallback: list[dict[str, Any]] | None, place: Place
) -> Stage:
    steps = tuple(make_unbuilt_step(entry, place) for entry in entries)
    fallback_steps = None
    if fallback is not None:
        fallback_steps = tuple(
            steps[entries.index(entry)] if entry in entries else make_unbuilt_step(entry, place)
            for entry in fallback
        )
    return construct(Stage, {"name": name, "steps": steps, "fallback": fallback_steps}, place)
