"""Compares two arms user by user: fractions of users who have less or more play, also by trait."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from karec.files import file_aside
from karec.lab.simulate.population import Population
from karec.lab.simulate.sums import ArmSums

MIN_CHANGE = 0.02  # of a user's play
QUARTER = 0.25  # of the users, with least and with most of a trait
HEAD = 0.5  # of all impressions before the days: the creators outside are rare
FILE = "users.npz"

Traits = Mapping[str, NDArray[np.float64]]  # {trait: (U,) of the users who may visit}


def write_traits(out: Path, population: Population) -> None:
    """Writes the traits of the users, from the weeks before the days.

    activity    impressions
    rare_taste  fraction of the play time with creators outside the most shown ones, who have HEAD of all
                impressions; 0 without play
    """
    impressions, snapshot = population.world.dataset.exposures, population.snapshot
    assert impressions.play_ms is not None  # a world has play times
    user = snapshot.users.lookup(impressions.user_id)
    creator = population.truth.works.creator[snapshot.works.lookup(impressions.work_id)]
    n = len(population.is_visitor)
    shown = np.bincount(creator, minlength=n)
    order = np.argsort(-shown, kind="stable")
    is_rare = np.zeros(n, bool)
    is_rare[order[np.cumsum(shown[order]) > HEAD * len(creator)]] = True
    play = np.bincount(user, weights=impressions.play_ms, minlength=n)
    rare = np.bincount(user, weights=impressions.play_ms * is_rare[creator], minlength=n)
    traits = {
        "activity": np.bincount(user, minlength=n).astype(np.float64),
        "rare_taste": np.divide(rare, play, out=np.zeros(n), where=play > 0),
    }
    with file_aside(out / FILE) as file:
        np.savez(file, **{name: values[population.is_visitor] for name, values in traits.items()})


def read_traits(out: Path) -> Traits:
    """Returns the traits, or {} if the simulation wrote none (``simulate_with_models``)."""
    if not (out / FILE).exists():
        return {}
    with np.load(out / FILE) as file:
        return {name: file[name] for name in file.files}


def user_changes(arm: ArmSums, base: ArmSums, traits: Traits) -> dict[str, float | None]:
    """Returns fractions of the users with play in ``base``. None: there are no such users.

    worse, better               play of all days is lower, higher by more than MIN_CHANGE
    worse_an_impression         play per impression is lower, of users with impressions in both arms
    worse_low_T, worse_high_T   ``worse`` of the QUARTER of them with least and with most of the trait T
    """
    play, old_play = arm.by_user["play_s"].over, base.by_user["play_s"].over
    n, old_n = arm.by_user["exposures"].over, base.by_user["exposures"].over
    came, in_both = old_play > 0, (old_play > 0) & (n > 0)
    is_worse = play < (1 - MIN_CHANGE) * old_play
    is_worse_page = play * old_n < (1 - MIN_CHANGE) * old_play * n
    changes = {
        "worse": _fraction(is_worse, came),
        "better": _fraction(play > (1 + MIN_CHANGE) * old_play, came),
        "worse_an_impression": _fraction(is_worse_page, in_both),
    }
    rows = np.flatnonzero(came)
    for trait, values in traits.items():
        order = rows[np.argsort(values[rows], kind="stable")]
        size = int(np.ceil(QUARTER * len(rows)))
        for name, quarter in (("low", order[:size]), ("high", order[len(order) - size :])):
            changes[f"worse_{name}_{trait}"] = _fraction(is_worse[quarter], np.ones(size, bool))
    return changes


def _fraction(values: NDArray[np.bool_], is_counted: NDArray[np.bool_]) -> float | None:
    return float(values[is_counted].mean()) if is_counted.any() else None
