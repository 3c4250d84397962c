"""What a training stands on: settings that these data and this machine can follow, and what makes it another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch

from karec.errors import ConfigError
from karec.learn.settings.train import TrainSettings
from karec.platform.dataset import Dataset
from karec.types import Array


def check_settings(dataset: Dataset, settings: TrainSettings) -> None:
    """What is wrong only for these data, or here, is told before hours of training: raises ConfigError naming it."""
    tasks = dataset.tasks
    learned = {"task_weights": (*tasks, "fused", *settings.auxiliary), "fusion": tasks}
    for key, known in learned.items():
        strangers = sorted(set(getattr(settings, key)) - set(known))
        if strangers:
            raise ConfigError(f"{key} weighs {strangers}, which is not learned here; there are {list(known)}")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device = 'cuda', and torch finds no CUDA device here: install its driver, or take 'auto'")


def fingerprint(dataset: Dataset, settings: TrainSettings) -> str:
    """What a training is of, in a line: the settings that change its result, and the data by name, size and content."""
    known = {**asdict(settings), "checkpoint_steps": None, "resamples": None, "tensorboard": None}
    known["model_version"] = 1  # it names the models and changes none: a kill after publishing has moved it on
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    for name, column in _columns(dataset):
        digest.update(f"{name} {column.dtype} {column.shape}".encode())
        digest.update(np.ascontiguousarray(column).data)
    return f"{dataset.name}, {len(dataset.exposures)} exposures, settings and data {digest.hexdigest()[:16]}"


def _columns(dataset: Dataset) -> Iterator[tuple[str, Array]]:
    """Every array that models may learn from."""
    exposures, snapshot = dataset.exposures, dataset.snapshot
    for name in ("user_id", "work_id", "time_ms", "scene", "play_ms"):
        yield name, getattr(exposures, name)
    yield from sorted(exposures.labels.items())
    for what, table in (("works", snapshot.works), ("users", snapshot.users)):
        yield what, table.ids
        yield from sorted(table.columns.items())
    for name, relation in sorted(snapshot.relations.items()):
        yield name, relation.indptr
        yield name, relation.values
    yield from sorted((snapshot.user_scene_counters or {}).items())
