"""Measures error rates of `karec experiment`, on one log of users who come back, with many assignments.

Users of a world come back at rates given by their activity, for two weeks before the experiment and four
weeks in it. A page has 10 works, drawn by the weights with which the platform shows them. The probability of
a long view is that of the world. The pages are written as a rank log and as exported events, which
`karec.experiments` reads once. The hash of the package assigns the units, with a new salt each time:

A/A      both arms have the logged outcomes. A false positive is an interval without 0.
effects  events have more labels, with more long views: probability p · (1 + size), the same uniform numbers.
         They are the outcomes of the second arm. The truth is the change of the mean over all units.

An assignment changes no session: here a user's return does not depend on what the user liked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from karec.aggregates.events import LATE_MS, Events, Head
from karec.experiments.assignment import choose_arm, fnv32a, unit_bucket
from karec.experiments.confidence_sequence import MIN_UNITS
from karec.experiments.design import Design
from karec.experiments.effects import ALPHA, measure_effect
from karec.experiments.experiment_log import read_experiment_log
from karec.experiments.metrics import Metrics
from karec.experiments.results import daily_effects
from karec.experiments.settings import Arm, Experiment, Experiments, Layer
from karec.experiments.units import Units
from karec.lab.report import Table
from karec.lab.simulate.returns import MAX_PAGES, PAGE_MS, PAGE_PROBABILITY, VISIT_PROBABILITY, draw_visits
from karec.lab.simulate.world import World
from karec.lab.simulate.world.sampling import weighted_rows
from karec.logs.write import RankLogWriter
from karec.online.event_files import EventFiles, day_of
from karec.times import DAY_MS, Progress

LABEL = "long_view"
EFFECTS = {"long_view_plus_2": 0.02, "long_view_plus_5": 0.05, "long_view_plus_10": 0.1}
METRICS = (LABEL, f"{LABEL}/impression")
NAME, ARMS, SCENE = "aa", ("control", "same"), "home"
BEFORE_DAYS, DAYS, OUTCOME_DAYS = 14, 28, 7
PAGE = 10


def study_statistics(
    world: World, folder: Path, *, assignments: int, seed: int, progress: Progress
) -> dict[str, Any]:
    """Returns `rates` {measure: fraction of the assignments}, `true_effects`, and numbers of units and looks.

    Writes rank_log and events to `folder`. Cost: about 0.5 s for each assignment of 10,000 units.
    """
    experiments = _experiments(world)
    write_logs(world, folder, experiments.seed(NAME), seed)
    now_ms = int(world.truth.time_ms) + (BEFORE_DAYS + DAYS) * DAY_MS
    design = Design.from_experiment(experiments, NAME)
    units = read_experiment_log(design, folder / "rank_log", folder / "events", now_ms).units
    records: list[dict[str, Any]] = []
    for salt in range(assignments):
        hash_seed = fnv32a(f"salt-{salt}.{NAME}.1".encode())
        arm = [choose_arm(unit_bucket(hash_seed, str(user)), (0.5, 0.5), 1.0) for user in units.user.tolist()]
        assigned = replace(units, arm=np.array(arm, np.int64))
        records.append(_false_positives(assigned) | _covered(assigned))
        progress(salt + 1, assignments, "assignments")
    rates = {name: float(np.mean([record[name] for record in records])) for name in records[0]}
    return {
        "units": len(units),
        "assignments": assignments,
        "looks": len(np.unique(units.end_ms // DAY_MS)),
        "true_effects": {label: _truth(units, label) for label in EFFECTS},
        "rates": rates,
    }


def _experiments(world: World) -> Experiments:
    start_s = world.truth.time_ms / 1e3 + BEFORE_DAYS * DAY_MS / 1e3
    experiment = Experiment(
        layer=NAME,
        start=datetime.fromtimestamp(start_s, UTC),
        end=datetime.fromtimestamp(start_s + DAYS * DAY_MS / 1e3, UTC),
        arms={arm: Arm(weight=0.5) for arm in ARMS},
        metrics=Metrics(primary=LABEL, others=(METRICS[1], *EFFECTS), days=OUTCOME_DAYS),
    )
    layer = Layer(salt=NAME, paths=(f"scenes.{SCENE}.rerank",))
    return Experiments(layers={NAME: layer}, experiments={NAME: experiment})


def write_logs(world: World, folder: Path, hash_seed: str, seed: int) -> None:
    """Writes the pages of the days as rank_log and events. The first BEFORE_DAYS have no arms."""
    rng = np.random.default_rng(seed)
    first_ms, works = int(world.truth.time_ms), world.truth.works
    visits = draw_visits(world.truth.people, BEFORE_DAYS + DAYS, first_ms, seed)
    session = np.flatnonzero(visits.coin < VISIT_PROBABILITY)
    n_pages = 1 + (visits.page_coins[session] < PAGE_PROBABILITY).cumprod(axis=1).sum(axis=1)
    page = np.arange(MAX_PAGES)[None] < n_pages[:, None]
    time_ms = (visits.start_ms[session, None] + PAGE_MS * np.arange(MAX_PAGES))[page]
    user = np.broadcast_to(visits.user[session, None], page.shape)[page]
    shown = weighted_rows(works.weight, PAGE * len(user), rng).reshape(-1, PAGE)
    ids = np.asarray(world.dataset.snapshot.users.ids)
    item_ids = np.asarray(world.dataset.snapshot.works.ids)[shown]
    arms = [ARMS[choose_arm(unit_bucket(hash_seed, str(one)), (0.5, 0.5), 1.0)] for one in ids.tolist()]
    with RankLogWriter(folder / "rank_log", ()) as writer:
        for i, (row, moment) in enumerate(zip(user.tolist(), time_ms.tolist(), strict=True)):
            writer.append(
                request_id=str(i),
                user_id=int(ids[row]),
                item_ids=item_ids[i],
                scene=SCENE,
                time_ms=moment,
                model_version=1,
                logits=np.empty((PAGE, 0), np.float32),
                fused=np.zeros(PAGE, np.float32),
                page_ids=item_ids[i],
                arms={NAME: arms[row]} if moment >= first_ms + BEFORE_DAYS * DAY_MS else {},
            )
    p = world.truth.probabilities(np.repeat(user, PAGE), shown.ravel())[LABEL]
    uniform = rng.random(len(p))
    labels = np.zeros(len(p), np.uint64)
    for bit, size in enumerate((0.0, *EFFECTS.values())):
        labels |= (uniform < p * (1 + size)).astype(np.uint64) << np.uint64(bit)
    moments = np.repeat(time_ms, PAGE) + np.tile(np.arange(1, PAGE + 1), len(user))
    events = Events.from_columns(
        "impression",
        source=np.uint64(seed),
        number=np.arange(len(p), dtype=np.uint64),
        time_ms=moments,
        logged_ms=moments,
        user_id=np.repeat(ids[user], PAGE),
        item_id=item_ids.ravel(),
        labels=labels,
    )
    head, files = Head((LABEL, *EFFECTS), (SCENE,), LATE_MS), EventFiles(str(folder / "events"))
    day = day_of(moments)
    for number in np.unique(day).tolist():
        files.write(number, iter([events.take(day == number)]), head)


def _false_positives(units: Units) -> dict[str, bool]:
    """Returns {measure: True if it finds an effect}, with equal outcomes in both arms."""
    found = {}
    for metric in METRICS:
        looks = [one for _, one in daily_effects(units, metric, *ARMS[::-1])]
        after = [one for one in looks if min(one.n_control, one.n_treated) >= MIN_UNITS]
        found[f"{metric}: horizon"] = not _contains(looks[-1].ci, 0)
        found[f"{metric}: ever, all looks"] = any(not _contains(one.always_valid, 0) for one in after)
        found[f"{metric}: ever, one look"] = any(not _contains(one.ci, 0) for one in after)
    return found


def _covered(units: Units) -> dict[str, bool]:
    """Returns {measure: True if the interval contains the true effect}."""
    covered = {}
    for label in EFFECTS:
        values = np.where(units.arm == 1, units.values[label], units.values[LABEL])
        treated = replace(units, values={**units.values, LABEL: values})
        for name, has_covariates in (("CUPED", True), ("plain", False)):
            effect = measure_effect(treated, LABEL, *ARMS[::-1], has_covariates=has_covariates)
            covered[f"{label}: {name}"] = _contains(effect.ci, _truth(units, label))
            covered[f"{label}: {name}, all looks"] = _contains(effect.always_valid, _truth(units, label))
            covered[f"{label}: {name}, found"] = not _contains(effect.ci, 0)
    return covered


def _truth(units: Units, label: str) -> float:
    return float(units.values[label].sum() / units.values[LABEL].sum()) - 1


def _contains(interval: tuple[float, float] | None, value: float) -> bool:
    return interval is None or interval[0] <= value <= interval[1]


def statistics_table(report: Mapping[str, Any]) -> Table:
    n: int = report["assignments"]
    rows = [
        (name, f"{rate:.1%}", f"±{1.96 * float(np.sqrt(rate * (1 - rate) / n)):.1%}")
        for name, rate in report["rates"].items()
    ]
    effects = ", ".join(f"{name} {value:+.2%}" for name, value in report["true_effects"].items())
    note = f"{report['looks']} daily looks, alpha {ALPHA}. True effects: {effects}."
    return Table(f"{report['units']:,} units, {n:,} assignments", ("measure", "rate", "95 %"), rows, note)
