"""Fusion of the ranker's logits into one score."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from karec.errors import ContractError
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.scorers.blend import standardise
from karec.steps.shared.ranker_model import ranker_model


class Fusion(Scorer):
    """One score in [0, 1] from the column ``logits`` (``karec.models.fusion``).

    Settings:
        weights: factor of each task of the ranker.
        kind: "sum" of weight · probability, or "product" of the probabilities with the weights as exponents.
        model: the ONNX file of the step ``ranker``. Absent: the bundle's ranker.
        share: below 1, score = (1 − share) · score before this step + share · fused score, both standardised
            over the candidates.
    """

    needs: tuple[str, ...] = ("column.logits",)

    def __init__(
        self,
        ranker: OnnxModel,
        weights: Mapping[str, float],
        kind: str = "sum",
        model: str | None = None,
        share: float = 1.0,
        config_folder: Path | None = None,
    ) -> None:
        if not 0.0 < share <= 1.0:
            raise ValueError(f"share must be in (0, 1], got {share}")
        self.model = model
        self.share = share
        if share < 1.0:
            self.needs = (*Fusion.needs, "scores")
        self.tasks = ranker_model(ranker, model, config_folder).tasks
        self.fusion = ObjectiveWeights(weights, kind)  # type: ignore[arg-type]  # ObjectiveWeights checks the name
        self.weights = self.fusion.normalise(self.tasks)

    def score(self, request: Request, candidates: Candidates) -> Array:
        if "logits" not in candidates.columns:
            raise ContractError("fusion needs the ranker's logits: put the step ranker before it")
        logits = candidates.columns["logits"]
        if logits.shape[1:] != (len(self.tasks),):
            raise ContractError(
                f"fusion reads the logits of {list(self.tasks)}, the ranker gave {logits.shape[1:]} of an "
                "item: let both steps take the same model"
            )
        fused = self.fusion.fuse(logits, self.weights)
        if self.share == 1.0:
            return fused
        score = (1.0 - self.share) * standardise(candidates.scores) + self.share * standardise(fused)
        return np.asarray(score, np.float32)
