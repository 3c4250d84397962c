"""Measures the most that a list evaluator can gain: the best of 30 lists by the value of a page.

The lists are the shipped page, the score order, and DPP and MMR at 14 settings each, all with the page rules
of the home template. All select from the ranked candidates of the same request. An evaluator takes the list
with the largest sum of fused probabilities:

ranker              the ranker's probabilities, without an effect of earlier items
ranker, satiation   the ranker's probabilities with the world's true effect of earlier items of the page: a
                    perfect list evaluator that has the ranker's knowledge about items
truth               true probabilities, which no evaluator of a service has

The second minus the first is the gain by the value of whole lists. Each evaluator also builds one greedy list
of all ranked candidates, without rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.funnel import requests_of_known_users
from karec.features.pool_scores import find_stage
from karec.lab.report import Table
from karec.lab.simulate.arms import Arm, Arms
from karec.lab.simulate.compare_worlds import mean_interval
from karec.lab.simulate.population import PAGE
from karec.lab.simulate.report_tables import format_change
from karec.lab.simulate.sessions import SCENE
from karec.lab.simulate.world import World
from karec.lab.simulate.world.feedback import expected_play_ms
from karec.lab.simulate.world.tastes import SCENES, Truth, sigmoid
from karec.lab.studies.score_parts import true_logits
from karec.lab.studies.trained_arm import TrainedArm
from karec.pipeline.cascade import Cascade
from karec.pipeline.stage import Stage
from karec.pipeline.types import Candidates, Request
from karec.steps.scorers.fusion import Fusion
from karec.times import Progress

SHIPPED = "shipped page"
SCORE_ORDER = "score order"
DIVERSITIES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
TAG_WEIGHTS = (0.0, 0.2)
LEARN = {"ranker": {"kind": "mmoe"}}  # settings of training
MEASURES = ("value", "play", "likes", "follows")

Value = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
"""(positions of candidates (M,), earlier similar items on the page (M,)) → (M,) values."""


def measure_list_ceiling(
    world: World,
    out: Path,
    *,
    seed: int,
    n_requests: int,
    learn: Mapping[str, Any] = LEARN,
    progress: Progress | None = None,
) -> dict[str, dict[str, float]]:
    """Returns {list or evaluator: {measure of MEASURES: change against SHIPPED in percent}}.

    ``out`` has models and bundles: see ``TrainedArm``. ``value`` is the true fused probability of a page.
    Pages begin a session: no item was shown before, and there is no exposure control.
    """
    arms = Arms((Arm(SHIPPED), *_list_arms()), scene={"exposure": False}, learn=learn)
    trained = TrainedArm.train(world, arms, arms.arms[0], out, seed, progress)
    cascades = {arm.name: trained.cascade(arms, arm, out) for arm in arms.arms}
    stages = {name: find_stage(cascade.stages, "rerank") for name, cascade in cascades.items()}
    requests = requests_of_known_users(trained.snapshot, SCENE, n_requests, seed)
    sums: dict[str, NDArray[Any]] = {}
    for done, request in enumerate(requests, 1):
        for name, figures in _measure_request(trained, cascades[SHIPPED], stages, request).items():
            sums[name] = sums.get(name, 0.0) + figures
        if progress is not None:
            progress(done, len(requests), "making lists")
    changes = {name: 100.0 * (total / sums[SHIPPED] - 1.0) for name, total in sums.items()}
    return {
        name: dict(zip(MEASURES, change.tolist(), strict=True))
        for name, change in changes.items()
        if name != SHIPPED
    }


def list_ceiling_table(worlds: Sequence[Mapping[str, Mapping[str, float]]]) -> Table:
    """Returns the means over ``worlds`` (2 to 10) with Student's t interval."""
    rows = [
        (
            name,
            *(
                format_change(*mean_interval(np.array([world[name][measure] for world in worlds])), 2)
                for measure in MEASURES
            ),
        )
        for name in worlds[0]
    ]
    return Table(
        f"Change against the {SHIPPED} in percent, mean of {len(worlds)} worlds",
        ("list", *MEASURES),
        rows,
        "ranker: best of 30 lists by the ranker's probabilities; satiation: with the true effect of earlier "
        "items; truth: by true probabilities. greedy: item by item of all ranked candidates, without rules.",
    )


def _list_arms() -> list[Arm]:
    def arm(name: str, step: Mapping[str, Any]) -> Arm:
        return Arm(name, {"stages": {"rerank": {"steps": {"dpp": {"k": "rerank", **step}}}}})

    arms = [arm(SCORE_ORDER, {"use": "top_k"})]
    for use in ("dpp", "mmr"):
        for diversity in DIVERSITIES:
            for weight in TAG_WEIGHTS:
                similarity = {"facets": {"tag": weight}} if weight else {}
                step = {"use": use, "diversity": diversity, "similarity": similarity}
                arms.append(arm(f"{use} {diversity} tag {weight}", step))
    return arms


def _measure_request(
    trained: TrainedArm, cascade: Cascade, stages: Mapping[str, Stage], request: Request
) -> dict[str, NDArray[Any]]:
    """Returns {list or evaluator: (MEASURES,) true sums of its page}."""
    with trained.bundle.index.pinned() as view:
        request, _ = cascade.hydrate(request.with_view(view))
        candidates, _ = cascade.recall.run(request)
        for stage in cascade.stages[:-1]:
            candidates = stage.run(request, candidates).candidates
        order = np.argsort(candidates.ids)
        pages = {
            name: order[
                np.searchsorted(
                    candidates.ids, stage.run(request, candidates).candidates.ids[:PAGE], sorter=order
                )
            ]
            for name, stage in stages.items()
        }
    fusion = next(step for step in find_stage(cascade.stages, "rank").steps if isinstance(step, Fusion))
    values = _PageValues(trained, request, candidates, fusion)
    found = {SCORE_ORDER: pages[SCORE_ORDER], SHIPPED: pages[SHIPPED]}
    evaluators = {"ranker": values.by_ranker, "ranker, satiation": values.by_list, "truth": values.by_truth}
    for name, value in evaluators.items():
        sums = [value(page, values.repeats(page)).sum() for page in pages.values()]
        found[name] = list(pages.values())[int(np.argmax(sums))]
    for name, value in evaluators.items():
        found[f"{name}, greedy"] = values.greedy(value)
    return {name: values.measures(page) for name, page in found.items()}


class _PageValues:
    """Values of the candidates of one request. A page is an array of candidate positions, in order."""

    def __init__(self, trained: TrainedArm, request: Request, candidates: Candidates, fusion: Fusion) -> None:
        self._truth: Truth = trained.world.truth
        self._fusion = fusion
        self._time_ms = request.time_ms
        self._user = int(trained.snapshot.users.lookup(np.array([request.user_number]))[0])
        self._works = trained.snapshot.works.lookup(candidates.ids)
        self._tags = self._truth.songs.tag[self._truth.works.song[self._works]]
        logits = candidates.columns["logits"]
        self._click_logits = logits[:, list(fusion.tasks).index("click")]
        self._fused: NDArray[Any] = fusion.fusion.fuse(logits, fusion.weights)

    def repeats(self, page: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) earlier items with the same tag in the window of satiation."""
        users = np.zeros(len(page), np.int64)
        return np.asarray(self._truth.repeats(users, self._works[page])["tag"])

    def by_ranker(self, at: NDArray[Any], repeats: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(self._fused[at])

    def by_list(self, at: NDArray[Any], repeats: NDArray[Any]) -> NDArray[Any]:
        """All tasks need a click, so satiation multiplies all by the same factor."""
        logits = self._click_logits[at]
        satiation = self._truth.satiation
        effect = satiation.scale * satiation.tag.effect("click")
        return np.asarray(self._fused[at] * sigmoid(logits - effect * repeats) / sigmoid(logits))

    def by_truth(self, at: NDArray[Any], repeats: NDArray[Any]) -> NDArray[Any]:
        true = self._probabilities(at, repeats)
        true["play_time"] = self._play_s(at, true)
        outcomes = np.stack([true[task] for task in self._fusion.tasks], axis=1)
        logits = true_logits(outcomes, self._fusion.tasks)
        return np.asarray(self._fusion.fusion.fuse(logits, self._fusion.weights))

    def greedy(self, value: Value) -> NDArray[Any]:
        """Returns the page that takes the item with the largest value, given those before it."""
        page: list[int] = []
        everything = np.arange(len(self._tags))
        window = self._truth.satiation.tag.window
        for _ in range(min(PAGE, len(everything))):
            recent = self._tags[page[-window:]] if page else self._tags[:0]
            values = value(everything, (self._tags[:, None] == recent).sum(axis=1))
            values[page] = -np.inf
            page.append(int(np.argmax(values)))
        return np.array(page, np.int64)

    def measures(self, page: NDArray[Any]) -> NDArray[Any]:
        repeats = self.repeats(page)
        true = self._probabilities(page, repeats)
        likes, follows = true["like"].sum(), true["follow"].sum()
        return np.array([self.by_truth(page, repeats).sum(), self._play_s(page, true).sum(), likes, follows])

    def _play_s(self, at: NDArray[Any], true: dict[str, NDArray[Any]]) -> NDArray[Any]:
        return expected_play_ms(self._truth.works.duration_ms[self._works[at]], true) / 1000.0

    def _probabilities(self, at: NDArray[Any], repeats: NDArray[Any]) -> dict[str, NDArray[Any]]:
        works = self._works[at]
        return self._truth.probabilities(
            np.full(len(works), self._user),
            works,
            time_ms=self._time_ms,
            scene=SCENES.index(SCENE),
            repeats={"tag": repeats},
        )
