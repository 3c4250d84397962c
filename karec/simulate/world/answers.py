"""What users do with works that are shown to them: outcomes drawn from their true chances.

The answers to a served feed come from common random numbers: the coin of a user, a work and a task is fixed. So a work
gets the same answer from a user whoever shows it, and two cascades differ by what they show alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from karec.platform.events import Exposures
from karec.platform.snapshot import Snapshot
from karec.simulate.world.policy import repeats_of
from karec.simulate.world.tastes import AFTER, TASKS, Truth, pair_uniform
from karec.types import Array, Recommendation


def answers(truth: Truth, snapshot: Snapshot, feeds: Sequence[Recommendation]) -> Exposures:
    """The works of ``feeds``, each at its request's moment, and what their users did: labels of all tasks.

    Deterministic. A user or work that ``snapshot`` does not hold is a ValueError.
    """
    sizes = [len(feed) for feed in feeds]

    def each(values: Sequence[int], dtype: type) -> Array:
        return np.repeat(np.array(values, dtype), sizes)

    scenes = {name: code for code, name in enumerate(snapshot.labels["scene"])}
    user_id = each([feed.request.user_number for feed in feeds], np.int64)
    work_id = np.concatenate([np.empty(0, np.int64), *[feed.candidates.ids for feed in feeds]])
    time_ms = each([feed.request.time_ms or 0 for feed in feeds], np.int64)
    scene = each([scenes[feed.request.scene] for feed in feeds], np.int32)
    user, work = snapshot.users.lookup(user_id), snapshot.works.lookup(work_id)
    repeats = repeats_of(user, np.asarray(snapshot.works["tag"])[work])
    chances = truth.probabilities(user, work, time_ms=time_ms, scene=scene, repeats=repeats)
    coins = {task: pair_uniform(user, work, truth.salt + 2 + at) for at, task in enumerate(TASKS)}
    return Exposures(user_id, work_id, time_ms, scene, outcomes(chances, coins))


def outcomes(chances: Mapping[str, Array], coins: Mapping[str, Array]) -> dict[str, Array]:
    """{task: (N,) uint8} along the funnel, from the chances of ``Truth`` and a coin in [0, 1) for each task."""
    labels: dict[str, Array] = {}
    for task in TASKS:
        before = AFTER[task]
        if before is None:
            labels[task] = (coins[task] < chances[task]).astype(np.uint8)
        else:
            labels[task] = labels[before] & (coins[task] * chances[before] < chances[task])
    return labels
