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
        """Returns (N,) the arm of each creator: HOLDOUT, or "" if it is in no arm or its id is below 0.

        The hash reads the decimal digits of the id; of an id that is a text, those of its number. Cost: about
        1 µs for each creator.

        Args:
            with_debug: True: the arms that debug units get. False: "" for them, since they do not count.
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
