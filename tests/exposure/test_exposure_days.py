"""Closed loop without models: pages update the dual variables, and the dual variables change the pages."""

from __future__ import annotations

import numpy as np
import pytest
from exposure_setup import DAY_BEGIN, PAGES_PER_DAY, Items, K, page_time, play_pages

from karec.exposure.constraints import Cap, GuaranteedExposure, Target
from karec.times import HOUR_MS

TYPE, TAG, AGE = (
    Target({"1": 0.3}, column="type"),
    Target({"3": 0.2, "5": 0.05}, column="tag"),
    Target(0.25, age_hours=72),
)
TOLERANCE = 0.02


@pytest.fixture(scope="module")
def items():
    return Items(n_new=200)


@pytest.fixture(scope="module")
def index(items):
    return items.index()


def test_pages_without_control_are_far_from_every_constraint(items, index):
    """Otherwise the tests below would pass without control."""
    day = play_pages(items, index, 2_500, targets=(TYPE,), rate=1e-12)
    creators = day.exposures_of_creators()
    assert day.share(items.columns["type"] == 1) < 0.1
    assert day.share_younger(72) < 0.1
    assert creators[0] / creators.sum() > 0.05
    assert (day.exposures()[:200] >= 20).mean() < 0.1


def test_targets_are_met_within_two_points_after_a_day_and_the_cap_holds(items, index):
    day = play_pages(items, index, targets=(TYPE, TAG, AGE), caps=(Cap("creator_id", 0.02),))
    tags = items.columns["tag"]
    assert abs(day.share(items.columns["type"] == 1) - 0.3) <= TOLERANCE
    assert abs(day.share(tags == 3) - 0.2) <= TOLERANCE
    assert abs(day.share(tags == 5) - 0.05) <= TOLERANCE
    assert abs(day.share_younger(72) - 0.25) <= TOLERANCE
    creators = day.exposures_of_creators()
    assert creators.max() / creators.sum() <= 0.02 + 0.001
    state = day.controller.snapshot()
    assert state["unmet"] == [] and state["pages"] == PAGES_PER_DAY
    names = [target["name"] for target in state["targets"]]
    assert names == ["type 1", "tag 3", "tag 5", "younger than 72 h"]
    assert all(abs(target["share"] - target["target_share"]) <= TOLERANCE for target in state["targets"])


def test_minimum_raises_a_rare_group_and_lowers_no_frequent_one(items, index):
    minimum = Target({"1": 0.3, "0": 0.1}, column="type", minimum=True)
    day = play_pages(items, index, targets=(minimum,))
    assert day.share(items.columns["type"] == 1) >= 0.95 * 0.3
    first, last = day.notes[0]["dual_variables"], day.notes[-1]["dual_variables"]
    assert first["type 0"] == last["type 0"] == 0 > last["type 1"]


def test_dual_ascent_misses_a_share_by_at_most_what_its_bound_allows(items, index):
    """|n_g − s·n| ≤ 20·bound·w/rate while λ is inside its bounds (karec/exposure/dual_variables.py)."""
    day = play_pages(items, index, 2_000, targets=(TYPE,))
    n_type_1 = int(np.concatenate([items.columns["type"][rows] for rows in day.pages]).sum())
    # λ began at 0, in the middle
    assert abs(n_type_1 - 0.3 * 2_000 * K) <= 20 * 3.0 * 0.3 * 0.7 / 0.01 / 2


def test_every_new_item_gets_its_guarantee_inside_the_budget(items, index):
    guarantees = (GuaranteedExposure(20, 6_000, new_work_hours=24),)
    day = play_pages(items, index, PAGES_PER_DAY * 3 // 2, targets=(TYPE,), guarantees=guarantees, explore=1)
    age = (page_time(len(day.pages) - 1) - items.columns["upload_ms"][:200]) / HOUR_MS
    exposures = day.exposures()[:200][age > 14]  # the whole guarantee was due two hours ago
    assert len(exposures) > 150
    assert (exposures >= 20).mean() >= 0.98
    (counts,) = day.controller.snapshot()["guarantees"]
    assert counts["reached"] >= 0.98 * (counts["reached"] + counts["missed"]) > 50, "items no longer new"
    assert counts["spent"] <= 6_000


def test_exploration_takes_at_most_its_part_of_a_page(items, index):
    # more than can be reached: it explores on every page
    guarantees = (GuaranteedExposure(2_000, 50_000, new_work_hours=24),)
    day = play_pages(items, index, 1_000, guarantees=guarantees, explore=2, bound=1e-6)
    explored = [notes["explored"] for notes in day.notes[100:]]
    assert max(explored) == 2 and np.mean(explored) > 1.5
    n_new = np.array([(rows < 200).sum() for rows in day.pages[100:]])
    plain = play_pages(items, index, 1_000, targets=(TYPE,), rate=1e-12)
    n_new_plain = np.mean([(rows < 200).sum() for rows in plain.pages[100:]])
    assert n_new_plain + 1 < n_new.mean() <= n_new_plain + 2.05, "a new item is sometimes selected anyway"


def test_guarantee_boosts_no_item_and_is_noted_if_its_budget_is_spent(items, index):
    guarantees = (GuaranteedExposure(20, 100, new_work_hours=24),)
    day = play_pages(items, index, 2_000, guarantees=guarantees, explore=1)
    (counts,) = day.controller.snapshot()["guarantees"]
    assert 90 <= counts["spent"] <= 100 + 10 * K, "a budget is checked every ten pages"
    assert any(
        notes.get("budget_spent") == ["works of 24 h"] and notes["underexposed"] == 0 for notes in day.notes
    )


def test_unreachable_target_stays_at_its_bound_and_is_named(items, index):
    # no item has type 9
    day = play_pages(items, index, 2_000, targets=(Target({"9": 0.3}, column="type"), TAG), bound=2.0)
    state = day.controller.snapshot()
    assert state["targets"][0]["dual_variable"] == -2.0
    at_bound = "type 9: share 0.000, target 0.3, dual variable -2"
    assert state["unmet"] == ["type 9: no item has it", at_bound] == day.notes[-1]["unmet"]
    assert day.notes[0]["unmet"] == ["type 9: no item has it"], (
        "the guarantee is due from the first request on"
    )
    assert abs(state["targets"][1]["share"] - 0.2) <= TOLERANCE, "the other targets are met"


def test_same_pages_give_the_same_state_and_the_same_pages_again(items, index):
    guarantees = (GuaranteedExposure(20, 6_000, new_work_hours=24),)
    one, other = (
        play_pages(items, index, 300, targets=(TYPE,), guarantees=guarantees, explore=1) for _ in range(2)
    )
    np.testing.assert_array_equal(np.concatenate(one.pages), np.concatenate(other.pages))
    assert one.controller.snapshot() == other.controller.snapshot() and one.notes == other.notes


def test_new_creators_get_their_guarantee():
    items = Items(n_items=2_000, n_creators=200)
    newcomers = np.flatnonzero(items.columns["creator_id"] >= 190)
    items.columns["upload_ms"][newcomers] = DAY_BEGIN - np.arange(len(newcomers))  # all their items are new
    items.quality[newcomers] -= 2.0
    index = items.index()
    plain = play_pages(items, index, 2_500, targets=(TYPE,), rate=1e-12)
    guarantees = (GuaranteedExposure(50, 5_000, new_creator_days=1),)
    controlled = play_pages(items, index, 2_500, guarantees=guarantees, explore=1)
    assert plain.exposures_of_creators()[190:].min() < 10
    of_newcomers = controlled.exposures_of_creators()[190:]
    assert (of_newcomers >= 45).all(), "half a day later nearly all of the guarantee is due"
