"""Checks before a training that would fail only at its end."""

from __future__ import annotations

import numpy as np

from karec.catalog.dataset import Dataset
from karec.errors import DataError, MissingExtra
from karec.learn.settings.settings import TrainSettings
from karec.logs.parts import arrow_parquet
from karec.samples.replay import pool_requests


def check_run(dataset: Dataset, settings: TrainSettings) -> None:
    """Raises before training if a later step cannot run.

    MissingExtra: a package for the rank log or an export is missing. DataError: training, validation or test
    days have no exposures, or the first rank log would have no list that the recipe needs.
    """
    _check_packages()
    _check_days(dataset)
    if settings.distil.needs_lists:
        _check_lists(dataset, settings)


def _check_packages() -> None:
    arrow_parquet()
    try:
        import onnxscript  # noqa: F401  # torch's exporter imports it
    except ImportError as error:
        raise MissingExtra("onnxscript", "train", "the export of models") from error


def _check_days(dataset: Dataset) -> None:
    parts = dict(zip(("training", "validation", "test"), dataset.split(), strict=True))
    for name, part in parts.items():
        if not len(part):
            counts = ", ".join(f"{len(part):,} {name}" for name, part in parts.items())
            raise DataError(
                f"{dataset.name}: no exposures on the {name} days ({counts}). Move train_until_ms and "
                "valid_until_ms, or use a longer log."
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
