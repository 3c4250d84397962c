"""Exposure counters: pages, the window, caps, and the saved state."""

import json
import math

import numpy as np
import pytest
from exposure_setup import NOW, random_pages, settings_of_scene
from hypothesis import given, settings
from hypothesis import strategies as st

from karec.exposure.arrays import decode, encode
from karec.exposure.constraints import ExposureSettings, Target
from karec.exposure.counters import CountersState, ExposureCounters, PageImpressions
from karec.exposure.dual_variables import DualUpdate
from karec.exposure.shared_counters import SharedCounters
from karec.online.store.sqlite import SqliteStore
from karec.times import HOUR_MS

TARGETS = (Target({"1": 0.3}, column="type"), Target(0.4, age_hours=72))
EMPTY = np.zeros(0, np.int64)


def new_counters(**changed):
    return ExposureCounters(settings_of_scene(**changed))


def page(at, targets, columns=None, n=10):
    """Returns a page of items 0 … n − 1."""
    named = dict(zip(("type 1", "younger than 72 h"), targets, strict=True))
    return PageImpressions(at, n, named, np.arange(n), columns or {})


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
        counters.add_page(page(NOW + at, [3, 4], {"creator_id": np.arange(10), "tag": np.full(10, 2)}))
    lines = [line for line in counters.unmet() if "cap" in line]
    assert lines == ["tag 2: above the cap of 0.5, dual variable +3"]


@pytest.mark.parametrize(("is_minimum", "lines"), [(False, 1), (True, 0)])
def test_target_with_minimum_is_met_above_its_share(is_minimum, lines):
    """The window still has a surplus when the group ends and its dual variable reaches the bound."""
    target = Target({"1": 0.3}, column="type", minimum=is_minimum)
    counters = new_counters(targets=(target,), rate=1.0)
    for at in range(40):
        counters.add_page(page(NOW + at, [10 if at < 20 else 0, 0]))
    assert counters.group_values[0] == -3 and counters.shares()[0] > 0.4
    assert len([line for line in counters.unmet() if "type 1" in line]) == lines


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.lists(st.booleans(), min_size=60, max_size=60))
def test_saving_and_restoring_between_pages_changes_nothing(seed, is_saved):
    whole, cut = counters_with_units(), counters_with_units()
    for one, save in zip(random_pages(seed), is_saved, strict=True):
        whole.add_page(one)
        cut.add_page(one)
        if save:
            restored = new_counters()
            restored.restore(decode(encode(cut.state()), CountersState))
            cut = restored
    assert encode(cut.state()) == encode(whole.state())
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
                count = int((one.columns["creator_id"] == value).sum())
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
    assert counters.state().impressions == 20 and counters.time_ms == NOW + HOUR_MS


def test_minimums_continue_after_saving_and_accept_an_older_state():
    minimum = (Target({"1": 0.6}, column="type", minimum=True),)
    whole = new_counters(targets=minimum)
    for one in random_pages(1):
        whole.add_page(one)
    saved = encode(whole.state())
    assert json.loads(saved)["means"]["type 1"] < 0
    restored = new_counters(targets=minimum)
    restored.restore(decode(saved, CountersState))
    assert restored.group_values.tolist() == whole.group_values.tolist()
    older = json.loads(saved)
    del older["means"]
    restored.restore(decode(json.dumps(older).encode(), CountersState))
    assert whole.group_values[0] < restored.group_values[0] <= 0


def test_restore_continues_constraints_of_the_same_name_only():
    counters = counters_with_units()
    for one in random_pages(1):
        counters.add_page(one)
    other = ExposureCounters(
        ExposureSettings(targets=(TARGETS[1], Target({"2": 0.1}, column="tag")), bound=0.01)
    )
    other.restore(counters.state())
    assert other.n_pages == counters.n_pages
    first, second = other.group_values
    assert first == np.clip(counters.group_values[1], -0.01, 0.01) and second == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved.pop("impressions"),
        lambda saved: saved.update(format=2),
        lambda saved: saved.update(impressions="many"),
        lambda saved: saved["targets"].update({"type 1": [0]}),
        lambda saved: saved["targets"].update({"type 1": [None, 0]}),
        lambda saved: saved["means"].update({"type 1": None}),
        lambda saved: saved["caps"].update(creator_id={"x": [0, 0]}),
        lambda saved: saved["caps"].update(creator_id=[1]),
        lambda saved: saved["guarantees"]["works of 24 h"].update(keys=[3, 2]),
        lambda saved: saved["guarantees"]["works of 24 h"].update(counts=[1]),
        lambda saved: saved["guarantees"]["works of 24 h"].update(keys=[[1]]),
        lambda saved: saved["guarantees"]["works of 24 h"].update(spent=None),
        lambda saved: saved["guarantees"]["works of 24 h"].pop("births"),
        lambda saved: saved.update(guarantees=7),
        lambda saved: saved["fairness"]["works"].update(keys=[3, 2], counts=[1.0, 1.0]),
        lambda saved: saved["fairness"]["works"].update(counts=[1.0]),
        lambda saved: saved["fairness"]["works"].update(keys=[[1]], counts=[[1.0]]),
        lambda saved: saved["fairness"]["works"].update(recent={"1": None}),
        lambda saved: saved["fairness"]["works"].update(recent={"1": -1.0}),
        lambda saved: saved["fairness"]["works"].update(recent={"x": 1.0}),
        lambda saved: saved["fairness"]["works"].update(recent=[1]),
        lambda saved: saved["guarantees"]["works of 24 h"].update(keys=[2**63]),
        lambda saved: saved["fairness"]["works"].update(recent={"-1": 1.0}),
        lambda saved: saved["fairness"]["works"].update(keys=[-1, 2], counts=[1.0, 1.0]),
        lambda saved: saved["fairness"]["works"].update(keys=[1.5], counts=[1.0]),
        lambda saved: saved["fairness"]["works"].update(keys=["1"], counts=[1.0]),
        lambda saved: saved["fairness"]["works"].update(keys=[1], counts=[1.7e308]),
        lambda saved: saved["fairness"]["works"].update(merged_ms=-1),
        lambda saved: saved["fairness"]["works"].update(merged_ms=NOW + 10**9),
        lambda saved: saved["fairness"]["works"].pop("penalty"),
        lambda saved: saved.update(time_ms=10**15),
        lambda saved: saved.update(fairness=[]),
    ],
)
def test_damaged_document_is_rejected_and_changes_nothing(change):
    counters = counters_with_units()
    counters.add_page(random_pages(2)[0])
    saved = json.loads(encode(counters.state()))
    change(saved)
    store = SqliteStore(None)
    document = json.dumps({"through": 1, "state": saved}).encode()
    assert store.write_document("exposure:home", document, None)
    shared = SharedCounters(store, "home", settings_of_scene())
    before = encode(shared.merged.state())
    with pytest.raises(ValueError, match=r"document 'exposure:home' .* is damaged: .* Delete the document"):
        shared.exchange()
    assert encode(shared.merged.state()) == before
