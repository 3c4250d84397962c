"""Calibrates the scores of a mixed scene from its rank logs and its online store: `karec calibrate`."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from karec.config.assemble import open_bundle
from karec.config.mix import MixSettings, scenes_by_type
from karec.config.scenes import WORKS, Config
from karec.errors import DataError
from karec.evaluate.calibration import CalibrationError, calibrate, served_outcomes
from karec.files import write_text_aside
from karec.logs.read import read_rank_log
from karec.online.read_log import read_log
from karec.times import DAY_MS
from karec.toml import convert

RANK = "rank"  # the stage that rank_log logs by default


@dataclass(frozen=True)
class CalibratedType:
    """The calibration of one item type by ``n_rows`` items that were shown in ``scene``."""

    item_type: str
    scene: str
    n_rows: int
    rate: float
    error: CalibrationError


def calibrate_scene(path: Path, name: str, *, days: float = 7.0) -> list[CalibratedType]:
    """Writes the calibrations of the scene `name` of the karec.toml at `path` into the file of its `mix`.

    The newest ``days`` of the rank logs are read. As long as the scene has too few pages with a type, those
    of the scene that finds its items are used.

    Raises ConfigError without a table `mix`, an online store or a rank log, DataError for too few outcomes.
    """
    config = Config.read(path)
    scene = config.scene(name)
    scenes = scenes_by_type(config, scene)
    if config.online is None:
        raise scene.place.refusal("outcomes are in the online store: add a table [online]")
    bundle = open_bundle(path)
    head, events = read_log(config.online.event_source(path.parent.absolute()))
    results, calibrations = [], {}
    for item_type, own_scene in scenes.items():
        folder, stage = rank_log_of(config, own_scene)
        log = read_rank_log(path.parent / folder, ())
        log = log.take(log.time_ms > log.time_ms.max() - days * DAY_MS)
        meaning = (bundle if item_type == WORKS else bundle.item_type(item_type)).snapshot.meaning
        shown_in = name
        outcomes = served_outcomes(log, head, events, shown_in, item_type, meaning)
        if not outcomes.is_enough:
            shown_in = own_scene
            outcomes = served_outcomes(log, head, events, shown_in, item_type, meaning)
        try:
            calibration, error = calibrate(outcomes, stage)
        except DataError as few:
            raise DataError(f"item type {item_type!r} in the scene {shown_in!r}: {few}") from few
        results.append(CalibratedType(item_type, shown_in, len(outcomes.score), calibration.rate, error))
        calibrations[item_type] = asdict(calibration)
    file = path.parent / convert(MixSettings, scene.mix, scene.place["mix"]).calibration
    others: dict[str, Any] = {}
    with suppress(FileNotFoundError, ValueError, msgspec.MsgspecError):  # a damaged file is replaced
        others = msgspec.json.decode(file.read_bytes(), type=dict[str, dict[str, dict[str, Any]]])
    write_text_aside(file, json.dumps({**others, name: calibrations}, indent=1) + "\n")
    return results


def rank_log_of(config: Config, name: str) -> tuple[str, str]:
    """Returns folder and stage of the rank log of the scene `name`."""
    scene = config.scene(name)
    for step in scene.side_effects:
        if step.get("use") == "rank_log":
            return str(step["folder"]), str(step.get("stage", RANK))
    raise scene.place["side_effects"].refusal("no rank_log: the command reads the scores of its pages")
