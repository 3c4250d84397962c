"""Replaces the ranker's logits by the true ones of the world: the limit of any ranker of single items."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.lab.simulate.population import Population
from karec.lab.simulate.world.tastes import SCENES, TASKS
from karec.models.onnx_model import OnnxModel
from karec.pipeline.cascade import Cascade
from karec.pipeline.step import Hydrator
from karec.pipeline.types import Array, Candidates, Request


class Oracle(Hydrator):
    """Hydrator that replaces the column ``logits`` by (1 − share) · ranker + share · truth.

    Tasks that the world lacks keep the ranker's logits. The truth is that of a single work, without satiation
    by works shown before. Call ``set_population`` before the first request.

    Settings:
        share: in (0, 1]. 1 gives the true logits; less reduces the ranker's errors by this fraction.
    """

    needs = ("column.logits",)
    gives = ("column.logits",)
    population: Population

    def __init__(self, ranker: OnnxModel, share: float = 1.0) -> None:
        if not 0.0 < share <= 1.0:
            raise ValueError(f"share must be in (0, 1], got {share}")
        self.share = np.float32(share)
        self.columns = {task: n for n, task in enumerate(ranker.tasks) if task in TASKS}

    def hydrate(self, request: Request, candidates: Candidates) -> Mapping[str, Array]:
        snapshot = self.population.snapshot
        user = snapshot.users.lookup(np.array([request.user_number]))
        probabilities = self.population.truth.probabilities(
            np.repeat(user, len(candidates)),
            snapshot.works.lookup(candidates.ids),
            time_ms=request.time_ms,
            scene=SCENES.index(request.scene),
        )
        logits = candidates.columns["logits"].copy()
        for task, column in self.columns.items():
            p = np.clip(probabilities[task].astype(np.float64), 1e-9, 1 - 1e-7)
            logits[:, column] += self.share * (np.log(p / (1 - p)) - logits[:, column])
        return {"logits": logits}


def set_population(cascade: Cascade, population: Population) -> None:
    """Gives the truth of ``population`` to the oracles of ``cascade``."""
    for step in (step for stage in cascade.stages for step in stage.steps):
        if isinstance(step, Oracle):
            step.population = population
