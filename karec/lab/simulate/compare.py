"""Compares arms with a baseline by measure, with 95 % intervals.

Measures of users are resampled over users, measures of creators and works over creators with all their works.
All arms use the same resamples, so differences are paired. The intervals are of one world, one order of
events and one training: they cover the choice of users and creators, but not another seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from karec.errors import DataError
from karec.evaluate.metrics.accuracy import resampling_weights
from karec.evaluate.metrics.exposure import resample, summarize
from karec.lab.simulate.sums import ArmSums
from karec.lab.simulate.user_changes import Traits, user_changes
from karec.pipeline.types import EMPTY

RESAMPLES = 400


def compare_arms(
    arms: Iterable[ArmSums],
    baseline: str,
    *,
    pair: tuple[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    traits: Traits = EMPTY,
) -> dict[str, Any]:
    """Returns the report of a simulation. Deterministic.

    ``pair``: two arms that the charts mark; ``traits``: traits of users, for ``user_changes``.

    Raises:
        DataError: a name that no arm or several arms have; arms of other users, creators, works or days.
    """
    by_name = _check(list(arms), baseline, pair or ())
    base = by_name[baseline]
    user_weights = resampling_weights(base.n_users, resamples, seed)
    creator_weights = resampling_weights(len(base.creators), resamples, seed + 1)
    measures = {
        name: {**resample(arm.by_user, user_weights), **resample(arm.by_creator, creator_weights)}
        for name, arm in by_name.items()
    }
    return {
        "baseline": baseline,
        "pair": None if pair is None else {"without": pair[0], "with": pair[1]},
        "days": base.days,
        "users": base.n_users,
        "creators": len(base.creators),
        "works": base.works,
        "resamples": resamples,
        "seed": seed,
        "arms": {
            name: {
                "measures": {
                    measure: summarize(own, None if name == baseline else measures[baseline][measure])
                    for measure, own in measures[name].items()
                },
                "by_day": {
                    m: [None if np.isnan(v) else float(v) for v in days] for m, days in arm.by_day.items()
                },
                "users": {} if name == baseline else user_changes(arm, base, traits),
                "facts": dict(arm.facts),
            }
            for name, arm in by_name.items()
        },
    }


def _check(arms: Sequence[ArmSums], baseline: str, pair: Sequence[str]) -> dict[str, ArmSums]:
    by_name = {arm.name: arm for arm in arms}
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{names.count(name)} arms are named {name!r}. Give each its own name.")
    for field, name in [("baseline", baseline), *(("pair", name) for name in pair)]:
        if name not in by_name:
            raise DataError(
                f"{field}: {name!r} is not an arm, expected one of {', '.join(names) or '(no arms)'}"
            )
    first = arms[0]
    for arm in arms[1:]:
        for noun, own, other in (
            ("days", arm.days, first.days),
            ("users", arm.n_users, first.n_users),
            ("creators", len(arm.creators), len(first.creators)),
            ("works", arm.works, first.works),
        ):
            if own != other:
                raise DataError(
                    f"arm {arm.name!r} has {own} {noun}, {first.name!r} has {other}. Compare only arms of "
                    "one world."
                )
        if not np.array_equal(arm.creators, first.creators):
            raise DataError(
                f"arms {first.name!r} and {arm.name!r} have different creators. Compare only arms of one "
                "world."
            )
    return by_name
