"""What would fail at the end of a training, refused before it begins."""

from __future__ import annotations

import numpy as np

from karec.catalog.dataset import Dataset
from karec.errors import DataError, MissingExtra
from karec.learn.settings.settings import TrainSettings
from karec.logs.parts import arrow_parquet
from karec.samples.replay import pool_requests


def check_run(dataset: Dataset, settings: TrainSettings) -> None:
    """Refuse a training whose later steps cannot run: of packages, days and lists.

    Raises MissingExtra naming a package that the rank log or an export needs, and DataError
    for training, validation or test days without exposures and for lists that the first rank log will not
    hold.
    """
    _check_packages()
    _check_days(dataset)
    if settings.distil.needs_lists:
        _check_lists(dataset, settings)


def _check_packages() -> None:
    arrow_parquet()
    try:
        import onnxscript  # noqa: F401  # torch needs it to export
    except ImportError as error:
        raise MissingExtra("onnxscript", "train", "the export of models") from error


def _check_days(dataset: Dataset) -> None:
    parts = dict(zip(("training", "validation", "test"), dataset.split(), strict=True))
    for name, part in parts.items():
        if not len(part):
            counts = ", ".join(f"{len(each):,} {what}" for what, each in parts.items())
            raise DataError(
                f"{dataset.name}: no exposures on the {name} days; there are {counts}: move train_until_ms "
                "and valid_until_ms, or take a longer log"
            )


def _check_lists(dataset: Dataset, settings: TrainSettings) -> None:
    """The first log's lists are those pools, and those feeds, that hold as many works as the settings
    want."""
    train, shadow, size = dataset.split()[0], settings.shadow, settings.distil.list_works
    asked = pool_requests(train, shadow.share, shadow.at_most, np.random.default_rng(settings.seed))
    there = np.searchsorted(np.sort(dataset.snapshot.published_ms), train.time_ms[asked], side="right")
    works = np.minimum(there, shadow.works)
    _, feeds = np.unique(np.stack([train.time_ms, train.user_id]), axis=1, return_counts=True)
    if max(works.max(initial=0), feeds.max(initial=0)) < size:
        raise DataError(
            f"recipe {settings.distil.recipe!r} learns from lists of {size} works, and the rank log would "
            f"have none so long: {len(asked):,} of the training days' requests have a pool, of at most "
            f"{works.max(initial=0):,} works. Raise shadow.share, lower distil.list_works, or take recipe "
            "'feature-distillation', which needs no lists"
        )
