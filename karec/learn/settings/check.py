"""Checks settings against the data and the machine, and computes the fingerprint of a training."""

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
from karec.learn.distributed.ranks import is_connected
from karec.learn.settings.settings import TrainSettings
from karec.logs.parts import arrow_parquet
from karec.samples.auxiliary_tasks import auxiliary_tasks
from karec.samples.replay import pool_requests


def check_run(dataset: Dataset, settings: TrainSettings) -> None:
    """Checks before a training from scratch that each of its steps can run.

    Raises the errors of ``check_training``; MissingExtra if a package for the rank log or the export is not
    installed; DataError if training, validation or test days have no exposures, or if the first rank log
    would have no list that the recipe needs.
    """
    check_training(dataset, settings)
    arrow_parquet()
    _require_package("onnxscript", "the export of models")  # torch's exporter imports it
    parts = dict(zip(("training", "validation", "test"), dataset.split(), strict=True))
    for name, part in parts.items():
        if not len(part):
            counts = ", ".join(f"{len(part):,} {name}" for name, part in parts.items())
            raise DataError(
                f"{dataset.name}: no exposures on the {name} days ({counts}). Move train_until_ms and "
                "valid_until_ms, or use a longer log."
            )
    if settings.distil.needs_lists:
        _check_lists(dataset, settings)


def check_training(dataset: Dataset, settings: TrainSettings) -> None:
    """Checks before training that the data and this machine support the settings.

    Raises:
        ConfigError: a key does not fit; the message names it.
        MissingExtra: a package is not installed.
        DataError: works have no counters of the tasks.
    """
    tasks, ranker = dataset.tasks, settings.ranker
    auxiliary = ranker.auxiliary if ranker.kind == "mmoe" else ()
    learned_auxiliary = auxiliary_tasks(dataset.split()[0], tasks, auxiliary)
    learned = {"task_weights": (*tasks, "fused", *ranker.auxiliary), "fusion": (*tasks, *learned_auxiliary)}
    for key, known in learned.items():
        unknown = sorted(set(getattr(settings, key)) - set(known))
        if unknown:
            raise ConfigError(f"{key} weighs {unknown}, which is not learned here; there are {list(known)}")
    if settings.distil.ranker_features == "towers" and ranker.kind not in ("auto", "mmoe"):
        raise ConfigError(
            f"distil.ranker_features = 'towers' with ranker.kind = {ranker.kind!r}, which sees cross "
            "features. Use 'mmoe'."
        )
    if is_connected() and settings.run.device == "cuda":
        raise ConfigError("run.device = 'cuda', and workers train on the CPU. Use 'auto', or no --workers.")
    if settings.run.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "run.device = 'cuda', and torch finds no CUDA device. Install its driver, or use 'auto'."
        )
    if settings.run.rows == "disk":
        _check_streamed(settings)
    if settings.ranker.kind == "lightgbm":
        _require_lightgbm("ranker.kind = 'lightgbm'")
    if "lightgbm" in settings.evaluation.baselines:
        _require_lightgbm("evaluation.baselines = 'lightgbm'")
    _check_counters(dataset)


def _check_streamed(settings: TrainSettings) -> None:
    """Raises ConfigError for a model that needs training rows in memory."""
    in_memory = [f"ranker.kind = {settings.ranker.kind!r}"] if settings.ranker.kind == "lightgbm" else []
    in_memory += ["evaluation.baselines = 'lightgbm'"] if "lightgbm" in settings.evaluation.baselines else []
    if settings.distil.retrieval_weight:
        in_memory.append(f"distil.recipe = {settings.distil.recipe!r}")
    if in_memory:
        raise ConfigError(
            f"run.rows = 'disk' with {in_memory[0]}, which reads training rows in any order. Use run.rows = "
            "'memory', or another value of this key."
        )


def _require_lightgbm(purpose: str) -> None:
    for package in ("lightgbm", "onnxmltools"):
        _require_package(package, purpose)


def _require_package(package: str, purpose: str) -> None:
    if find_spec(package) is None:
        raise MissingExtra(package, "train", purpose)


def _check_counters(dataset: Dataset) -> None:
    """Raises DataError if works lack the counters of the tasks."""
    columns = dataset.snapshot.works.columns
    missing = [
        name
        for name in ("count_exposed", *(f"count_{task}" for task in dataset.tasks))
        if name not in columns
    ]
    if missing:
        raise DataError(
            f"{dataset.name}: snapshot.works has no column {', '.join(missing)}: add the counters before "
            "training, with karec.aggregates.advance.advance(snapshot, exposures, snapshot.time_ms) if "
            "nothing was counted yet"
        )


def _check_lists(dataset: Dataset, settings: TrainSettings) -> None:
    """Lists of the first log are pools and pages with at least as many items as the settings require."""
    train, shadow, size = dataset.split()[0], settings.shadow, settings.distil.list_works
    requests = pool_requests(train, shadow.share, shadow.at_most, np.random.default_rng(settings.seed))
    n_published = np.searchsorted(
        np.sort(dataset.snapshot.published_ms), train.time_ms[requests], side="right"
    )
    n_items = np.minimum(n_published, shadow.works)
    _, page_sizes = np.unique(np.stack([train.time_ms, train.user_id]), axis=1, return_counts=True)
    if max(n_items.max(initial=0), page_sizes.max(initial=0)) < size:
        raise DataError(
            f"recipe {settings.distil.recipe!r} needs lists of {size} items, and the rank log would have "
            f"none: {len(requests):,} of the training days' requests have a pool, of at most "
            f"{n_items.max(initial=0):,} items. Raise shadow.share, lower distil.list_works, or use recipe "
            "'feature-distillation', which needs no lists."
        )


def fingerprint(dataset: Dataset, settings: TrainSettings) -> str:
    """Returns a line that identifies a training: name, size and content of the data, and the settings that
    change its result."""
    known = settings.to_dict()
    for section, key in (("run", "checkpoint_steps"), ("evaluation", "resamples")):
        known[section][key] = None
    # The version changes no model, and a kill after publishing has already increased it.
    known["model_version"] = 1
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    for name, column in _columns(dataset):
        digest.update(f"{name} {column.dtype} {column.shape}".encode())
        digest.update(np.ascontiguousarray(column).data)
    return f"{dataset.name}, {len(dataset.exposures)} exposures, settings and data {digest.hexdigest()[:16]}"


def _columns(dataset: Dataset) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yields every array that models may learn from."""
    exposures, snapshot = dataset.exposures, dataset.snapshot
    for name in ("user_id", "work_id", "time_ms", "scene", "play_ms"):
        if getattr(exposures, name) is not None:
            yield name, getattr(exposures, name)
    yield from sorted(exposures.labels.items())
    for name, table in (("works", snapshot.works), ("users", snapshot.users)):
        yield name, table.ids
        yield from sorted(table.columns.items())
    for name, relation in sorted(snapshot.relations.items()):
        yield name, relation.indptr
        yield name, relation.values
    yield from sorted((snapshot.user_scene_counters or {}).items())
    for name, item_type in sorted(dataset.item_types.items()):
        rows = item_type.impressions
        if rows is not None:
            yield from ((f"{name}.{key}", getattr(rows, key)) for key in ("user_id", "work_id", "time_ms"))
            yield from sorted(rows.labels.items())
