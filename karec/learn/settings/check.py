"""Checks settings against data and machine; fingerprints a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.dataset import Dataset
from karec.errors import ConfigError, DataError, MissingExtra
from karec.learn._torch import torch
from karec.learn.settings.settings import TrainSettings
from karec.samples.auxiliary_tasks import auxiliary_tasks


def check_training(dataset: Dataset, settings: TrainSettings) -> None:
    """Refuse, before anything is trained, settings that these data or this machine cannot follow.

    Raises ConfigError naming the key, MissingExtra for a package that is not installed, and DataError for
    works without the counters of the tasks, and where nothing was enjoyed that recall towers could learn
    from.
    """
    tasks, ranker = dataset.tasks, settings.ranker
    beside = ranker.auxiliary if ranker.kind in ("mmoe", "both") else ()
    taught = auxiliary_tasks(dataset.split()[0], tasks, beside)
    learned = {"task_weights": (*tasks, "fused", *ranker.auxiliary), "fusion": (*tasks, *taught)}
    for key, known in learned.items():
        unknown = sorted(set(getattr(settings, key)) - set(known))
        if unknown:
            raise ConfigError(f"{key} weighs {unknown}, which is not learned here; there are {list(known)}")
    if settings.distil.ranker_features == "towers" and ranker.kind != "mmoe":
        raise ConfigError(
            f"distil.ranker_features = 'towers' with ranker.kind = {ranker.kind!r}, which sees cross "
            "features: take 'mmoe'"
        )
    if settings.run.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "run.device = 'cuda', and torch finds no CUDA device here: install its driver, or take 'auto'"
        )
    _check_packages(settings)
    _check_counters(dataset)
    if settings.recall.on:
        _check_enjoyed(dataset)


def _check_packages(settings: TrainSettings) -> None:
    """MissingExtra for a ranker or baseline of trees where the packages that make them are not there."""
    wanted = {f"ranker.kind = {settings.ranker.kind!r}": settings.ranker.kind in ("lightgbm", "both")}
    wanted["evaluation.baselines = 'lightgbm'"] = "lightgbm" in settings.evaluation.baselines
    for purpose, asked in wanted.items():
        for package in ("lightgbm", "onnxmltools") if asked else ():
            if find_spec(package) is None:
                raise MissingExtra(package, "train", purpose)


def _check_counters(dataset: Dataset) -> None:
    """Works need counters: of them are made the rates that models see, and the popularity baseline."""
    columns = dataset.snapshot.works.columns
    missing = [
        name
        for name in ("count_exposed", *(f"count_{task}" for task in dataset.tasks))
        if name not in columns
    ]
    if missing:
        raise DataError(
            f"{dataset.name}: snapshot.works has no column {', '.join(missing)}: add the counters before "
            "training, with platform.folds.advance.advance(snapshot, exposures, snapshot.time_ms) where "
            "nothing was counted yet"
        )


def _check_enjoyed(dataset: Dataset) -> None:
    meaning = dataset.snapshot.meaning
    for what, exposures in zip(("training", "validation"), dataset.split()[:2], strict=True):
        if not meaning.is_enjoyed(exposures.labels).any():
            raise DataError(
                f"{dataset.name}: no work was enjoyed on the {what} days ({', '.join(meaning.enjoyed)}), and "
                "recall towers learn from such rows: set recall.on to false"
            )


def fingerprint(dataset: Dataset, settings: TrainSettings) -> str:
    """A line that names a training: the data by name, size and content, and the settings that change its
    result."""
    known = settings.to_dict()
    for section, key in (("run", "checkpoint_steps"), ("run", "tensorboard"), ("evaluation", "resamples")):
        known[section][key] = None
    # it names the models and changes none: a kill after publishing has moved it on
    known["model_version"] = 1
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    for name, column in _columns(dataset):
        digest.update(f"{name} {column.dtype} {column.shape}".encode())
        digest.update(np.ascontiguousarray(column).data)
    return f"{dataset.name}, {len(dataset.exposures)} exposures, settings and data {digest.hexdigest()[:16]}"


def _columns(dataset: Dataset) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every array that models may learn from."""
    exposures, snapshot = dataset.exposures, dataset.snapshot
    for name in ("user_id", "work_id", "time_ms", "scene", "play_ms"):
        if getattr(exposures, name) is not None:
            yield name, getattr(exposures, name)
    yield from sorted(exposures.labels.items())
    for what, table in (("works", snapshot.works), ("users", snapshot.users)):
        yield what, table.ids
        yield from sorted(table.columns.items())
    for name, relation in sorted(snapshot.relations.items()):
        yield name, relation.indptr
        yield name, relation.values
    yield from sorted((snapshot.user_scene_counters or {}).items())
