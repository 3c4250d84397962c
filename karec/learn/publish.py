"""From what was learned to what serves: models, encoder, snapshot and a fresh index become one published bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from karec.bundle import publish
from karec.encoder import Encoder
from karec.onnx_model import OnnxModel
from karec.refresh.item_vectors import build_index
from karec.snapshot import Snapshot

Progress = Callable[[int, int, str], None]
MODELS = ("user_tower.onnx", "item_tower.onnx", "ranker.onnx")


def publish_bundle(run: Path, snapshot: Snapshot, root: Path, progress: Progress | None = None) -> Path:
    """Publish the models and the encoder of the run folder ``run``, serving ``snapshot``, as ``root/current``.

    Returns the bundle's folder. The model version is the one that training wrote into the models.
    """
    encoder = Encoder.load(run / "encoder.npz")
    item_tower = OnnxModel(run / "item_tower.onnx", threads=0)
    index = build_index(snapshot, encoder, item_tower, progress=progress)

    def write(folder: Path) -> None:
        for name in (*MODELS, "encoder.npz"):
            shutil.copyfile(run / name, folder / name)
        index.save(folder / "index.karec")
        snapshot.save(folder / "snapshot")

    facts = {"tasks": list(item_tower.tasks), "works": len(snapshot.works), "users": len(snapshot.users)}
    return publish(root, item_tower.model_version, write, facts)
