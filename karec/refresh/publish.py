"""From what was learned to what serves: models, encoder, snapshot and a fresh index become one published bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

from karec._clock import Progress
from karec.bundle import publish
from karec.errors import DataError
from karec.features.encoder import Encoder
from karec.models.onnx_model import OnnxModel
from karec.platform.snapshot import Snapshot
from karec.refresh.item_vectors import build_index

MODELS = ("user_tower.onnx", "item_tower.onnx", "ranker.onnx")


def publish_bundle(run: Path, snapshot: Snapshot, root: Path, progress: Progress | None = None) -> Path:
    """Publish the models and the encoder of the run folder ``run``, serving ``snapshot``, as ``root/current``.

    Returns the bundle's folder. The model version is the one that training wrote into the models. Raises DataError
    when the encoder tells tasks by scene and the snapshot never counted by scene.
    """
    encoder = Encoder.load(run / "encoder.npz")
    _check_visits(encoder, snapshot)
    item_tower = OnnxModel(run / "item_tower.onnx", threads=0)
    index = build_index(snapshot, encoder, item_tower, progress=progress)

    def write(folder: Path) -> None:
        for name in (*MODELS, "encoder.npz"):
            shutil.copyfile(run / name, folder / name)
        index.save(folder / "index.karec")
        snapshot.save(folder / "snapshot")

    facts = {"tasks": list(item_tower.tasks), "works": len(snapshot.works), "users": len(snapshot.users)}
    return publish(root, item_tower.model_version, write, facts)


def _check_visits(encoder: Encoder, snapshot: Snapshot) -> None:
    """Without visits everyone would be new to every scene, however often shown: no training row looked like that."""
    if encoder.visits.counted and snapshot.visits is None:
        raise DataError(
            f"the snapshot has no visits, but the encoder tells {list(encoder.visits.counted)} by user and scene: "
            "advance the snapshot that training began with (platform.folds.advance counts them), or give it visits"
        )
