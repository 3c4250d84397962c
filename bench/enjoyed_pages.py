"""Pages of which it is known what was enjoyed, for bench/learned_kernel.py: drawn, and of a simulation's
log."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from karec.bundle import Bundle
from karec.config.assemble import build_cascade
from karec.refresh.publish import publish_bundle
from karec.simulate.arm_log import ArmLog
from karec.simulate.arms import read_arms
from karec.simulate.population import PAGE, Population
from karec.simulate.sessions import SCENE
from karec.simulate.world.answers import outcomes
from karec.simulate.world.tastes import SCENES
from karec.types import Array, Request

Pools = dict[int, tuple[Array, Array]]  # {user: ranked works, their scores}
Shown = tuple[Array, Array, Array, dict[str, Array]]  # pages: user, work, predicted, did


@dataclass(frozen=True)
class Pages:
    """``user (P,)`` rows, ``work (P, PAGE)`` rows, ``x (P, PAGE, 4)``, ``did`` {task: (P, PAGE) bool}."""

    user: Array
    work: Array
    x: Array
    did: dict[str, Array]

    def of(self, users: Array) -> Pages:
        rows = np.isin(self.user, users)
        return Pages(
            self.user[rows], self.work[rows], self.x[rows], {task: of[rows] for task, of in self.did.items()}
        )


def ranked(
    run: Path, population: Population, n_works: int, moments: Array, asked: Array
) -> tuple[Array, Array, Pools]:
    """(W, D) item vectors of unit length, (U, D) user vectors, and the ranked works of ``asked``."""
    arms = read_arms("kernels").only(["no diversity"])
    works, users = population.snapshot.works, population.snapshot.users
    people, pools = [], {}
    with tempfile.TemporaryDirectory() as folder:
        snapshot = replace(population.snapshot, works=works.take(np.arange(n_works)))
        publish_bundle(run, snapshot, Path(folder) / "bundles")
        bundle = Bundle.open(Path(folder) / "bundles", verify=False)
        objectives = population.world.dataset.objectives
        config = arms.config_of(
            arms.arms[0], Path(folder) / "karec.toml", Path(), population.snapshot, objectives
        )
        cascade = build_cascade(config, SCENE, bundle)
        assert cascade.index is not None
        with cascade.index.pinned() as view, (cascade.recall_index or cascade.index).pinned() as recall_view:
            vectors = view.embeddings(view.lookup(works.ids[:n_works]))
            for user, moment in enumerate(moments.tolist()):
                request = Request(
                    int(users.ids[user]), k=PAGE, scene=SCENE, time_ms=moment, request_id=str(user)
                )
                request = request.with_view(view, recall_view if cascade.recall_index else None)
                request, _ = cascade.hydrated(request)
                people.append(request.features["user_vector"][0])
                if user not in asked:
                    continue
                left = cascade.recall.run(request)[0]
                for stage in cascade.stages[:-1]:
                    left = stage.run(request, left).candidates
                pools[user] = works.lookup(left.ids), left.scores
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12), np.array(people), pools


def rates(population: Population) -> tuple[Array, Array]:
    """(U,) and (W,) logits of long views an exposure in the weeks before, drawn to the mean by 10
    exposures."""
    out = []
    for table in (population.snapshot.users, population.snapshot.works):
        seen, done = (np.asarray(table[f"count_{name}"], float) for name in ("exposed", "long_view"))
        mean = done.sum() / seen.sum()
        rate = (done + 10 * mean) / (seen + 10)
        out.append(np.log(rate / (1 - rate)))
    return out[0], out[1]


def drawn(population: Population, pools: Pools, moments: Array, n: int) -> Shown:
    """``n`` pages a user: user, work, predicted, did."""
    truth, rng = population.truth, np.random.default_rng(0)
    user, work, predicted, did = [], [], [], []
    for at, (ids, scores) in pools.items():
        place = np.array([rng.choice(len(ids), PAGE, replace=False) for _ in range(n)])
        before = population.lately[at][population.lately[at] >= 0]
        seen = np.concatenate([np.tile(before, (n, 1)), ids[place]], axis=1)
        page = np.repeat(np.arange(n), seen.shape[1])
        alike = truth.repeats(page, seen.ravel())
        repeats = {cause: of.reshape(seen.shape)[:, len(before) :].ravel() for cause, of in alike.items()}
        moment, works = int(moments[at]), ids[place].ravel()
        chances = truth.probabilities(
            np.full(n * PAGE, at), works, time_ms=moment, scene=SCENES.index(SCENE), repeats=repeats
        )
        done = outcomes(chances, {task: rng.random(n * PAGE) for task in chances})
        user.append(np.full(n, at))
        work.append(ids[place])
        predicted.append(scores[place])
        did.append({task: done[task].reshape(n, PAGE) > 0 for task in ("long_view", "like")})
    joined = {task: np.concatenate([of[task] for of in did]) for task in did[0]}
    return np.concatenate(user), np.concatenate(work), np.concatenate(predicted), joined


def logged(arms: list[ArmLog], people: Array, vectors: Array) -> Shown:
    """The whole pages of ``arms`` whose works were there as the days began: user, work, predicted, did."""
    user, work, did = [], [], []
    for arm in arms:
        of = arm.exposures
        key = np.stack([of["user"], of["day"], of["session"], of["position"] // PAGE])
        order = np.lexsort([of["position"], *key[::-1]])
        _, first, size = np.unique(key[:, order], axis=1, return_index=True, return_counts=True)
        rows = order[first[size == PAGE][:, None] + np.arange(PAGE)]
        rows = rows[(of["work"][rows] < len(vectors)).all(axis=1)]
        user.append(of["user"][rows[:, 0]])
        work.append(of["work"][rows])
        did.append({task: of[task][rows] > 0 for task in ("long_view", "like")})
    users, works = np.concatenate(user), np.concatenate(work)
    predicted = np.einsum("pd,pnd->pn", people[users], vectors[works])
    return users, works, predicted, {task: np.concatenate([of[task] for of in did]) for task in did[0]}
