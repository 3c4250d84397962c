"""A similarity of works learned from which works of a page were enjoyed together, against those that are
given.

    OMP_NUM_THREADS=1 python bench/learned_kernel.py --run loop/models/HASH/run [--log loop/ARM …] [--pages
    10]
                                   [--people 300] [--test 500] [--users 2000] [--works 50000] [--seed 0]
                                   [--satiation 1]

S = (1 − s)·I + s·((1 − w)·cos(W f_i, W f_j) + w·[tag_i = tag_j]), L = diag(q)·(S + .01·I)·diag(q), log q =
x·b: a DPP over a page's ten works, of which what was enjoyed is a sample Y. Minimised: log det(L + I) − log
det L_Y, by Adam over b, s, w and W together; W begins as the axes along which item vectors vary most. x: 1,
the prediction, the logits of the user's and the work's rate in the weeks before. Wilhelm et al. 2018 learn a
network in the place of W, and a Gaussian of distances.

Pages are drawn (--pages of each of --people: ten ranked works at random, answers by the world's chances;
prediction: the fused score) or, with --log, those of arms played with the models of --run (prediction: user ·
item).
--test users see the first pages of bench/first_pages.py, by each kernel, and serve for nothing else. A fifth
of the others chooses the rank of W and the pass to stop at. "random": W is drawn, the control.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from enjoyed_pages import Pages, Pools, drawn, logged, ranked, rates
from first_pages import expected
from torch import Tensor

from karec._clock import HOUR_MS
from karec.diversity import DppOptions, dpp_select
from karec.simulate.arm_log import ArmLog
from karec.simulate.population import PAGE, Population, Sizes, make_population
from karec.simulate.world.satiation import KUAIRAND
from karec.types import Array

RIDGE, BATCH, EPOCHS, PACE = 1e-2, 128, 10, 2e-2
RANKS = (32, 64)
ENJOYED = {"long view or like": ("long_view", "like"), "like": ("like",)}
Data = tuple[Tensor, ...]  # of pages: vectors, tags, x, y, the arguments of Kernel.loss
TOLD = ("play", "long views", "likes", "follows")


class Kernel(torch.nn.Module):
    """``start (R, D)``: W_0, None for no similarity; ``tag``: w is fitted; ``learned``: W is; ``at``: first b
    and s."""

    def __init__(
        self, start: Array | None, at: Kernel | None = None, tag: bool = False, learned: bool = False
    ) -> None:
        super().__init__()
        self.tag, self.alike, began = tag, start is not None, -2.0 if at is None else float(at.s.detach())
        self.b = torch.nn.Parameter(
            torch.full((4,), 0.3, dtype=torch.float64) if at is None else at.b.detach().clone()
        )
        self.s, self.w = (torch.nn.Parameter(torch.tensor(of, dtype=torch.float64)) for of in (began, -1.0))
        began_as = torch.tensor(np.zeros((1, 1)) if start is None else start, dtype=torch.float64)
        self.map = torch.nn.Parameter(began_as, requires_grad=learned)

    def loss(self, f: Tensor, tag: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """(P,) −log P(Y); ``f (P, PAGE, D)``, ``tag (P, PAGE)``, ``y (P, PAGE)`` 0 or 1."""
        eye = torch.eye(PAGE, dtype=torch.float64)
        alike = eye
        if self.alike:
            mapped = torch.nn.functional.normalize(f @ self.map.T, dim=-1)
            alike = mapped @ mapped.mT
            if self.tag:
                w = torch.sigmoid(self.w)
                alike = (1 - w) * alike + w * (tag[:, :, None] == tag[:, None])
            s = torch.sigmoid(self.s)
            alike = (1 - s) * eye + s * alike
        q = torch.exp(x @ self.b)
        whole = q[:, :, None] * (alike + RIDGE * eye) * q[:, None]
        chosen = y[:, :, None] * whole * y[:, None] + torch.diag_embed(1 - y)
        return torch.logdet(whole + eye) - torch.logdet(chosen)


def tensors(pages: Pages, vectors: Array, tags: Array, enjoyed: str) -> Data:
    y = np.any([pages.did[task] for task in ENJOYED[enjoyed]], axis=0)
    held = (vectors[pages.work], tags[pages.work], pages.x, y)
    return tuple(torch.tensor(each, dtype=torch.float64) for each in held)


def fitted(kernel: Kernel, train: Data, choose: Data) -> tuple[Kernel, float]:
    """The kernel at its best epoch on ``choose``, and its mean loss there."""
    optimiser = torch.optim.Adam([each for each in kernel.parameters() if each.requires_grad], lr=PACE)
    slower = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, EPOCHS)
    best, least, draw = kernel, np.inf, torch.Generator().manual_seed(0)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(train[0]), generator=draw).split(BATCH):
            optimiser.zero_grad()
            kernel.loss(*(each[rows] for each in train)).mean().backward()
            optimiser.step()
        slower.step()
        with torch.no_grad():
            now = float(kernel.loss(*choose).mean())
        if now < least:
            best, least = copy.deepcopy(kernel), now
    return best, least


def learn(name: str, parts: list[Pages], vectors: Array, axes: Array, tags: Array) -> dict[str, Array]:
    """Prints how likely each kernel finds what the last part enjoyed; {name: W} of what was learned."""
    maps = {}
    for enjoyed in ENJOYED:
        train, choose, test = (tensors(part, vectors, tags, enjoyed) for part in parts)
        alone = Kernel(None)
        alone.b.data[0] = 0.5 * torch.logit(train[3].mean())
        alone, _ = fitted(alone, train, choose)
        vectors_alone, _ = fitted(Kernel(axes, alone), train, choose)
        with_tag, _ = fitted(Kernel(axes, vectors_alone, tag=True), train, choose)
        kernels = {"independent": alone, "vectors": vectors_alone, "vectors + tag": with_tag}
        tried = {at: fitted(Kernel(axes[:at], vectors_alone, learned=True), train, choose) for at in RANKS}
        best = min(tried, key=lambda at: tried[at][1])
        kernels[f"learned, rank {best}"] = tried[best][0]
        maps[f"learned of {name}, {enjoyed}"] = tried[best][0].map.detach().numpy()
        _, user = np.unique(parts[2].user, return_inverse=True)
        with torch.no_grad():
            losses = {which: kernel.loss(*test).numpy() for which, kernel in kernels.items()}
        for which, kernel in kernels.items():
            less = np.bincount(user, losses[which] - losses["independent"]) / np.bincount(user)
            s, w = (f"{float(torch.sigmoid(of.detach())):.3f}" for of in (kernel.s, kernel.w))
            value = f"{less.mean():+.4f} ± {1.96 * less.std() / len(less) ** 0.5:.4f}"
            row = [f"{name}, {enjoyed}", str(len(train[0])), which, value, s * kernel.alike, w * kernel.tag]
            print(f"| {' | '.join(row)} |")
    return maps


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--log", type=Path, nargs="*", default=[])
    numbers = {
        "satiation": 1.0,
        "pages": 10,
        "people": 300,
        "test": 500,
        "users": 2_000,
        "works": 50_000,
        "seed": 0,
    }
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    asked = parser.parse_args()
    sizes = Sizes(asked.works, asked.users, min(100 * asked.users, 400_000), 1, asked.seed)
    population = make_population(sizes, replace(KUAIRAND, scale=asked.satiation))
    today = population.visits.of_day(0)
    visitors, first = np.unique(population.visits.user[today], return_index=True)
    moments = np.full(asked.users, population.first_ms + 12 * HOUR_MS)
    moments[visitors] = population.visits.start_ms[today][first]
    # as bench/first_pages.py
    test = visitors[np.random.default_rng(0).permutation(len(visitors))[-asked.test :]]
    others = np.random.default_rng(1).permutation(np.setdiff1d(np.arange(asked.users), test))
    parted = others[others % 5 > 0], others[others % 5 == 0], test
    some = np.concatenate([others[: asked.people], test])
    vectors, people, pools = ranked(asked.run, population, asked.works, moments, some)
    tags = np.asarray(population.snapshot.works["tag"], np.int64)
    variances, axes = np.linalg.eigh(np.cov(vectors.T))
    axes = axes.T[np.argsort(-variances)]
    sources = {"drawn": drawn(population, pools, moments, asked.pages)}
    if asked.log:
        sources["logged"] = logged([ArmLog.read(each) for each in asked.log], people, vectors)
    of_user, of_work = rates(population)
    maps = {}
    print(
        "| pages, enjoyed | to learn | kernel | −log P of a page, less independent's | s | w "
        "|\n" + "|---" * 6 + "|"
    )
    for name, (user, work, predicted, did) in sources.items():
        scaled = (predicted - predicted.mean()) / predicted.std()
        own = np.broadcast_to(of_user[user][:, None], work.shape)
        pages = Pages(user, work, np.stack([np.ones_like(scaled), scaled, own, of_work[work]], axis=2), did)
        maps |= learn(name, [pages.of(users) for users in parted], vectors, axes, tags)
    compare(population, test, moments, pools, vectors, tags, maps)


def compare(
    population: Population, test: Array, moments: Array, pools: Pools, vectors: Array, tags: Array,
    maps: dict[str, Array],
) -> None:  # fmt: skip
    """Prints what first pages are worth where DPP compares by each kernel, with the window 5."""
    random = np.random.default_rng(2).normal(size=(vectors.shape[1],) * 2)  # W of no learning
    kernels = {"vectors": (None, 0.0), "vectors + tag .2": (None, 0.2), "random": (random, 0.0)}
    kernels |= {name: (by, 0.0) for name, by in maps.items()}
    told: dict[tuple[str, float], list[list[float]]] = {}
    shown: dict[tuple[str, float], list[Array]] = {}
    for user in test.tolist():
        work, scores = pools[user]
        pages = {("none", 0.0): work[np.argsort(-scores, kind="stable")[:PAGE]]}
        for name, (by, tag) in kernels.items():
            f = np.asarray(vectors[work] if by is None else vectors[work] @ by.T, np.float32)
            alike: DppOptions = {"facets": tags[work][None], "facet_weights": [tag]} if tag else {}
            for diversity in (0.3, 0.5, 0.7):
                picked = dpp_select(f, scores, PAGE, diversity=diversity, window=5, standardise=True, **alike)
                pages[name, diversity] = work[picked.indices]
        for arm, page in pages.items():
            told.setdefault(arm, []).append(expected(population, user, page, int(moments[user])))
            shown.setdefault(arm, []).append(page)
    creators = {arm: population.truth.works.creator[np.array(of)] for arm, of in shown.items()}
    reached = {arm: (len(np.unique(creators[arm])), len(np.unique(of))) for arm, of in shown.items()}
    none = np.mean(told["none", 0.0], axis=0)
    for against in ("none", "vectors + tag .2"):
        print(
            f"\n| % over {against}, {len(test)} pages | {' | '.join(TOLD)} | creators | works "
            f"|\n" + "|---" * 7 + "|"
        )
        for (name, diversity), of in told.items():
            base = ("none", 0.0) if "none" in (against, name) else (against, diversity)
            change = 100 * (np.array(of) - np.array(told[base])) / none
            cells = [f"{of.mean():+.2f} ± {1.96 * of.std() / len(test) ** 0.5:.2f}" for of in change.T]
            more = zip(reached[name, diversity], reached[base], strict=True)
            cells += [f"{100 * (own / its - 1):+.1f}" for own, its in more]
            print(f"| {name}, {diversity} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
