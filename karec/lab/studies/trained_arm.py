"""Trains the models of an arm on the log of a world, and builds cascades with them."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from karec.aggregates.advance import advance
from karec.bundle import Bundle
from karec.catalog.snapshot import Snapshot
from karec.config.assemble import build_cascade
from karec.lab.simulate.arms import MODELS, Arm, Arms
from karec.lab.simulate.nightly import first_training
from karec.lab.simulate.sessions import SCENE
from karec.lab.simulate.world import World
from karec.pipeline.cascade import Cascade
from karec.refresh.publish_run import publish
from karec.times import Progress


@dataclass(frozen=True, eq=False)
class TrainedArm:
    """A bundle of ``snapshot`` with trained models. ``home``: the arm's folder, which has the bundle."""

    world: World
    snapshot: Snapshot
    bundle: Bundle
    home: Path

    @classmethod
    def train(
        cls, world: World, arms: Arms, arm: Arm, out: Path, seed: int, progress: Progress | None = None
    ) -> TrainedArm:
        """Trains the models of ``arm`` and publishes the world at the start of its test days.

        ``out``/models has one training of each different settings; finished ones are kept. ``out``/ARM has
        the bundles of the arm.
        """
        dataset = world.dataset
        snapshot = advance(dataset.snapshot, dataset.exposures, dataset.valid_until_ms).drop_unpublished()
        home, settings = out / arm.name, arms.settings_of(arm)
        digest = hashlib.sha256(json.dumps([seed, settings], sort_keys=True).encode()).hexdigest()[:12]
        run = first_training(world, settings, seed, out / MODELS / digest)
        shutil.rmtree(home / "bundles", ignore_errors=True)
        publish(run, snapshot, home / "bundles", progress, lists=False)
        for model in run.glob("baseline_*.onnx"):  # the arm's steps may refer to them
            shutil.copyfile(model, home / model.name)
        return cls(world, snapshot, Bundle.open(home / "bundles", verify=False), home)

    def cascade(self, arms: Arms, arm: Arm, folder: Path) -> Cascade:
        """Returns the cascade of ``arm``, without side effects; ``folder``: that of the arms file."""
        objectives = self.world.dataset.objectives
        config = arms.config_of(arm, self.home / "karec.toml", folder, self.snapshot, objectives)
        return replace(build_cascade(config, SCENE, self.bundle), side_effects=(), naming=None)
