"""What each arm's first page is worth: one page a user on the morning of a simulation's first day.

    OMP_NUM_THREADS=1 python bench/first_pages.py --run loop/models/HASH/run --arms kernels [--only ARM …]
    [--pages 500]
                                                  [--users 2000] [--works 50000] [--seed 0]

--run is what `karec simulate` trained (OUT/models/HASH/run) for --users, --works and --seed; arms with other
settings of training are refused. What arms have in common is computed once a user: recall, prerank and rank,
where only rerank differs. So a page of forty arms costs little more than one, and arms differ by their lists
alone: nobody comes back, nobody uploads. The loop says what days make of it.

Rows: changes against the file's baseline of what is expected of a work, in percent, ± 1.96 standard errors
over users; then how many creators and works the pages show together, in percent of its, and the share younger
than 72 h.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from karec._clock import HOUR_MS
from karec.bundle import Bundle
from karec.cascade import Cascade
from karec.config.assemble import build_cascade
from karec.config.scenes import Scene
from karec.refresh.publish import publish_bundle
from karec.simulate.arms import read_arms
from karec.simulate.population import PAGE, Population, Sizes, make_population
from karec.simulate.sessions import SCENE
from karec.simulate.world.answers import expected_play_ms
from karec.simulate.world.satiation import KUAIRAND
from karec.simulate.world.tastes import SCENES
from karec.types import Array, Candidates, Request

TOLD = ("play", "long view", "like", "follow")
YOUNG_MS = 72 * HOUR_MS


def keys_of(scene: Scene) -> list[str]:
    """For each stage a key that two scenes share where everything up to that stage's end is the same."""
    whole: list[Any] = [scene.recall, scene.limit]
    keys = []
    for stage in scene.stages:
        whole.append(scene.stage(stage["name"])[0])
        keys.append(json.dumps(whole, sort_keys=True))
    return keys


def pages_of(
    request: Request, cascades: Mapping[str, Cascade], keys: Mapping[str, list[str]]
) -> dict[str, Candidates]:
    """Each arm's page; all cascades stand on one bundle and have the same request hydrators."""
    first = next(iter(cascades.values()))
    assert first.index is not None
    done: dict[str, Candidates] = {}
    pages = {}
    recall_index = first.recall_index or first.index
    with first.index.pinned() as view, recall_index.pinned() as recall_view:
        request, _ = first.hydrated(request.with_view(view, recall_view if first.recall_index else None))
        for name, cascade in cascades.items():
            for at, (key, stage) in enumerate(zip(keys[name], cascade.stages, strict=True)):
                if key not in done:
                    before = done[keys[name][at - 1]] if at else recalled(done, cascade, request, key)
                    done[key] = stage.run(request, before).candidates
            pages[name] = done[keys[name][-1]]
    return pages


def recalled(done: dict[str, Candidates], cascade: Cascade, request: Request, key: str) -> Candidates:
    recall = json.dumps(json.loads(key)[:2])
    if recall not in done:
        done[recall] = cascade.recall.run(request)[0]
    return done[recall]


def expected(population: Population, user: int, work: Array, moment: int) -> list[float]:
    """The means of TOLD over a page, what the user was shown before included."""
    truth, lately = population.truth, population.lately[user]
    before = lately[lately >= 0]
    alike = truth.repeats(np.zeros(len(before) + len(work), np.int64), np.concatenate([before, work]))
    repeats = {cause: count[len(before) :] for cause, count in alike.items()}
    users = np.full(len(work), user)
    chances = truth.probabilities(users, work, time_ms=moment, scene=SCENES.index(SCENE), repeats=repeats)
    play = expected_play_ms(truth.works.duration_ms[work], chances)
    return [
        float(column.mean())
        for column in (play, *(chances[task] for task in ("long_view", "like", "follow")))
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--arms", default="kernels")
    parser.add_argument("--only", nargs="+", default=[])
    for name, default in (("pages", 500), ("users", 2_000), ("works", 50_000), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    arms = read_arms(asked.arms)
    arms = arms.only(asked.only) if asked.only else arms
    if len({json.dumps(arms.settings_of(arm), sort_keys=True) for arm in arms.arms}) > 1:
        parser.error("the arms differ by their training, and --run is one: leave some out with --only")
    sizes = Sizes(asked.works, asked.users, min(100 * asked.users, 400_000), 1, asked.seed)
    population = make_population(sizes, replace(KUAIRAND, scale=arms.satiation))
    works, weights = population.truth.works, population.world.dataset.objectives
    with tempfile.TemporaryDirectory() as folder:
        there = population.snapshot.works.take(np.arange(asked.works))
        publish_bundle(asked.run, replace(population.snapshot, works=there), Path(folder) / "bundles")
        bundle = Bundle.open(Path(folder) / "bundles", verify=False)
        for model in asked.run.glob("baseline_*.onnx"):
            shutil.copyfile(model, Path(folder) / model.name)
        cascades, keys = {}, {}
        for arm in arms.arms:
            config = arms.config_of(
                arm, Path(folder) / "karec.toml", Path(asked.arms).parent, population.snapshot, weights
            )
            cascades[arm.name] = replace(build_cascade(config, SCENE, bundle), observers=())
            keys[arm.name] = keys_of(config.scene(SCENE))
        visits = population.visits
        today = np.arange(len(visits.day))[visits.of_day(0)]
        users, first = np.unique(visits.user[today], return_index=True)
        told: dict[str, list[list[float]]] = {name: [] for name in cascades}
        shown: dict[str, list[Array]] = {name: [] for name in cascades}
        young: dict[str, list[Array]] = {name: [] for name in cascades}
        for at in np.random.default_rng(0).permutation(len(users))[-asked.pages :].tolist():
            user, moment = int(users[at]), int(visits.start_ms[today[first[at]]])
            request = Request(
                int(population.snapshot.users.ids[user]),
                k=PAGE,
                scene=SCENE,
                time_ms=moment,
                request_id=str(user),
            )
            for name, page in pages_of(request, cascades, keys).items():
                work = population.snapshot.works.lookup(page.ids)
                told[name].append(expected(population, user, work, moment))
                shown[name].append(work)
                young[name].append(moment - works.upload_ms[work] < YOUNG_MS)
    names = sorted(cascades, key=lambda name: name != arms.baseline)  # the baseline, then the file's order
    base = np.array(told[names[0]])
    reached = {name: [len(np.unique(of)) for of in spread(works.creator, shown[name])] for name in names}
    values = ", ".join(f"{value:.4g}" for value in base.mean(0))
    print(f"{len(base)} pages. {names[0]}: play ms, long view, like, follow a work {values}")
    print(f"creators, works {reached[names[0]]}\n")
    print(
        "| arm | play | long views | likes | follows | creators | works | younger than 72 h "
        "|\n" + "|---" * 8 + "|"
    )
    for name in names:
        change = np.array(told[name]) - base
        mean, half = (
            100 * change.mean(0) / base.mean(0),
            196 * change.std(0) / len(base) ** 0.5 / base.mean(0),
        )
        cells = [f"{m:+.2f} ± {h:.2f}" for m, h in zip(mean, half, strict=True)]
        cells += [
            f"{100 * (own / of - 1):+.1f}" for own, of in zip(reached[name], reached[names[0]], strict=True)
        ]
        print(f"| {name} | " + " | ".join(cells) + f" | {np.concatenate(young[name]).mean():.3f} |")


def spread(creator: Array, pages: list[Array]) -> tuple[Array, Array]:
    """The creators and the works of all pages."""
    work = np.concatenate(pages)
    return creator[work], work


if __name__ == "__main__":
    main()
