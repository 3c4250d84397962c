"""The table `mix` of a scene: other item types on its pages, each by the scene that finds and orders them.

[scenes.following.mix]
scenes = { live = "live", song = "song_request" }   # {item type: scene}; the own type needs no entry
calibration = "calibration.json"                    # written by karec calibrate
positions = { live = [0] }                          # places from 0 that are reserved for the type
caps = { live = 0.3 }                               # at most ⌊0.3 · k⌋ items of a page of k
guarantees = { song = 0.1 }                         # at least ⌈0.1 · k⌉ items
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from karec.config.scenes import WORKS, Config, Scene
from karec.errors import ConfigError, nearest
from karec.pipeline.cascade import Cascade, MixedPart
from karec.pipeline.mix import ScoreCalibration, TypeShare
from karec.toml import Fraction, NonNegativeInt, Settings, convert, mistakes

CALIBRATION = "calibration.json"


class MixSettings(Settings, frozen=True):
    """Item types of a page, with their scenes, reserved positions, caps and guarantees."""

    scenes: Mapping[str, str]
    calibration: str = CALIBRATION
    positions: Mapping[str, tuple[NonNegativeInt, ...]] = {}
    caps: Mapping[str, Fraction] = {}
    guarantees: Mapping[str, Fraction] = {}


def read_mix(config: Config, scene: Scene, build: Callable[[str], Cascade]) -> dict[str, MixedPart]:
    """Returns {item type: part} of the pages of `scene`, its own type first; empty without a table `mix`.

    `build` returns the cascade of a scene. Raises ConfigError for the first mistake.
    """
    if scene.mix is None:
        return {}
    scenes = scenes_by_type(config, scene)
    errors: list[ConfigError] = []
    calibrations = _read_calibrations(config, scene, scenes, errors)
    for error in errors:
        raise error
    settings = convert(MixSettings, scene.mix, scene.place["mix"])
    parts = {}
    for item_type, name in scenes.items():
        share = TypeShare(
            settings.positions.get(item_type, ()),
            settings.caps.get(item_type, 1.0),
            settings.guarantees.get(item_type, 0.0),
        )
        cascade = None if name == scene.name else build(name)
        parts[item_type] = MixedPart(cascade, calibrations[item_type], share)
    return parts


def scenes_by_type(config: Config, scene: Scene) -> dict[str, str]:
    """Returns {item type: scene that finds its items}, the own type first.

    Raises ConfigError for a mistake other than a missing calibration, or without a table `mix`.
    """
    if scene.mix is None:
        raise scene.place.refusal(
            "no table mix. Name the scenes of other item types: mix = { scenes = { … } }"
        )
    for error in (*mistakes(MixSettings, scene.mix, scene.place["mix"]), *_table_mistakes(config, scene)):
        raise error
    return {scene.item_type or WORKS: scene.name, **scene.mix["scenes"]}


def mix_mistakes(config: Config, scene: Scene) -> list[ConfigError]:
    """Returns the mistakes of the table `mix` of `scene`, or else those of its calibrations."""
    errors = mistakes(MixSettings, scene.mix, scene.place["mix"]) or [*_table_mistakes(config, scene)]
    if not errors:
        _read_calibrations(config, scene, scenes_by_type(config, scene), errors)
    return errors


def mixed_scenes(config: Config) -> set[str]:
    """Returns the scenes of mixed pages and those that find items for them. Mistakes are left out."""
    tables = {scene: config.inherited(scene)[0].get("mix") for scene in config.scenes}
    mixes = {scene: mix for scene, mix in tables.items() if isinstance(mix, dict)}
    return {*mixes, *(part for mix in mixes.values() for part in dict(mix.get("scenes", {})).values())}


def calibration_texts(config: Config) -> tuple[bytes, ...]:
    """Returns the content of the calibration files of all scenes; of a file that cannot be read: empty."""
    tables = [scene.get("mix") for scene in config.scenes.values() if isinstance(scene, dict)]
    names = {str(mix.get("calibration", CALIBRATION)) for mix in tables if isinstance(mix, dict)}
    paths = [config.path.parent / name for name in sorted(names)]
    return tuple(path.read_bytes() if path.is_file() else b"" for path in paths)


def _table_mistakes(config: Config, scene: Scene) -> Iterator[ConfigError]:
    place, own = scene.place["mix"], scene.item_type or WORKS
    settings = convert(MixSettings, scene.mix, place)
    for item_type, name in settings.scenes.items():
        message = _scene_mistake(config, scene, item_type, name)
        if message:
            yield place["scenes"].refusal(f"{item_type} = {name!r}: {message}", item_type)
    types = {own, *settings.scenes}
    for key in ("positions", "caps", "guarantees"):
        for item_type in [name for name in getattr(settings, key) if name not in types]:
            message = f"{item_type!r} has no scene here{nearest(item_type, types)}; types are {sorted(types)}"
            yield place[key].refusal(message, item_type)
    for item_type, guarantee in settings.guarantees.items():
        cap = settings.caps.get(item_type, 1.0)
        if cap < guarantee:
            message = f"{item_type} = {guarantee:g}, expected at most its cap {cap:g}"
            yield place["guarantees"].refusal(message, item_type)
    total = sum(settings.guarantees.values())
    if total > 1 + 1e-9:
        yield place["guarantees"].refusal(f"the guarantees add up to {total:g}, expected at most 1, a page")
    total = sum(settings.caps.get(item_type, 1.0) for item_type in types)
    if total < 1 - 1e-9:
        yield place["caps"].refusal(f"the caps add up to {total:g}, expected at least 1, a page")
    owners: dict[int, str] = {}
    for item_type, positions in settings.positions.items():
        for position in positions:
            if position in owners:
                message = f"position {position} is reserved for {owners[position]} already"
                yield place["positions"].refusal(f"{item_type}: {message}", item_type)
            owners[position] = item_type


def _scene_mistake(config: Config, scene: Scene, item_type: str, name: str) -> str:
    """Returns why the scene `name` cannot find items of `item_type` for `scene`, or an empty text."""
    own = scene.item_type or WORKS
    if name not in config.scenes:
        return f"no such scene{nearest(name, config.scenes)}; there are {sorted(config.scenes)}"
    table, _ = config.inherited(name)
    if "mix" in table:
        return "this scene is mixed itself. Name a scene of one item type"
    found = table.get("item_type", WORKS)
    if found != item_type:
        return f"this scene recommends the item type {found!r}"
    return f"{own!r} is the own item type of the scene {scene.name!r}" if item_type == own else ""


def _read_calibrations(
    config: Config, scene: Scene, scenes: Mapping[str, str], errors: list[ConfigError]
) -> Mapping[str, ScoreCalibration]:
    """Returns {item type: calibration} of `scene`, and adds the mistakes of its file to `errors`.

    `scenes`: {item type: scene}, of the types that need a calibration.
    """
    settings = convert(MixSettings, scene.mix, scene.place["mix"])
    place, path = scene.place["mix"], config.path.parent / settings.calibration
    advice = f"Run: karec calibrate {config.path} --scene {scene.name}"
    try:
        file = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, ScoreCalibration]])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        errors.append(place.refusal(f"{path} cannot be read: {error}. {advice}", "calibration"))
        return {}
    calibrations = file.get(scene.name, {})
    for item_type, name in scenes.items():
        stage = calibrations[item_type].stage if item_type in calibrations else None
        if stage not in [table.get("name") for table in config.read_scene(name, []).stages]:
            message = (
                f"{path} has no calibration of the item type {item_type!r} in a stage of {name!r}. {advice}"
            )
            errors.append(place.refusal(message, "calibration"))
    return calibrations
