"""Compares a simple creator-side test and the merge of orders with the truth in the world of a demo.

Creators get a patch of the last stage. The same users get one page each in several conditions:

    control   no creator has the patch
    launched  all creators have it: the pipeline of an arm by user
    merged    half of the creators have it; the orders are merged (``karec.pipeline.creator_arms``)
    simple    the same half has it; items are sorted by the score of their own arm

A creator's outcome is the sum of the true probabilities of a long view over their items of all pages. The
truth is the mean of a creator in ``launched`` minus that in ``control``. An estimate is the difference of the
means of treated and other creators on the pages of ``merged`` or ``simple``, with Welch's interval over
creators. With ``is_plain`` a page has the first items of the list, without DPP and page rules, which read the
list of all arms. Outcomes are adjusted by those of the creator on control pages of other users (CUPED). Each
assignment has its own salt.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR
from karec.config.arms import build_scenes, load_experiments
from karec.config.assemble import open_bundle
from karec.config.scenes import Config
from karec.experiments.creators import CreatorAssignment
from karec.experiments.settings import BY_CREATOR
from karec.lab.report import Table
from karec.lab.simulate.world import World
from karec.lab.simulate.world.tastes import SCENES
from karec.pipeline.cascade import Cascade
from karec.pipeline.creator_arms import CreatorArms
from karec.pipeline.step import Scorer
from karec.pipeline.types import Array, Candidates, Request
from karec.times import Progress

SCENE, STAGE, OUTCOME = "home", "rerank", "long_view"
TREATED = "treated"
BOOST = (
    '"scenes.home.rerank.boost" = { use = "karec.lab.studies.creator_side:Boost", add = 0.5, before = "dpp" }'
)
PATCHES = {
    "add 0.5 to every score": BOOST,
    "freshness weight 0.03 to 0.3": '"scenes.home.rerank.freshness.weight" = 0.3',
}
SETTINGS = """
[layers.pages]
salt = "{salt}"
unit = "{unit}"
paths = ["scenes.home.rerank"]

[experiments.pages]
layer = "pages"
start = 2000-01-01T00:00:00Z
end = 2100-01-01T00:00:00Z
arms.control.weight = 0.5
arms.treated = {{ weight = 0.5, patches = {{ {patch} }} }}
"""

Z = NormalDist().inv_cdf(0.975)

Float = NDArray[np.float64]


class Boost(Scorer):
    """score + add.

    Settings:
        add: in units of the score.
    """

    needs = ("scores",)

    def __init__(self, add: float) -> None:
        self.add = np.float32(add)

    def score(self, request: Request, candidates: Candidates) -> Array:
        return candidates.scores + self.add


@dataclass(frozen=True)
class OwnScores(CreatorArms):
    """Arms of creators whose items are sorted by the scores of their own arm, as in a simple test."""

    def merge(
        self, request: Request, control: Candidates, arms: Sequence[Candidates]
    ) -> tuple[Candidates, list[int]]:
        numbers = self.choose(request.column(self.column, control).astype(np.int64))
        scores = np.stack([control.scores, *(arm.scores for arm in arms)])[numbers, np.arange(len(control))]
        return control.with_scores(scores), np.bincount(numbers, minlength=1 + len(arms)).tolist()


@dataclass(frozen=True)
class Estimate:
    """Difference of the means of treated and other creators, with the ends of its interval."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class PatchResult:
    """Means of creators and estimates of one patch.

    control, launched  mean outcome of a creator
    merged, simple     an estimate for each assignment
    """

    patch: str
    control: float
    launched: float
    merged: list[Estimate]
    simple: list[Estimate]


def study_creator_side(
    world: World,
    config_path: Path,
    *,
    n_users: int,
    n_assignments: int,
    k: int,
    is_plain: bool,
    seed: int,
    progress: Progress,
) -> Iterator[PatchResult]:
    """Yields the result of each of PATCHES. ``config_path``: of ``karec demo`` on ``world``."""
    pages = _Pages(world, config_path, n_users, k, is_plain, seed, progress)
    cascade, _ = pages.build("control", "user", BOOST)
    control = pages.outcomes(cascade, {})
    before = replace(pages, first_user=n_users).outcomes(cascade, {})
    for name, patch in PATCHES.items():
        launched = pages.outcomes(pages.build("launched", "user", patch)[0], {"pages": TREATED})
        estimates: dict[str, list[Estimate]] = {"merged": [], "simple": []}
        for assignment in range(n_assignments):
            merged, by_creator = pages.build(f"creator-side-{seed}-{assignment}", "creator", patch)
            is_treated = by_creator.arms(pages.creators) == TREATED
            for kind, cascade in (("merged", merged), ("simple", _with_own_scores(merged))):
                outcomes = pages.outcomes(cascade, {"pages": BY_CREATOR})
                adjusted = adjust(outcomes, before)
                estimates[kind].append(estimate(adjusted[is_treated], adjusted[~is_treated]))
        yield PatchResult(name, float(control.mean()), float(launched.mean()), **estimates)


def adjust(outcomes: Float, covariate: Float) -> Float:
    """Returns (N,) outcomes without what the ``covariate`` (N,) explains linearly, with the same mean."""
    centred = covariate - covariate.mean()
    slope = float(centred @ outcomes) / float(centred @ centred)
    adjusted: Float = outcomes - slope * centred
    return adjusted


def estimate(treated: Float, others: Float) -> Estimate:
    """Returns the difference of means with Welch's 95 % interval."""
    from scipy.stats import ttest_ind

    interval = ttest_ind(treated, others, equal_var=False).confidence_interval(0.95)
    return Estimate(float(treated.mean() - others.mean()), float(interval.low), float(interval.high))


@dataclass(frozen=True)
class _Pages:
    """Makes pages of ``n_users`` from ``first_user`` on in a random order, and sums creators' outcomes."""

    world: World
    config_path: Path
    n_users: int
    k: int
    is_plain: bool
    seed: int
    progress: Progress
    first_user: int = 0

    @property
    def creators(self) -> NDArray[np.int64]:
        """Creators of the works, ascending."""
        return np.unique(self.world.dataset.snapshot.works.columns[CREATOR]).astype(np.int64)

    def build(self, salt: str, unit: str, patch: str) -> tuple[Cascade, CreatorAssignment]:
        """Returns the cascade of an experiment with one arm of ``patch``, and its assignment by creator."""
        config = Config.read(self.config_path)
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            own_patch = patch.replace('"dpp"', '"top_k"') if self.is_plain else patch
            file.write(SETTINGS.format(salt=salt, unit=unit, patch=own_patch))
            file.flush()
            table = {**config.table, "experiments": file.name}
            if self.is_plain:
                table["scenes"] = {**config.scenes, SCENE: _plain_scene(config.scenes[SCENE])}
            arms_config = Config.from_table(self.config_path, table)
            experiments = load_experiments(arms_config)
            assert experiments is not None
            cascade = build_scenes(arms_config, [SCENE], experiments, open_bundle(self.config_path))[SCENE]
        return cascade.without_side_effects(), CreatorAssignment.from_settings(experiments, "pages")

    def outcomes(self, cascade: Cascade, arms: dict[str, str]) -> Float:
        """Returns (creators,) the sum of the outcomes of each creator's items on one page of each user."""
        snapshot = self.world.dataset.snapshot
        users = np.random.default_rng(self.seed).permutation(snapshot.users.ids)
        users = users[self.first_user : self.first_user + self.n_users].tolist()
        totals = np.zeros(len(self.creators))
        for done, user in enumerate(users):
            if done % 100 == 0:
                self.progress(done, len(users), "pages")
            request = Request(user, self.k, SCENE, request_id=f"{self.seed}-{user}", arms=arms)
            page = cascade.run(request)
            works = snapshot.works.lookup(page.candidates.ids)
            user_rows = np.repeat(snapshot.users.lookup(np.array([user])), len(works))
            moment = np.full(len(works), page.request.time_ms)
            scene = np.full(len(works), SCENES.index(SCENE))
            p = self.world.outcomes([OUTCOME], user_rows, works, moment, scene)[:, 0]
            creators = np.searchsorted(self.creators, snapshot.works.columns[CREATOR][works])
            np.add.at(totals, creators, p)
        return totals


def _plain_scene(scene: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the table of a scene whose last stage ends with ``top_k`` in place of DPP and page rules."""
    *first, last = scene["stages"]
    steps = [step for step in last["steps"] if step["use"] not in ("dpp", "page_rules")]
    return {**scene, "stages": [*first, {**last, "steps": [*steps, {"use": "top_k"}]}]}


def _with_own_scores(merged: Cascade) -> Cascade:
    """Returns ``merged`` with the order of a simple test in place of the merged one."""
    experiments: Any = merged.experiments
    pipelines = {}
    for key, pipeline in experiments.pipelines.items():
        stages = tuple(
            stage
            if stage.creator_arms is None
            else replace(stage, creator_arms=OwnScores(**vars(stage.creator_arms)))
            for stage in pipeline.stages
        )
        pipelines[key] = pipeline.with_fields(stages=stages)
    return merged.with_fields(experiments=replace(experiments, pipelines=pipelines))


def creator_side_table(results: Sequence[PatchResult], n_users: int, n_creators: int) -> Table:
    """Returns changes in percent of the mean of control, by patch and estimate."""
    head = ("patch", "estimate", "mean", "bias", "error of the mean", "first assignment", "contain the truth")
    rows = []
    for result in results:
        percent = 100 / result.control
        truth = result.launched - result.control
        rows.append((result.patch, "truth", f"{truth * percent:+.1f} %", "", "", "", ""))
        for kind, estimates in (("simple difference", result.simple), ("merge", result.merged)):
            values = np.array([one.difference for one in estimates])
            # Of the intervals: the spread of a few assignments tells little.
            errors = np.array([(one.high - one.low) / 2 / Z for one in estimates])
            error = float(np.sqrt((errors**2).mean() / len(errors)))
            first = estimates[0]
            n_containing = sum(one.low <= truth <= one.high for one in estimates)
            rows.append(
                (
                    "",
                    kind,
                    f"{values.mean() * percent:+.1f} %",
                    f"{(values.mean() - truth) * percent:+.1f}",
                    f"{error * percent:.1f}",
                    f"{first.low * percent:+.0f} to {first.high * percent:+.0f} %",
                    f"{n_containing} of {len(estimates)}",
                )
            )
    title = (
        f"Long views of a creator, % of control: {n_creators:,} creators, a page of each of {n_users:,} users"
    )
    return Table(title, head, rows)
