"""Hours from publication to the first impressions of uploads, by models with and without content vectors.

The uploads of a day are published at midnight, without impressions, and the next days are played with a
real online store. Both arms have the same world, visits, scene and settings of training; only the column of
vectors differs. Cost: two trainings per world, and 5 ms per page.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.evaluate.tables import format_measure
from karec.lab.report import Table
from karec.lab.simulate.arms import Arm
from karec.lab.simulate.population import Population, Sizes, make_population
from karec.lab.studies.content import ARMS, with_vectors
from karec.lab.studies.first_impressions import LEARN, RESAMPLES, THRESHOLDS, arms, hours_of, play, uploaded
from karec.learn.run.train import train
from karec.learn.settings.settings import TrainSettings
from karec.refresh.publish_run import publish
from karec.times import Progress

N_USERS = 1_000  # random users, over whom the true appeal of an upload is the mean
GROUPS = {"best quarter": 0.75, "all": 0.0}  # lower end of the group, as a quantile of the uploads' appeal


@dataclass(frozen=True, eq=False)
class PlayedUploads:
    """Results of the W uploads of one world. The first axis of ``hours`` to ``long_views`` is that of ARMS.

    appeal       (W,) mean true fused probability
    hours        (2, W) hours until THRESHOLDS[0] impressions, at most those played
    impressions  (2, W) of the played days
    long_views   (2, 1) expected long views per 100 impressions of all works
    """

    appeal: NDArray[Any]
    hours: NDArray[Any]
    impressions: NDArray[Any]
    long_views: NDArray[Any]


def play_uploads(sizes: Sizes, width: int, out: Path, progress: Progress | None = None) -> PlayedUploads:
    """Trains without and with vectors of ``width`` numbers, and plays one world with both.

    ``out`` has the runs; finished ones are kept.
    """
    population = make_population(sizes, progress=progress)
    dataset, is_uploaded = population.world.dataset, uploaded(population)
    uploads = np.flatnonzero(is_uploaded & (population.potential.day == 0))
    settings = TrainSettings().replace(**LEARN, run={"final_fit": False}, seed=sizes.seed)
    hours, counts, long_views = [], [], []
    for name in ARMS:
        snapshot, past = population.snapshot, dataset
        if name == ARMS[1]:
            snapshot = with_vectors(snapshot, population.truth, width)
            past = replace(dataset, snapshot=with_vectors(dataset.snapshot, population.world.truth, width))
        run, bundles = (out / name.replace(" ", "-") / folder for folder in ("run", "bundles"))
        if not (run / "run.json").exists():
            train(past, settings, run, progress, evaluate=False)
        snapshot = replace(snapshot, works=snapshot.works.take(is_uploaded))
        shutil.rmtree(bundles, ignore_errors=True)
        publish(run, snapshot, bundles, lists=False, grouped=False)
        config = arms().config_of(Arm(name), run.parent / "karec.toml", out, snapshot, dataset.objectives)
        bundle = Bundle.open(bundles, verify=False)
        impressions = play(bundle, config, population, sizes, progress=progress)
        hours.append(hours_of(impressions, uploads, population, sizes)[:, 0])
        counts.append(np.bincount(impressions["work"], minlength=len(is_uploaded))[uploads])
        long_views.append([100.0 * float(impressions["p_long_view"].mean())])
    appeal = _appeal(population, uploads)
    return PlayedUploads(appeal, np.array(hours), np.array(counts), np.array(long_views))


def _appeal(population: Population, works: NDArray[Any]) -> NDArray[Any]:
    """Returns (len(works),): Σ weight · true probability of the tasks, mean over N_USERS random users."""
    users = np.random.default_rng(0).integers(0, len(population.levels), N_USERS)
    truth = population.truth.probabilities(np.tile(users, len(works)), np.repeat(works, N_USERS))
    weights = population.world.dataset.objectives
    fused = np.sum([weight * truth[task] for task, weight in weights.items()], axis=0)
    return np.asarray(fused.reshape(len(works), N_USERS).mean(axis=1))


def uploads_table(worlds: Sequence[PlayedUploads]) -> Table:
    """Returns means over worlds, with 95 % intervals of the change over worlds and their uploads."""
    rows = []
    enough = THRESHOLDS[0]
    for group, quantile in GROUPS.items():
        best = [world.appeal >= np.quantile(world.appeal, quantile) for world in worlds]
        hours, counts = (
            [getattr(world, name)[:, is_best] for world, is_best in zip(worlds, best, strict=True)]
            for name in ("hours", "impressions")
        )
        n = sum(map(np.count_nonzero, best))
        rows += [
            (f"{group}, {n} uploads", f"hours to {enough} impressions", *_cells(hours)),
            ("", f"% with {enough} impressions", *_cells([100.0 * (count >= enough) for count in counts])),
            ("", "impressions", *_cells(counts)),
        ]
    rows.append(("pages", "long views per 100 impressions", *_cells([world.long_views for world in worlds])))
    return Table(f"{len(worlds)} worlds", ("", "mean", *ARMS, "change, paired"), rows)


def _cells(worlds: Sequence[NDArray[Any]]) -> tuple[str, str, str]:
    """Returns the means of both arms and their change, of one (2, n) array per world.

    Interval: bootstrap of worlds, and of the works of each.
    """
    rng, changes = np.random.default_rng(0), [after - before for before, after in worlds]
    drawn_worlds = rng.integers(0, len(changes), (RESAMPLES, len(changes))).tolist()
    means = [
        np.mean([rng.choice(changes[world], len(changes[world])).mean() for world in drawn])
        for drawn in drawn_worlds
    ]
    interval = np.quantile(means, [0.025, 0.975]).tolist()
    before, after = np.mean([values.mean(axis=1) for values in worlds], axis=0)
    return f"{before:.1f}", f"{after:.1f}", format_measure(after - before, interval, 1, signed=True)
