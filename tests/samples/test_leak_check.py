"""Tests that the leak check finds inputs that depend on the row's time or later."""

from dataclasses import replace

import numpy as np
import pytest

from karec.samples.examples import build_examples, refresh_times
from karec.samples.leak_check import check_no_leak
from karec.times import HOUR_MS


def leaks_own_label(examples):
    """A counter of the item that includes the row itself."""
    counts = examples.item_counts.copy()
    counts[:, examples.encoder.works.counters.index("count_click")] += examples.exposures.labels["click"]
    return replace(examples, item_counts=counts)


def leaks_the_future(examples):
    """A user's likes over the whole period, as a table computed at the end has them."""
    likes = np.bincount(
        examples.user_rows, examples.exposures.labels["like"], minlength=len(examples.snapshot.users)
    )
    counts = examples.user_counts.copy()
    counts[:, examples.encoder.users.counters.index("count_like")] = likes[examples.user_rows]
    return replace(examples, user_counts=counts)


def leaks_own_label_in_the_scene(examples):
    """A counter of the user in the row's scene that includes the row itself."""
    counts = examples.scene_counts.copy()
    counts[:, examples.encoder.scene_counters.counters.index("count_click")] += examples.exposures.labels[
        "click"
    ]
    return replace(examples, scene_counts=counts)


def leaks_by_history(examples):
    """Lists that end one event too late, so they contain the row itself if it was enjoyed."""
    history = examples.relations["history"]
    ends = np.minimum(history.ends + 1, len(history.values))
    return replace(examples, relations={**examples.relations, "history": replace(history, ends=ends)})


@pytest.mark.parametrize(
    ("leak", "inputs"),
    [
        (leaks_own_label, r"\['item_numbers'\]"),
        (leaks_the_future, r"\['user_numbers'\]"),
        (leaks_own_label_in_the_scene, r"\['user_numbers'\]"),
        (leaks_by_history, "'history'"),
    ],
)
@pytest.mark.parametrize("every_hours", [None, 24])
def test_leak_check_names_a_planted_leak(dataset, encoder, leak, inputs, every_hours):
    time = dataset.exposures.time_ms
    as_of = (
        time if every_hours is None else refresh_times(time, every_hours * HOUR_MS, dataset.snapshot.time_ms)
    )

    def honest(exposures):
        return build_examples(encoder, dataset.snapshot, exposures, as_of[: len(exposures)])

    check_no_leak(honest, dataset.exposures)
    with pytest.raises(ValueError, match=f"inputs .*{inputs}.* change with later outcomes"):
        check_no_leak(lambda exposures: leak(honest(exposures)), dataset.exposures)
