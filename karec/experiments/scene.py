"""Chooses the arms of a request, and the pipeline that has their patches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from karec.experiments.assignment import N_BUCKETS, choose_arm, unit_bucket
from karec.experiments.settings import BY_CREATOR, HOLDOUT, INTERLEAVED, Experiment, Unit
from karec.pipeline.cascade import ArmChoice, Cascade
from karec.pipeline.trace import MISSING_ARMS, StepTrace
from karec.pipeline.types import Request

UNKNOWN_ARM = "an unknown arm of the caller"


@dataclass(frozen=True)
class SceneExperiment:
    """One experiment in a scene that its arms patch.

    seed          hash of the bytes of the experiment's seed
    holdout_seed  hash of the bytes of the seed of its layer's holdout
    built         arms that have a pipeline in this scene
    missing       {arm that cannot be built from the bundle: reason}
    rank_stages   values of `first_stage` with which a request with `item_ids` reaches a patched step
    """

    name: str
    settings: Experiment
    unit: Unit
    seed: int
    holdout_seed: int
    built: frozenset[str]
    missing: Mapping[str, str]
    rank_stages: frozenset[str]

    @cached_property
    def weights(self) -> dict[str, float]:
        """{arm: weight}, in the order of the file."""
        return {arm: table.weight for arm, table in self.settings.arms.items()}

    def runs_at(self, time_ms: float) -> bool:
        return self.settings.start.timestamp() * 1e3 <= time_ms < self.settings.end.timestamp() * 1e3

    def arm_of(self, unit_id: str) -> str | None:
        """Returns the arm of a unit, HOLDOUT, or None if it is in no arm or its id is empty."""
        if not unit_id:
            return None
        settings = self.settings
        if unit_id in settings.debug:
            return settings.debug[unit_id]
        if settings.holdout and unit_bucket(self.holdout_seed, unit_id) < settings.holdout * N_BUCKETS:
            return HOLDOUT
        position = choose_arm(unit_bucket(self.seed, unit_id), self.weights.values(), settings.coverage)
        return None if position < 0 else [*self.weights][position]

    def arm_of_request(self, request: Request) -> str | None:
        """Returns the arm of the unit, INTERLEAVED for a page of both arms, or BY_CREATOR."""
        if self.unit == "creator":
            return BY_CREATOR
        unit_id = self.unit_id(request)
        arm = self.arm_of(unit_id)
        is_in_both = self.settings.interleave and arm in self.weights and unit_id not in self.settings.debug
        return INTERLEAVED if is_in_both else arm

    def unit_id(self, request: Request) -> str:
        return request.session_id if self.unit == "session" else str(request.user_id)

    def is_arm(self, name: str) -> bool:
        """Returns True if a request can be in the arm `name`."""
        if self.unit == "creator":
            return name == BY_CREATOR
        is_of_both = name == INTERLEAVED and self.settings.interleave
        return name in self.weights or name == HOLDOUT or is_of_both


@dataclass(frozen=True)
class SceneExperiments:
    """The experiments that patch one scene. Any thread may call.

    experiments  in the order of the file
    pipelines    {the arm of each experiment, "" for control: the cascade with their patches}
    names        of all experiments of the file, also those of other scenes
    """

    experiments: tuple[SceneExperiment, ...]
    pipelines: Mapping[tuple[str, ...], Cascade]
    names: frozenset[str]

    @property
    def missing(self) -> dict[str, str]:
        """{EXPERIMENT.ARM that cannot be built from the bundle: reason}."""
        return {f"{one.name}.{arm}": why for one in self.experiments for arm, why in one.missing.items()}

    def choose(self, request: Request) -> ArmChoice:
        """Returns the arms of a request that has the platform's ids. Cost: a few µs for each experiment.

        `request.arms` replaces the assignment. An arm that is unknown, or missing in the bundle, gets control
        and is named in the page. Requests count equally in all arms: only their scene, stages and unit
        decide. Items of the caller are not interleaved.
        """
        start_s = time.perf_counter()
        time_ms = time.time() * 1e3 if request.time_ms is None else request.time_ms
        given = request.arms
        arms: dict[str, str] = {}
        counted: dict[str, str] = {}
        # A fixed text for unknown names: each text becomes a label of a metric.
        missing = [] if given is None or given.keys() <= self.names else [UNKNOWN_ARM]
        interleaved: tuple[int, SceneExperiment] | None = None
        key = []
        for i, experiment in enumerate(self.experiments):
            key.append("")
            if not experiment.runs_at(time_ms):
                continue
            name = experiment.name
            arm = experiment.arm_of_request(request) if given is None else given.get(name)
            if arm is None or (arm == INTERLEAVED and request.item_ids is not None):
                continue
            if not experiment.is_arm(arm):
                missing.append(UNKNOWN_ARM)
                continue
            arms[name] = arm
            is_of_all = arm in (INTERLEAVED, BY_CREATOR)
            lacking = [other for other in experiment.missing if is_of_all or other == arm]
            missing += [f"{name}.{other}" for other in lacking]
            if arm == INTERLEAVED and not lacking:
                interleaved = i, experiment
            elif arm in experiment.built:
                key[-1] = arm
            is_debug = given is None and experiment.unit_id(request) in experiment.settings.debug
            is_reached = request.item_ids is None or request.first_stage in experiment.rank_stages
            if is_reached and not is_debug:
                counted[name] = arm
        trace = None
        if arms or missing:
            notes = {"arms": arms, MISSING_ARMS: tuple(dict.fromkeys(missing))}
            ms = (time.perf_counter() - start_s) * 1e3
            trace = StepTrace("request", "experiments", "experiments", 0, -1, ms, notes=notes)
        teams = {} if interleaved is None else self._teams(key, *interleaved)
        return ArmChoice(self.pipelines[tuple(key)], counted, trace, teams)

    def _teams(self, key: Sequence[str], i: int, experiment: SceneExperiment) -> dict[str, Cascade]:
        """Returns {arm: pipeline} of both arms of the experiment at `i`. The other experiments keep `key`."""
        arms = {arm: arm if arm in experiment.built else "" for arm in experiment.weights}
        return {arm: self.pipelines[(*key[:i], own, *key[i + 1 :])] for arm, own in arms.items()}
