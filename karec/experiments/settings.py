"""Reads and checks an experiments.toml. The key `experiments` of karec.toml names the file.

    [layers.diversity]
    salt = "2026-diversity"
    unit = "user"                              # or "session", "creator"
    paths = ["scenes.home.rerank.dpp"]         # paths that its experiments may patch, with all keys below

    [experiments.dpp]
    layer = "diversity"
    start = 2026-12-01T00:00:00Z
    end = 2026-12-15T00:00:00Z
    coverage = 0.2                             # fraction of the units that are in an arm
    holdout = 0.05                             # fraction of all units that no experiment of the layer changes
    debug = { "user-7" = "diverse" }           # arms of test units, which do not count
    interleave = false                         # true: each page has items of both arms
    arms.control.weight = 0.5
    arms.diverse = { weight = 0.5, patches = { "scenes.home.rerank.dpp.diversity" = 0.8 } }

A path is `scenes.SCENE.` and the place of a step as traces name it (`rerank.dpp`, `recall.popular`,
`query.user_tower`) or a key of the scene (`limits.prerank`, `consumed`, `show_again`), then perhaps a key of
the step. `karec.experiments.metrics` has the table `metrics` of an experiment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from karec.errors import ConfigError, nearest
from karec.experiments.metrics import Metrics
from karec.files import write_text_aside
from karec.toml import Count, Fraction, Place, Settings, convert, read_toml, toml_lines, with_lines

HOLDOUT = "holdout"  # the arm of units of the holdout
INTERLEAVED = "interleaved"  # the arm of requests whose page has items of both arms
BY_CREATOR = "by_creator"  # the arm of requests in which each item has the arm of its creator
RESERVED_ARMS = (HOLDOUT, INTERLEAVED, BY_CREATOR)
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # logs join names with "=" and ";"

Moment = Annotated[datetime, Meta(tz=True)]
Unit = Literal["user", "session", "creator"]
BUNDLE = "bundle"  # the path of a layer whose arms may name a bundle


class Layer(Settings, frozen=True):
    """Parameters that at most one experiment at a time patches."""

    salt: Annotated[str, Meta(min_length=1)]
    paths: tuple[str, ...]
    unit: Unit = "user"


class Arm(Settings, frozen=True):
    """Changes of the scenes of karec.toml for a fraction of the units, `weight`.

    `patches`: {path: value}. `bundle`: the folder that scenes are built from, relative to karec.toml; None:
    the bundle of karec.toml.
    """

    weight: Fraction
    patches: Mapping[str, Any] = {}
    bundle: Annotated[str, Meta(min_length=1)] | None = None

    @property
    def changes(self) -> Mapping[str, Any]:
        """`patches`, and the bundle if there is one."""
        return self.patches if self.bundle is None else {**self.patches, BUNDLE: self.bundle}


class Experiment(Settings, frozen=True):
    """Arms of one layer from `start` to `end`. Another `version` assigns all units again.

    `interleave`: on the pages of all units, both arms place items in turns.
    """

    layer: str
    start: Moment
    end: Moment
    arms: Mapping[str, Arm]
    version: Count = 1
    coverage: Fraction = 1.0
    holdout: Fraction = 0.0
    debug: Mapping[str, str] = {}
    metrics: Metrics | None = None
    interleave: bool = False

    @property
    def control(self) -> str:
        """The arm that others are compared with: the first one that changes nothing, else the first one."""
        unchanged = [arm for arm, table in self.arms.items() if not table.changes]
        return [*unchanged, *self.arms][0]

    @property
    def scenes(self) -> set[str]:
        """Names of the scenes that arms patch."""
        paths = [path for arm in self.arms.values() for path in arm.patches]
        return {path.split(".")[1] for path in paths if path.count(".")}

    def state(self, now: datetime) -> Literal["planned", "running", "ended"]:
        if now < self.start:
            return "planned"
        return "running" if now < self.end else "ended"


class Experiments(Settings, frozen=True):
    """An experiments.toml."""

    layers: Mapping[str, Layer]
    experiments: Mapping[str, Experiment] = {}

    def seed(self, name: str) -> str:
        """Returns the seed of the hash for the experiment `name`: SALT.NAME.VERSION."""
        experiment = self.experiments[name]
        return f"{self.layers[experiment.layer].salt}.{name}.{experiment.version}"

    def holdout_seed(self, name: str) -> str:
        """Returns the seed of the hash for the holdout of the layer of the experiment `name`."""
        return f"{self.layers[self.experiments[name].layer].salt}.{HOLDOUT}"


def read_experiments(path: Path) -> Experiments:
    """Returns the experiments of the file. Raises ConfigError with one line for each mistake."""
    place = Place(path)
    experiments = convert(Experiments, read_toml(path), place)
    errors = [*_layer_mistakes(experiments, place["layers"])]
    for name, experiment in experiments.experiments.items():
        errors += _experiment_mistakes(experiments, name, experiment, place["experiments"][name])
    errors += _time_mistakes(experiments, place["experiments"])
    if errors:
        raise with_lines(errors, path)
    return experiments


def end_experiment(path: Path, name: str, now: datetime) -> str:
    """Sets the end of an experiment to `now` in the file, which services follow. Returns the new line.

    If the experiment has ended, its end stays and the result names it. Raises ConfigError if the file has
    mistakes, or if the line of `end` has other keys.
    """
    end = read_experiments(path).experiments[name].end
    if end <= now:
        return f"{path}: {name} has ended at {end}"
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    number = toml_lines(text)["experiments", name, "end"] - 1
    new_end = f"end = {now:%Y-%m-%dT%H:%M:%SZ}"
    new_line, n = re.subn(r"^\s*end\s*=[^#,]*?(?=\s*(#|$))", new_end, lines[number], count=1)
    if not n:
        raise ConfigError(f"{path}:{number + 1}: end is not alone on its line. Set it to the present time.")
    lines[number] = new_line
    write_text_aside(path, "".join(lines))
    return f"{path}:{number + 1}: {new_line.strip()}"


def is_inside(path: str, owner: str) -> bool:
    """Returns True if `path` is `owner` or below it."""
    return f"{path}.".startswith(f"{owner}.")


def _layer_mistakes(experiments: Experiments, place: Place) -> Iterator[ConfigError]:
    for (one, first), (other, second) in combinations(experiments.layers.items(), 2):
        if first.salt == second.salt:
            yield place[other].refusal(f"salt is that of the layer {one!r}, expected another one", "salt")
        for path in second.paths:
            for owned in first.paths:
                if is_inside(path, owned) or is_inside(owned, path):
                    yield place[other].refusal(
                        f"the path {path!r} overlaps with {owned!r} of the layer {one!r}", "paths"
                    )


def _experiment_mistakes(
    experiments: Experiments, name: str, experiment: Experiment, place: Place
) -> Iterator[ConfigError]:
    for text in (name, *experiment.arms):
        if not NAME.fullmatch(text) or text in RESERVED_ARMS:
            yield place.refusal(f"the name {text!r} is reserved, or not of 1 to 64 letters, digits, - and _")
    if experiment.end <= experiment.start:
        yield place.refusal(f"end is {experiment.end}, expected after the start, {experiment.start}", "end")
    total = sum(arm.weight for arm in experiment.arms.values())
    if not math.isclose(total, 1, abs_tol=1e-9):
        yield place.refusal(f"the weights of the arms add up to {total:g}, expected 1", "arms")
    for unit_id, arm in experiment.debug.items():
        if arm not in experiment.arms:
            yield place["debug"].refusal(f"no arm {arm!r}{nearest(arm, experiment.arms)}", unit_id)
    if not any(arm.changes for arm in experiment.arms.values()):
        yield place.refusal("no arm has patches. An A/A test patches a parameter with its own value.", "arms")
    if experiment.interleave and [arm.weight for arm in experiment.arms.values()] != [0.5, 0.5]:
        n_arms = len(experiment.arms)
        yield place.refusal(
            f"{n_arms} arms, expected two of weight 0.5: both place items on each page", "interleave"
        )
    if experiment.layer not in experiments.layers:
        layers = experiments.layers
        yield place.refusal(f"no layer {experiment.layer!r}{nearest(experiment.layer, layers)}", "layer")
        return
    unit = experiments.layers[experiment.layer].unit
    if experiment.interleave and unit == "creator":
        yield place.refusal("true in a layer by creator, expected a layer by user or session", "interleave")
    owned = experiments.layers[experiment.layer].paths
    for arm, table in experiment.arms.items():
        if table.bundle and (BUNDLE not in owned or experiment.interleave or unit == "creator"):
            message = (
                f"expected a layer by user or session with {BUNDLE!r} in its paths, and interleave = false"
            )
            yield place["arms"][arm].refusal(f"bundle = {table.bundle!r}, {message}", BUNDLE)
        for path in table.patches:
            if not any(is_inside(path, owner) for owner in owned if owner != BUNDLE):
                patches = place["arms"][arm]["patches"]
                yield patches.refusal(f"{path} is not in its layer {experiment.layer!r}: {list(owned)}", path)


def _time_mistakes(experiments: Experiments, place: Place) -> Iterator[ConfigError]:
    layers = experiments.layers
    for (one, first), (other, second) in combinations(experiments.experiments.items(), 2):
        if first.start >= second.end or second.start >= first.end:
            continue
        if first.layer == second.layer:
            yield place[other].refusal(
                f"runs at the same time as {one!r} in the layer {first.layer!r}. Make them arms of one "
                "experiment, or use another layer.",
                "start",
            )
        elif {first.layer, second.layer} <= layers.keys() and first.scenes & second.scenes:
            units = layers[first.layer].unit, layers[second.layer].unit
            if (first.interleave and second.interleave) or units == ("creator", "creator"):
                kind = "interleaved" if first.interleave else "by creator"
                yield place[other].refusal(
                    f"runs at the same time as {one!r}, expected one experiment {kind} in a scene", "start"
                )
