"""Checks a karec.toml: reports every mistake with its line, without a bundle or with one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from karec.bundle import Bundle
from karec.config.assemble import STAGE_ROLES, StageTable, build_cascade, match_fallback, refused_steps
from karec.config.mix import mix_mistakes
from karec.config.registry import build_exposure_step, make_unbuilt_step, step_classes, step_mistakes
from karec.config.scenes import Config, FileTable, Scene
from karec.config.show import Origins
from karec.config.wiring import wiring_mistakes, with_exposure_control
from karec.errors import ConfigError, KarecError
from karec.exposure.constraints import ExposureSettings
from karec.pipeline.stage import Stage
from karec.pipeline.step import QueryHydrator, SideEffect, Source, Step
from karec.screening.settings import read_settings
from karec.toml import Place, construct, mistakes, read_tables, read_toml


def config_mistakes(path: Path, scene: str | None = None, bundle: Bundle | None = None) -> list[str]:
    """Returns the mistakes of a karec.toml as `file:line: keys: message`, in the order of lines.

    A mistake that several scenes inherit is reported once.

    Args:
        scene: the scene to check; None: all.
        bundle: scenes without a mistake are also built, which finds wrong columns, models and sizes.
    Raises:
        ConfigError: the file cannot be read, or has no such scene.
    """
    config = Config.from_table(path, read_toml(path))
    if scene is not None and scene not in config.scenes:
        config.inherited(scene)
    origins = Origins(config)
    reported: dict[tuple[int, str], None] = {}
    for name in config.scenes if scene is None else [scene]:
        errors = scene_mistakes(config, name)
        if not errors and bundle is not None:
            errors = list(_build_mistakes(config, name, bundle))
        for error in errors:
            line = origins.lines.get(error.path) or origins.nearest_line(error.path)
            text = str(error).removeprefix(f"{path}: ")
            message = text.partition(": ")[2]
            if (line, message) not in {(n, entry.partition(": ")[2]) for n, entry in reported}:
                reported[line, text] = None
    for error in _file_mistakes(config, bundle):
        reported[origins.line(error.path), str(error).removeprefix(f"{path}: ")] = None
    return [f"{path}:{line}: {text}" for line, text in sorted(reported, key=lambda mistake: mistake[0])]


def _file_mistakes(config: Config, bundle: Bundle | None) -> Iterator[ConfigError]:
    """Yields the mistakes outside of the scenes."""
    place = Place(config.path)
    errors = mistakes(FileTable, config.table, place)
    yield from errors
    wrong_tables = {error.path[0] for error in errors if error.path}
    if "serve" not in wrong_tables:
        try:
            _ = config.serve
        except ConfigError as error:
            yield error
    online = None if "online" in wrong_tables else config.online
    if online is not None and bundle is not None:
        yield from config.open_minutes_mistakes(bundle.item_types)
    if online is not None and online.screen is not None:
        try:
            read_settings(config.path.parent / online.screen)
        except KarecError as error:
            yield place["online"]["screen"].refusal(error)


def _build_mistakes(config: Config, name: str, bundle: Bundle) -> Iterator[ConfigError]:
    try:
        errors = list(refused_steps(config, name, bundle))
        yield from errors
        if not errors:
            build_cascade(config, name, bundle).close()
    except ConfigError as error:
        yield error
    except KarecError as error:
        yield Place(config.path)["scenes"][name].refusal(error)


def scene_mistakes(config: Config, name: str) -> list[ConfigError]:
    """Returns the mistakes of a scene that show without a bundle."""
    errors: list[ConfigError] = []
    if not _remove_wrong_changes(config, name, errors):
        return errors
    scene = config.read_scene(name, errors)
    place = scene.place
    for key, role in (("query", QueryHydrator), ("recall", Source), ("side_effects", SideEffect)):
        errors += _step_mistakes(getattr(scene, key), (role,), place[key])
    for i, stage in enumerate(scene.stages):
        errors += mistakes(StageTable, stage, place["stages"][i])
        for key in ("steps", "fallback"):
            steps = stage.get(key)
            if steps is not None and steps is not False:
                errors += _step_mistakes(steps, STAGE_ROLES, place["stages"][i][key])
    if scene.exposure is not None:
        errors += mistakes(ExposureSettings, scene.exposure, place["exposure"])
    if scene.mix is not None and not errors:
        errors += mix_mistakes(config, scene)
    if not scene.recall and not errors:
        errors.append(place["recall"].refusal("a scene needs at least one source"))
    return errors or list(_wiring_mistakes(scene))


def _remove_wrong_changes(config: Config, name: str, errors: list[ConfigError]) -> bool:
    """Removes changes of entries that are not inherited from the scenes, and adds them to `errors`.

    Returns False if the scene, or one that it inherits, cannot be read at all.
    """
    while True:
        try:
            config.inherited(name)
        except ConfigError as error:
            error.path = error.path or ("scenes", name)
            errors.append(error)
            table: Any = config.scenes
            for key in error.path[1:-1]:
                table = table[key] if isinstance(table, dict) and key in table else None
            if len(error.path) < 4 or not isinstance(table, dict) or error.path[-1] not in table:
                return False
            del table[error.path[-1]]
        else:
            return True


def _step_mistakes(steps: object, roles: tuple[type[Step], ...], place: Place) -> list[ConfigError]:
    try:
        tables = read_tables(steps, place)
    except ConfigError as error:
        return [error]
    return [error for i, table in enumerate(tables) for error in step_mistakes(table, roles, place[i])]


def _wiring_mistakes(scene: Scene) -> Iterator[ConfigError]:
    """Yields the mistakes of the chain of steps. Needs that a step finds while it is built are not known."""
    place = scene.place
    query, recall, side_effects = (
        [make_unbuilt_step(table, place[key][i]) for i, table in enumerate(tables)]
        for key, tables in (
            ("query", scene.query),
            ("recall", scene.recall),
            ("side_effects", scene.side_effects),
        )
    )
    sources = [source for source in recall if isinstance(source, Source)]
    merger: Any = object.__new__(step_classes()["merge"])
    merger.name, merger.limit = "merge", scene.limit
    try:
        stages = [_unbuilt_stage(stage, place["stages"][i]) for i, stage in enumerate(scene.stages)]
    except ConfigError as error:
        yield error
        return
    if scene.exposure is not None and stages:
        stages[-1] = with_exposure_control(stages[-1], build_exposure_step("exposure_control", None))
        side_effects = [build_exposure_step("exposure_counter", None), *side_effects]
        if scene.exposure.get("explore"):
            sources = [build_exposure_step("underexposed", None), *sources]
    yield from wiring_mistakes(query, sources, merger, stages, side_effects, place)


def _unbuilt_stage(table: Mapping[str, Any], place: Place) -> Stage:
    entries: Sequence[Any] = table.get("steps", [])
    steps = tuple(make_unbuilt_step(entry, place["steps"][i]) for i, entry in enumerate(entries))
    fallback = None
    if table.get("fallback", False) is not False:
        fallback = match_fallback(
            entries, steps, table["fallback"], lambda entry, _: make_unbuilt_step(entry, place["fallback"])
        )
    return construct(Stage, {"name": table["name"], "steps": steps, "fallback": fallback}, place)
