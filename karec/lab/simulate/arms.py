"""The arms of a simulation, from a TOML file.

    train_every = 4                      # days between two trainings; 0: no training after the first
    satiation = 1.0                      # scale of satiation; 0: none
    returns = 1.0                        # scale of the effect of enjoyment on sessions; 0: none
    baseline = "rules only"              # of the report; default: the first arm
    pair = ["no diversity", "DPP"]       # arms without and with diversity, marked in the report's charts

    [scene]                              # of all arms: changed keys of the scene in the starting karec.toml
    limits.recall = 10_000

    [learn]                              # of all arms: settings of karec train
    towers.epochs = 3

    [[arms]]
    name = "no diversity"
    scene.stages.prerank.steps.dpp = false     # changes of this arm; or config = "other/karec.toml"
    learn.distil.recipe = "hard"               # changed settings of training

If ``limits.recall`` is given, the quotas of sources are the template's fractions of it, unless a scene
changes them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from karec.catalog.snapshot import Snapshot
from karec.config.scenes import Config
from karec.config.templates import home_scene_text, sized_quotas
from karec.errors import ConfigError, nearest
from karec.lab.simulate.sessions import SCENE
from karec.toml import Place, convert, read_toml

# Built-in arms files.
SETS = (
    "prerank", "diversity", "exposure", "fairness", "random", "demo",
    "policy", "headline", "rankers", "baselines", "long",
)  # fmt: skip
MODELS = "models"  # folder of first trainings, beside the folders of arms
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]{0,60}")


@dataclass(frozen=True)
class Arm:
    """One cascade to simulate.

    ``scene``: changes of the scene; ``learn``: changes of the training settings; ``config``: a karec.toml,
    relative to the arms file, instead of the starting one and all changes.
    """

    name: str
    scene: Mapping[str, Any] = field(default_factory=dict)
    learn: Mapping[str, Any] = field(default_factory=dict)
    config: str | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or self.name == MODELS:
            raise ValueError(
                f"name is {self.name!r}, expected letters, digits, space, _ . + - and not {MODELS!r}: it "
                "names a folder"
            )
        if self.config is not None and self.scene:
            raise ValueError(
                f"arm {self.name!r} has a config and a scene. Change the scene in {self.config}."
            )


@dataclass(frozen=True)
class Arms:
    """An arms file. ``baseline``: the arm that others are compared with, None for the first; ``pair``: an arm
    without and one with diversity, marked in the charts.
    """

    arms: tuple[Arm, ...]
    scene: Mapping[str, Any] = field(default_factory=dict)
    learn: Mapping[str, Any] = field(default_factory=dict)
    train_every: int = 4
    satiation: float = 1.0
    returns: float = 1.0
    baseline: str | None = None
    pair: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if not names:
            raise ValueError("no arms. An arm is a table [[arms]] with a name.")
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise ValueError(f"arm {repeated[0]!r} appears twice; the name is its folder")
        for name in (*filter(None, [self.baseline]), *(self.pair or ())):
            if name not in names:
                raise ValueError(f"baseline and pair: {name!r} is not an arm{nearest(name, names)}")
        if self.pair is not None and self.pair[0] == self.pair[1]:
            raise ValueError(
                f"pair is {self.pair[0]!r} twice, expected an arm without and one with diversity"
            )
        if not 0.0 <= self.returns <= 2.0:
            raise ValueError(f"returns is {self.returns}, expected a scale in [0, 2]")
        if self.train_every < 0:
            raise ValueError(f"train_every is {self.train_every}, expected a number of days, or 0 for never")

    def only(self, names: Sequence[str]) -> Arms:
        """Returns only these arms. Raises ConfigError for an unknown name."""
        arm_names = [arm.name for arm in self.arms]
        for name in names:
            if name not in arm_names:
                raise ConfigError(
                    f"--only: {name!r} is not an arm of the file{nearest(name, arm_names)}; "
                    f"it has {arm_names}"
                )
        pair = self.pair if self.pair is not None and {*self.pair} <= {*names} else None
        arms = tuple(arm for arm in self.arms if arm.name in names)
        return replace(self, arms=arms, baseline=self.baseline if self.baseline in names else None, pair=pair)

    def settings_of(self, arm: Arm) -> dict[str, Any]:
        """Returns the training settings as nested tables: the arm's own over the common ones."""
        return _merge_tables(self.learn, arm.learn)

    def config_of(
        self, arm: Arm, path: Path, folder: Path, snapshot: Snapshot, weights: Mapping[str, float]
    ) -> Config:
        """Returns the config of ``arm``, to be stored at ``path`` beside its folder ``bundles``.

        ``folder``: that of the arms file; ``weights``: weights of the tasks, for a starting config.
        """
        if arm.config is not None:
            config = Config.read(folder / arm.config)
            return Config(path, config.scenes, {**config.table, "bundle": "bundles"})
        start = tomllib.loads(home_scene_text(SCENE, snapshot, weights))["scenes"][SCENE]
        base = tomllib.loads(files("karec.lab.simulate").joinpath("sets/scene.toml").read_text("utf-8"))
        layers = {"start": start, "base": base, "all": dict(self.scene), SCENE: dict(arm.scene)}
        recall = [_recall_of(arm, layer) for layer in layers.values() if "recall" in _limits_of(arm, layer)]
        sources = {entry["use"] for entry in start["recall"]}
        quotas = {
            name: {"quota": quota} for name, quota in sized_quotas(recall[-1]).items() if name in sources
        }
        scenes, parent = {"start": start}, "start"
        for name, changes in (("pool", {"recall": quotas}), *list(layers.items())[1:]):
            scenes[name] = {"inherits": parent, **changes}
            parent = name
        return Config(path, scenes, {"bundle": "bundles", "scenes": scenes})


def read_arms(path: str | Path) -> Arms:
    """Reads an arms file or one of SETS.

    Raises ConfigError for an unknown key, a wrong value or a repeated name.
    """
    if str(path) in SETS and not Path(path).is_file():
        path = Path(str(files("karec.lab.simulate").joinpath(f"sets/{path}.toml")))
    elif not Path(path).suffix and not Path(path).exists():
        raise ConfigError(
            f"{path} is not a file or a built-in set{nearest(str(path), SETS)}; sets are {', '.join(SETS)}"
        )
    return convert(Arms, read_toml(Path(path)), Place(Path(path)))


def _limits_of(arm: Arm, layer: Mapping[str, Any]) -> Mapping[str, Any]:
    limits = layer.get("limits", {})
    if not isinstance(limits, Mapping):
        raise ConfigError(f"arm {arm.name!r}: scene.limits = {limits!r}, expected a table of limits")
    return limits


def _recall_of(arm: Arm, layer: Mapping[str, Any]) -> int:
    recall = layer["limits"]["recall"]
    if type(recall) is not int or recall <= 0:
        raise ConfigError(f"arm {arm.name!r}: scene.limits.recall = {recall!r}, expected a number of works")
    return recall


def _merge_tables(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge_tables(merged[key], value) if both else value
    return merged
