"""What users do with works that are shown to them: outcomes drawn from their true chances.

The answers to a served feed come from common random numbers: the coin of a user, a work and a task is fixed.
So a work gets the same answer from a user whoever shows it, and two cascades differ by what they show alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.impressions import Impressions
from karec.catalog.snapshot import Snapshot
from karec.lab.simulate.world.tastes import AFTER, TASKS, Truth, pair_uniform
from karec.pipeline.types import Page


def answers(truth: Truth, snapshot: Snapshot, feeds: Sequence[Page]) -> Impressions:
    """The works of ``feeds``, each at its request's moment, and what their users did: labels of all tasks.

    Deterministic. A user or work that ``snapshot`` does not hold is a ValueError.
    """
    sizes = [len(feed) for feed in feeds]

    def each(values: Sequence[int], dtype: type) -> NDArray[Any]:
        return np.repeat(np.array(values, dtype), sizes)

    scenes = {name: code for code, name in enumerate(snapshot.labels["scene"])}
    user_id = each([feed.request.user_number for feed in feeds], np.int64)
    work_id = np.concatenate([np.empty(0, np.int64), *[feed.candidates.ids for feed in feeds]])
    time_ms = each([feed.request.time_ms or 0 for feed in feeds], np.int64)
    scene = each([scenes[feed.request.scene] for feed in feeds], np.int32)
    user, work = snapshot.users.lookup(user_id), snapshot.works.lookup(work_id)
    repeats = truth.repeats(user, work)
    chances = truth.probabilities(user, work, time_ms=time_ms, scene=scene, repeats=repeats)
    return Impressions(user_id, work_id, time_ms, scene, outcomes(chances, coins_of(truth, user, work)))


def coins_of(truth: Truth, user: NDArray[Any], work: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """{task: (N,) coins in [0, 1)}, fixed for a user and a work; "play" is that of the time played."""
    return {task: pair_uniform(user, work, truth.salt + 2 + at) for at, task in enumerate((*TASKS, "play"))}


def outcomes(
    chances: Mapping[str, NDArray[Any]], coins: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """{task: (N,) uint8} along the funnel, from the chances of ``Truth`` and a coin in [0, 1) for each
    task."""
    labels: dict[str, NDArray[Any]] = {}
    for task in TASKS:
        before = AFTER[task]
        if before is None:
            labels[task] = (coins[task] < chances[task]).astype(np.uint8)
        else:
            labels[task] = labels[before] & (coins[task] * chances[before] < chances[task])
    return labels


def play_ms_of(duration_ms: NDArray[Any], did: Mapping[str, NDArray[Any]], u: NDArray[Any]) -> NDArray[Any]:
    """(N,) int64 milliseconds played of works of ``duration_ms``, from what users ``did`` and a coin ``u`` in
    [0, 1).

    long_view means at least 70 % of the work heard, finish all of it.
    """
    partly = np.select([did["long_view"] > 0, did["click"] > 0], [0.70 + 0.29 * u, 0.05 + 0.60 * u], 0.0)
    glance = np.where(did["click"] > 0, 0.0, 3000.0 * u**2)
    return np.where(did["finish"] > 0, duration_ms, (duration_ms * partly + glance).astype(np.int64))


def expected_play_ms(duration_ms: NDArray[Any], chance: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """(N,) the mean of ``play_ms_of`` where each label has its ``chance``."""
    finish, long_view, click = (chance[name] for name in ("finish", "long_view", "click"))
    shares = finish + (long_view - finish) * (0.70 + 0.29 / 2) + (click - long_view) * (0.05 + 0.60 / 2)
    return np.asarray(duration_ms * shares + (1.0 - click) * 3000.0 / 3)
