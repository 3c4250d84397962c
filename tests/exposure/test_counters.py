"""Exposure counters: pages, the window, caps, and the saved state."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karec.exposure.constraints import (
    Cap,
    ExposureSettings,
    FairnessPenalty,
    GuaranteedExposure,
    Target,
)
from karec.exposure.counters import ExposureCounters, PageImpressions
from karec.exposure.dual_variables import DualUpdate
from karec.times import HOUR_MS

NOW = 100_000 * HOUR_MS
TARGETS = (Target({"1": 0.3}, column="type"), Target(0.4, age_hours=72))
EMPTY = np.zeros(0, np.int64)


def settings_of_scene(**changed):
    return ExposureSettings(
        **{
            "targets": TARGETS,
            "caps": (Cap("creator_id", 0.2), Cap("tag", 0.5)),
            "guarantees": (
                GuaranteedExposure(3, 50, new_work_hours=24),
                GuaranteedExposure(4, 50, new_creator_days=2),
            ),
            "fairness": (FairnessPenalty(0.5, "creator_id"), FairnessPenalty(1.0, exposures=2.0)),
            "impressions_per_day": 1_000,
            "rate": 0.05,
            **changed,
        }
    )


def new_counters(**changed):
    return ExposureCounters(settings_of_scene(**changed))


def random_page(rng, at):
    n = int(rng.integers(0, 8))
    members = rng.integers(0, n + 1, 2).astype(np.float64)
    creators, works = rng.integers(-1, 4, n), rng.integers(0, 9, n)
    return PageImpressions(
        at, n, members, (creators, rng.integers(0, 3, n)), works, rng.integers(0, 5, n), (creators, works)
    )


def random_pages(seed, n=60):
    rng = np.random.default_rng(seed)
    return [random_page(rng, NOW + i * HOUR_MS // 4) for i in range(n)]


def page(at, groups, caps=(EMPTY, EMPTY), n=10):
    """Returns a page of items 0 … n − 1."""
    return PageImpressions(
        at, n, np.array(groups, np.float64), caps, np.arange(n), np.arange(n), (EMPTY,) * 2
    )


def counters_with_units(**changed):
    counters = new_counters(**changed)
    counters.guarantees[0].set_new_units(np.arange(9), np.full(9, NOW), np.zeros(9), NOW)
    counters.guarantees[1].set_new_units(np.arange(5), np.full(5, NOW), np.zeros(5), NOW)
    return counters


def test_unmet_names_the_values_of_a_cap_that_cannot_hold():
    """A column with one value: every impression is of it, whatever its dual variable."""
    counters = new_counters(rate=1.0)
    assert counters.unmet() == []
    for at in range(20):
        counters.add_page(page(NOW + at, [3, 4], (np.arange(10), np.full(10, 2))))
    lines = [line for line in counters.unmet() if "cap" in line]
    assert lines == ["tag 2: above the cap of 0.5, dual variable +3"]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.lists(st.booleans(), min_size=60, max_size=60))
def test_saving_and_restoring_between_pages_changes_nothing(seed, is_saved):
    whole, cut = counters_with_units(), counters_with_units()
    for one, save in zip(random_pages(seed), is_saved, strict=True):
        whole.add_page(one)
        cut.add_page(one)
        if save:
            restored = new_counters()
            restored.restore(json.loads(json.dumps(cut.to_dict())))
            cut = restored
    assert cut.to_dict() == whole.to_dict()
    assert cut.unmet() == whole.unmet()


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_caps_equal_an_update_of_every_value_at_every_page(seed):
    """The counters update a value only when it is shown or read."""
    counters, update = new_counters(), DualUpdate(0.05, 3.0)
    duals = dict.fromkeys(range(4), 0.0)
    for one in random_pages(seed):
        counters.add_page(one)
        for value in duals:
            if one.n:
                count = int((one.caps[0] == value).sum())
                duals[value] = update.update_cap(duals[value], 0.2, count, one.n)
    values, found = counters.cap_values(0)
    by_value = dict(zip(values.tolist(), found.tolist(), strict=True))
    assert by_value.keys() <= duals.keys(), "a negative value has no cap"
    np.testing.assert_allclose([by_value.get(value, 0.0) for value in duals], list(duals.values()), atol=1e-9)


def test_shares_are_of_a_decaying_window():
    counters = new_counters()
    counters.add_page(page(NOW, [10, 0]))
    counters.add_page(page(NOW + 24 * HOUR_MS, [0, 5]))
    old = 10 * math.exp(-1)
    np.testing.assert_allclose(counters.shares(), [old / (old + 10), 5 / (old + 10)], rtol=1e-12)


def test_empty_page_updates_nothing_and_older_page_decays_nothing():
    counters = new_counters()
    counters.add_page(page(NOW, [0, 0], n=0))
    assert counters.n_pages == 0 and counters.group_values.tolist() == [0, 0]
    for at in (NOW + HOUR_MS, NOW):
        counters.add_page(page(at, [1, 1]))
    assert counters.to_dict()["places"] == 20 and counters.time_ms == NOW + HOUR_MS


def test_restore_continues_constraints_of_the_same_name_only():
    counters = counters_with_units()
    for one in random_pages(1):
        counters.add_page(one)
    other = ExposureCounters(
        ExposureSettings(targets=(TARGETS[1], Target({"2": 0.1}, column="tag")), bound=0.01)
    )
    other.restore(counters.to_dict())
    assert other.n_pages == counters.n_pages
    first, second = other.group_values
    assert first == np.clip(counters.group_values[1], -0.01, 0.01) and second == 0


def damaged_state(change):
    counters = counters_with_units()
    counters.add_page(random_pages(2)[0])
    saved = json.loads(json.dumps(counters.to_dict()))
    change(saved)
    return saved


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved.pop("places"),
        lambda saved: saved.update(format=2),
        lambda saved: saved.update(places="many"),
        lambda saved: saved["groups"].update({"type 1": [0, 0]}),
        lambda saved: saved["groups"].update({"type 1": [float("nan"), 0, 0, 0]}),
        lambda saved: saved["caps"].update(creator_id={"x": [0, 0]}),
        lambda saved: saved["caps"].update(creator_id=[1]),
        lambda saved: saved["floors"]["works of 24 h"].update(keys=[3, 2]),
        lambda saved: saved["floors"]["works of 24 h"].update(counts=[1]),
        lambda saved: saved["floors"]["works of 24 h"].update(keys=[[1]]),
        lambda saved: saved["floors"]["works of 24 h"].pop("births"),
        lambda saved: saved.update(floors=7),
        lambda saved: saved["spread"]["works"].update(keys=[3, 2], counts=[1.0, 1.0]),
        lambda saved: saved["spread"]["works"].update(counts=[1.0]),
        lambda saved: saved["spread"]["works"].update(keys=[[1]], counts=[[1.0]]),
        lambda saved: saved["spread"]["works"].update(lately=[[1, float("nan")]]),
        lambda saved: saved["spread"]["works"].update(lately=[[1, -1.0]]),
        lambda saved: saved["spread"]["works"].update(lately=[1]),
        lambda saved: saved["spread"]["works"].update(lately=[[10**30, 1.0]]),
        lambda saved: saved["spread"]["works"].update(lately=[[1, 1.0], [1, 2.0]]),
        lambda saved: saved["spread"]["works"].update(lately={"12": 1}),
        lambda saved: saved["spread"]["works"].update(lately=[[-1, 1.0]]),
        lambda saved: saved["spread"]["works"].update(keys=[-1, 2], counts=[1.0, 1.0]),
        lambda saved: saved["spread"]["works"].update(keys=[1.5], counts=[1.0]),
        lambda saved: saved["spread"]["works"].update(keys=["1"], counts=[1.0]),
        lambda saved: saved["spread"]["works"].update(keys=[1], counts=[1.7e308]),
        lambda saved: saved["spread"]["works"].update(at_ms=-1),
        lambda saved: saved.update(time_ms=10**400),
        lambda saved: saved["spread"]["works"].update(at_ms=NOW + 10**9),
        lambda saved: saved["spread"]["works"].pop("counts"),
        lambda saved: saved.update(spread=[]),
    ],
)
def test_damaged_state_is_rejected_and_changes_nothing(change):
    counters = counters_with_units()
    before = counters.to_dict()
    with pytest.raises(ValueError, match=r"^not the exposure state of a scene"):
        counters.restore(damaged_state(change))
    assert counters.to_dict() == before
