"""Fusion of the ranker's logits into one score."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from karec.errors import ContractError
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.ranker_model import ranker_model


class Fusion(Scorer):
    """One score in [0, 1] from the column ``logits`` (``karec.models.fusion``).

    Settings:
        weights: factor of each task of the ranker.
        kind: "sum" of weight · probability, or "product" of the probabilities with the weights as exponents.
        model: the ONNX file of the step ``ranker``. Absent: the bundle's ranker.
    """

    needs = ("column.logits",)

    def __init__(
        self,
        ranker: OnnxModel,
        weights: Mapping[str, float],
        kind: str = "sum",
        model: str | None = None,
        config_folder: Path | None = None,
    ) -> None:
        self.model = model
        self.tasks = ranker_model(ranker, model, config_folder).tasks
        self.fusion = ObjectiveWeights(weights, kind)  # type: ignore[arg-type]  # ObjectiveWeights checks the name
        self.weights = self.fusion.normalise(self.tasks)

    def score(self, request: Request, candidates: Candidates) -> Array:
        if "logits" not in candidates.columns:
            raise ContractError("fusion needs the ranker's logits: put the step ranker before it")
        logits = candidates.columns["logits"]
        if logits.shape[1:] != (len(self.tasks),):
            raise ContractError(
                f"fusion reads the logits of {list(self.tasks)}, the ranker gave {logits.shape[1:]} of a "
                "work: let both steps take the same model"
            )
        return self.fusion.fuse(logits, self.weights)
