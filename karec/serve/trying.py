"""The same request with other settings: a scene without some of its steps, or with another diversity.

A selector that is left out is one that keeps its number of works by score alone (``top_k``), so that the stages behind
it get as many as before; any other step is left out, and what cannot be built without it is refused in the words of
``karec.toml``'s own checks. The diversity is that of the last stage whose steps have one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any

from karec._toml import nearest, parameters
from karec.bundle import Bundle
from karec.config import Cascade
from karec.config.assemble import build_cascade
from karec.config.registry import STEPS, imported
from karec.config.scenes import Config
from karec.errors import ConfigError
from karec.serve import wire
from karec.serve.problems import ProblemError
from karec.stage import Selector

KEPT = 16  # cascades that were tried of late


class Trying:
    """Of one reading of ``karec.toml`` on one version. Any thread may call it; one builds at a time."""

    def __init__(self, config: Config, cascades: Mapping[str, Cascade]) -> None:
        self._config, self._cascades = config, cascades
        self._lock = Lock()
        self._built: OrderedDict[tuple[Any, ...], Cascade] = OrderedDict()

    def cascade(self, scene: str, wanted: wire.Try, place: str) -> Cascade:
        """Without observers. ProblemError 422, with the field behind ``place``: nothing like it can be built."""
        key = scene, wanted.diversity, tuple(sorted(wanted.without))
        with self._lock:
            if key not in self._built:
                self._built[key] = self._build(scene, wanted, place)
                if len(self._built) > KEPT:
                    self._built.popitem(last=False)
            self._built.move_to_end(key)
            return self._built[key]

    def diversities(self, scene: str) -> dict[str, float]:
        """{"stage.step": its diversity} of the steps that have one."""
        stages = self._config.inherited(scene)[0].get("stages", ())
        return {
            f"{stage['name']}.{_name(step)}": step.get("diversity", _default(step))
            for stage in stages
            for step in stage["steps"]
            if has_diversity(step)
        }

    def _build(self, scene: str, wanted: wire.Try, place: str) -> Cascade:
        serving = self._cascades[scene]
        bundle = serving.bundle if isinstance(serving.bundle, Bundle) else getattr(serving.bundle, "bundle", None)
        table, _ = self._config.inherited(scene)
        table = {key: value for key, value in table.items() if key != "inherits"}
        table["stages"] = _changed(table["stages"], wanted, place)
        scenes = {**self._config.scenes, scene: table}
        config = Config(self._config.path, scenes, {**self._config.table, "scenes": scenes})
        try:
            return replace(build_cascade(config, scene, bundle, serving.live), observers=())
        except ConfigError as error:
            raise ProblemError(422, str(error).removeprefix(f"{config.path}: "), f"{place}try") from error


def _changed(stages: Sequence[Mapping[str, Any]], wanted: wire.Try, place: str) -> list[dict[str, Any]]:
    names = [f"{stage['name']}.{_name(step)}" for stage in stages for step in stage["steps"]]
    for i, name in enumerate(wanted.without):
        if name not in names:
            why = f"no step {name[:64]!r}{nearest(name, names)}; there are {names}"
            raise ProblemError(422, why, f"{place}try.without[{i}]")
    varied = [stage["name"] for stage in stages if any(has_diversity(step) for step in stage["steps"])]
    if wanted.diversity is not None and not varied:
        raise ProblemError(422, "no step of the scene has a diversity", f"{place}try.diversity")
    changed = []
    for stage in stages:
        steps = []
        for step in stage["steps"]:
            if f"{stage['name']}.{_name(step)}" in wanted.without:
                steps += _instead(step)
            elif wanted.diversity is not None and stage["name"] == varied[-1] and has_diversity(step):
                steps.append({**step, "diversity": wanted.diversity})
            else:
                steps.append(step)
        changed.append({**stage, "steps": steps})
    return changed


def _instead(step: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not _is(step, Selector):
        return []
    return [{"use": "top_k", "name": _name(step), **({"k": step["k"]} if "k" in step else {})}]


def has_diversity(step: Mapping[str, Any]) -> bool:
    return step["use"] in STEPS and "diversity" in parameters(imported(STEPS[step["use"]]))


def _default(step: Mapping[str, Any]) -> float:
    default: float = parameters(imported(STEPS[step["use"]]))["diversity"].default
    return default


def _is(step: Mapping[str, Any], role: type[Any]) -> bool:
    return step["use"] in STEPS and issubclass(imported(STEPS[step["use"]]), role)


def _name(step: Mapping[str, Any]) -> str:
    name: str = step.get("name", step["use"].rsplit(":", 1)[-1])
    return name
