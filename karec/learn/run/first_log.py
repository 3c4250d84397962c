"""First rank log: the ranker's logits of the training days, before it has served."""

from __future__ import annotations

from pathlib import Path

from karec.learn.settings.settings import TrainSettings
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import Examples
from karec.samples.replay import RankLogReplay
from karec.times import Progress


def write_first_log(
    train: Examples,
    ranker: Path,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    *,
    pools: bool,
) -> None:
    """Writes the rank log of the model ``ranker`` for the examples ``train``.

    ``pools``: also log whole pools of a fraction of the requests.
    """
    weights, threads = ObjectiveWeights(settings.fusion), settings.run.threads
    replay = RankLogReplay(train, OnnxModel(ranker), weights, folder, progress, threads)
    replay.write_exposures()
    if pools:
        shadow, seed = settings.shadow, settings.seed
        replay.write_pools(share=shadow.share, max_requests=shadow.at_most, n_items=shadow.works, seed=seed)
