"""Arms against a baseline, measure by measure with 95 % intervals, and what each knob's reach costs.

Users are resampled for what users got, creators (with all their works) for what creators and works got: the
same resamples in every arm, so that differences are paired. The intervals are of one world, one order of
events and one training: they say how much hangs on who the users and creators are, and nothing of another
seed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from karec.errors import DataError
from karec.evaluate.metrics.accuracy import resampling_weights
from karec.evaluate.metrics.exposure import Resampled, confidence_interval, resample, summarize, unit_cost
from karec.lab.simulate.sums import ArmSums

RESAMPLES = 400
# the frontier's axes, and what a price is asked for
GAIN, REACH = "play_s", ("creators_1_a_day", "works_1_a_day")
KNOB = re.compile(r"(?P<family>.+)[- ](?P<value>\d+(\.\d+)?(e\d+)?)")


@dataclass(frozen=True)
class Knob:
    """What an arm turns: ``family`` names the method, ``value`` how far."""

    family: str
    value: float


def knob_of(arm: str) -> Knob | None:
    """The end of the arm's name: ``dpp-0.5`` or ``dpp 0.5`` is dpp at 0.5. None if it has no number."""
    named = KNOB.fullmatch(arm)
    return None if named is None else Knob(named["family"], float(named["value"]))


def compare_arms(
    arms: Iterable[ArmSums],
    baseline: str,
    *,
    pair: tuple[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """The part of a loop's ``report.json`` that is about arms (docs/formats.md). Deterministic.

    ``pair`` names an arm without and one with diversity, which pictures mark. Raises DataError for a name
    that no arm or several arms have, and for arms of other users, creators, works or days than the first.
    """
    by_name = _checked(list(arms), baseline, pair or ())
    turned = {name: knob_of(name) for name in by_name}
    first = by_name[baseline]
    of_users = resampling_weights(first.n_users, resamples, seed)
    of_creators = resampling_weights(len(first.creators), resamples, seed + 1)
    found = {
        name: {**resample(arm.by_user, of_users), **resample(arm.by_creator, of_creators)}
        for name, arm in by_name.items()
    }
    return {
        "baseline": baseline,
        "pair": None if pair is None else {"without": pair[0], "with": pair[1]},
        "days": first.days,
        "users": first.n_users,
        "creators": len(first.creators),
        "works": first.works,
        "resamples": resamples,
        "seed": seed,
        "arms": {
            name: {
                "knob": _plain(turned[name]),
                "on_frontier": _on_frontier(name, found),
                "measures": {
                    measure: summarize(own, None if name == baseline else found[baseline][measure])
                    for measure, own in found[name].items()
                },
                "by_day": {
                    m: [None if np.isnan(v) else float(v) for v in days] for m, days in arm.by_day.items()
                },
                "facts": dict(arm.facts),
            }
            for name, arm in by_name.items()
        },
        "prices": _prices(turned, baseline, found, first.n_users),
    }


def _checked(arms: Sequence[ArmSums], baseline: str, pair: Sequence[str]) -> dict[str, ArmSums]:
    by_name = {arm.name: arm for arm in arms}
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{names.count(name)} arms are named {name!r}: give each a name of its own")
    for what, name in [("the baseline", baseline), *(("the pair", name) for name in pair)]:
        if name not in by_name:
            raise DataError(f"{what}: {name!r} is none of the arms {', '.join(names) or '(there are none)'}")
    first = arms[0]
    for arm in arms[1:]:
        for what, own, other in (
            ("days", arm.days, first.days),
            ("users", arm.n_users, first.n_users),
            ("creators", len(arm.creators), len(first.creators)),
            ("works", arm.works, first.works),
        ):
            if own != other:
                raise DataError(
                    f"arm {arm.name!r} has {own} {what}, {first.name!r} has {other}: only arms of one world "
                    "compare"
                )
        if not np.array_equal(arm.creators, first.creators):
            raise DataError(
                f"arms {first.name!r} and {arm.name!r} have other creators: only arms of one world compare"
            )
    return by_name


def _on_frontier(name: str, found: Mapping[str, Mapping[str, Resampled]]) -> bool:
    """Whether no other arm reaches as many creators with as much play, and more of one."""
    own = [found[name][measure].value for measure in (GAIN, REACH[0])]
    others = [[of[measure].value for measure in (GAIN, REACH[0])] for of in found.values()]
    return not any(all(b >= a for a, b in zip(own, other, strict=True)) and other != own for other in others)


def _prices(
    knobs: Mapping[str, Knob | None], baseline: str, found: Mapping[str, Mapping[str, Resampled]], users: int
) -> list[dict[str, Any]]:
    """For each family its arms by value, each against the baseline and against the arm before it."""
    families: dict[str, list[tuple[float, str]]] = {}
    for name, knob in knobs.items():
        if knob is not None:
            families.setdefault(knob.family, []).append((knob.value, name))
    told = []
    for family, turned in families.items():
        ordered = [name for _, name in sorted(turned)]
        steps = [*pairwise(ordered)]
        if baseline not in ordered:
            steps.insert(0, (baseline, ordered[0]))
        if steps:
            told.append(
                {
                    "family": family,
                    "steps": [_step(found, start, end, users) for start, end in steps],
                    "from_baseline": [
                        _step(found, baseline, end, users) for end in ordered if end != baseline
                    ],
                }
            )
    return told


def _step(found: Mapping[str, Mapping[str, Resampled]], start: str, end: str, users: int) -> dict[str, Any]:
    def change(measure: str, times: int = 1) -> Resampled:
        one, other = found[end][measure], found[start][measure]
        return Resampled(times * (one.value - other.value), times * (one.samples - other.samples))

    less = change(GAIN, users)
    step: dict[str, Any] = {"from": start, "to": end, "play_s_a_day": _with_ci(less)}
    for measure in REACH:
        more = change(measure)
        step[measure] = {"more": _with_ci(more), "price_s": unit_cost(less, more)}
    return step


def _with_ci(part: Resampled) -> dict[str, Any]:
    return {"value": float(part.value) if np.isfinite(part.value) else None, "ci": confidence_interval(part)}


def _plain(knob: Knob | None) -> dict[str, Any] | None:
    return None if knob is None else asdict(knob)
