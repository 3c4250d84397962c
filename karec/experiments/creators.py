"""Assigns creators to the arms of an experiment by creator. A report recomputes the arms of logged items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from karec.experiments.assignment import N_BUCKETS, choose_arms, fnv32a, unit_buckets
from karec.experiments.settings import HOLDOUT, Experiments

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class CreatorAssignment:
    """Arms of creators. Any thread may call.

    weights       {arm: weight}, in the order of the file
    debug         {creator: arm}
    seed          hash of the bytes of the experiment's seed
    holdout_seed  hash of the bytes of the seed of its layer's holdout
    """

    weights: Mapping[str, float]
    coverage: float
    holdout: float
    debug: Mapping[int, str]
    seed: int
    holdout_seed: int

    @classmethod
    def from_settings(cls, experiments: Experiments, name: str) -> CreatorAssignment:
        """Returns the assignment of the experiment ``name``. A debug id that is not a number is left out."""
        experiment = experiments.experiments[name]
        return cls(
            {arm: table.weight for arm, table in experiment.arms.items()},
            experiment.coverage,
            experiment.holdout,
            {int(unit): arm for unit, arm in experiment.debug.items() if unit.isdecimal()},
            fnv32a(experiments.seed(name).encode()),
            fnv32a(experiments.holdout_seed(name).encode()),
        )

    def arms(self, creator_ids: Int64, *, with_debug: bool = False) -> NDArray[np.object_]:
        """Returns (N,) object: the name of each creator's arm, HOLDOUT, or "" for creators in no arm.

        The hash reads the decimal digits of the id; if ids are texts, the digits of their numbers. A creator
        with an id below 0 is in no arm. Cost: about 1 µs for each creator.

        Args:
            creator_ids: (N,) int64.
            with_debug: True: debug creators have their arm. False: they have "", since they do not count.
        """
        ids = np.asarray(creator_ids, np.int64)
        names = np.array([*self.weights, ""], object)
        arms = names[choose_arms(unit_buckets(self.seed, ids), [*self.weights.values()], self.coverage)]
        if self.holdout:
            arms[unit_buckets(self.holdout_seed, ids) < self.holdout * N_BUCKETS] = HOLDOUT
        for creator, arm in self.debug.items():
            arms[ids == creator] = arm if with_debug else ""
        arms[ids < 0] = ""
        return arms
