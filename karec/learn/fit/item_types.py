"""Training rows of item types other than works, from their impressions in the dataset."""

from __future__ import annotations

import numpy as np

from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.features.encoder import Encoder
from karec.features.item_types import ItemTypeHead
from karec.refresh.item_types import derive_item_type
from karec.samples.examples import Examples, build_examples, feature_times


def fit_item_types(dataset: Dataset) -> list[ItemTypeHead]:
    """Returns the labels and rates of each item type with training impressions of both values."""
    heads = [
        ItemTypeHead.fit(name, rows, dataset.item_types[name].labels or dataset.tasks)
        for name, rows in _impressions_of_types(dataset).items()
    ]
    return [head for head in heads if head is not None]


def note_on_types(dataset: Dataset, encoder: Encoder) -> tuple[str, ...]:
    """Returns notes on item types with training impressions, and on labels, that are not learned."""
    learned, notes = encoder.learned_labels, []
    types = sorted(_impressions_of_types(dataset).keys() - learned.keys())
    if types:
        notes.append(
            f"impressions of the item types {types} are not learned, which needs ranker.kind = 'mmoe', "
            "run.rows = 'memory' and a label with both values"
        )
    for name in sorted(learned.keys() & dataset.item_types.keys()):
        left_out = [label for label in dataset.item_types[name].labels if label not in learned[name]]
        if left_out:
            notes.append(
                f"labels {left_out} of the item type {name} are not learned: a type has at most as many as "
                f"works have tasks, {len(encoder.tasks)}, and each needs both values"
            )
    return tuple(notes)


def examples_of_types(encoder: Encoder, dataset: Dataset, refresh_hours: float) -> tuple[Examples, ...]:
    """Returns the training rows of each item type that ``encoder`` has learned and ``dataset`` has."""
    snapshot, rows = dataset.snapshot, _impressions_of_types(dataset)
    examples = []
    for name in (name for name in encoder.learned_labels if name in rows):
        derived = derive_item_type(dataset.item_types[name], snapshot)
        items = derived.item_type.to_snapshot(snapshot, name)
        times = feature_times(dataset, refresh_hours, rows[name].time_ms)
        examples.append(
            build_examples(encoder, snapshot, rows[name], times, happened=dataset.exposures, items=items)
        )
    return tuple(examples)


def _impressions_of_types(dataset: Dataset) -> dict[str, Impressions]:
    """Returns the training impressions of each item type that has any."""
    begin_ms, end_ms = dataset.snapshot.time_ms, dataset.train_until_ms
    rows = {name: table.impressions for name, table in dataset.item_types.items()}
    parts = {
        name: part.take(slice(*np.searchsorted(part.time_ms, [begin_ms, end_ms])))
        for name, part in rows.items()
        if part is not None
    }
    return {name: part for name, part in parts.items() if len(part)}
