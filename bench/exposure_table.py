"""Fairness between creators against accuracy: steering beside published re-rankers, on one simulated score
matrix.

    OMP_NUM_THREADS=1 python bench/exposure_table.py [--users 5000] [--seeds 3]

Users come one after the other; each gets 10 of 1,000 works of 100 creators, of whom a few have most works and
the best ones. Scores are σ(taste · vector + quality). Every method sees the same scores and what was shown
before, and has one knob, which is turned; a cell is read off at equal accuracy, by straight lines between the
knob's settings.

    accuracy   NDCG@10 of the feeds, a work's gain its score, over that of the ten best
    MMF        the worst-off fifth of the creators: their mean exposures over an equal share (1 is the best)
    Gini       over the exposures of all creators (0 is the best)

    floors     a floor for every creator, of this project (karec/ecosystem), its height turned
    caps       a cap for every creator, of this project, its share turned
    spread     who was shown lately costs more, of this project, its weight turned; half of it at an equal
    share of the
               day
    P-MMF 2, 8 dual mirror descent for provider max-min fairness: Xu, Chen, Xu, Shen, Dong, Wen, "P-MMF:
    Provider
               Max-min Fairness Re-ranking in Recommender System", WWW 2023; λ is turned, and no creator may
               have more than 2 or 8 equal shares (the paper's γ)
    min-reg    score − λ · (what the work's creator has beyond the worst-off creator): the regulariser that
    the P-MMF
               paper compares with
    CP-fair    two groups of creators, the fifth with the most exposures by relevance alone and the others; a
    greedy
               penalty λ on the gap of their exposures per creator: the provider's side of Naghiaei, Rahmani,
               Deldjoo, "CPFair: Personalized Consumer and Producer Fairness Re-ranking", SIGIR 2022, for
               users one by one

The peers are written here from their formulas; none is anybody's code.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from karec._clock import DAY_MS
from karec.ecosystem.constraints import Cap, Floor, Spread
from karec.ecosystem.exposure import Exposure, ExposurePrices
from karec.ecosystem.steering import Steering
from karec.index import ItemIndex
from karec.types import Candidates, Request

K = 10
BEGIN = 1_000 * DAY_MS
ACCURACIES = (0.99, 0.98, 0.95, 0.93)
Array = NDArray[np.float64]
Feeds = NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """``scores (T, N)`` in (0, 1), ``creator (N,)`` of each work; ``n_creators``."""

    scores: Array
    creator: NDArray[np.int64]
    n_creators: int

    @classmethod
    def drawn(cls, users: int, seed: int, works: int = 1_000, creators: int = 100, dim: int = 8) -> World:
        rng = np.random.default_rng(seed)
        size = 1.0 / np.arange(1, creators + 1) ** 0.8
        rest = rng.choice(creators, works - creators, p=size / size.sum())
        creator = np.concatenate([np.arange(creators), rest])
        fame = np.linspace(1.0, -1.0, creators)[creator]
        quality = 0.5 * fame + rng.normal(0, 0.7, works)
        taste, vector = rng.normal(size=(users, dim)), rng.normal(size=(works, dim)) / np.sqrt(dim)
        return cls(1.0 / (1.0 + np.exp(-(taste @ vector.T + quality - 1.0))), creator, creators)


def best(scores: Array) -> Feeds:
    """The K places with the largest scores, best first, ties by place."""
    return np.argsort(-scores, kind="stable")[:K]


def by_relevance(world: World) -> Feeds:
    return np.argsort(-world.scores, axis=1, kind="stable")[:, :K]


def p_mmf(world: World, strength: float, shares: float) -> Feeds:
    """x_t = the K best by s − μ[creator]; a creator whose resources γ are used up is out. With γ/T the
    resources of a feed, g ← α·(γ/T − shown) + (1 − α)·g, and μ ← the point of D that is nearest, in the norm
    of γ, to μ − η·g/γ²; D: the negative parts of γ·μ sum to at least −λ.
    """
    pace, momentum = 1e-3, 0.2  # η and α; 1e-4 and 1e-2 were behind in accuracy at equal MMF
    users, n = len(world.scores), world.n_creators
    share = 1.0 / n  # of all places: resources are counted in shares, so that one pace suits every T
    room = shares * share
    mu, gradient, used, feeds = np.zeros(n), np.zeros(n), np.zeros(n), []
    for scores in world.scores:
        open_to = used + 1e-12 < room
        feeds.append(best(np.where(open_to[world.creator], scores - mu[world.creator], -np.inf)))
        shown = np.bincount(world.creator[feeds[-1]], minlength=n) / K
        used += shown / users
        gradient = momentum * (room - shown) + (1 - momentum) * gradient
        mu = _onto_domain((mu - pace * gradient / share) * share, strength * share) / share
    return np.array(feeds)


def _onto_domain(scaled: Array, most: float) -> Array:
    """The nearest point whose negative parts sum to at least −most: they are moved onto a simplex of that
    size."""
    negative = np.maximum(-scaled, 0.0)
    if negative.sum() <= most:
        return scaled
    falling = np.sort(negative)[::-1]
    sums = np.cumsum(falling) - most
    last = np.flatnonzero(falling * np.arange(1, len(falling) + 1) > sums)[-1]
    return np.where(scaled < 0, -np.maximum(negative - sums[last] / (last + 1), 0.0), scaled)


def min_regulariser(world: World, strength: float) -> Feeds:
    exposures, feeds = np.zeros(world.n_creators), []
    for t, scores in enumerate(world.scores):
        beyond = (exposures - exposures.min()) / max(t * K / world.n_creators, 1.0)
        feeds.append(best(scores - strength * beyond[world.creator]))
        exposures += np.bincount(world.creator[feeds[-1]], minlength=world.n_creators)
    return np.array(feeds)


def cp_fair(world: World, strength: float) -> Feeds:
    alone = np.bincount(world.creator[by_relevance(world)].ravel(), minlength=world.n_creators)
    head = np.zeros(world.n_creators, bool)
    head[np.argsort(-alone, kind="stable")[: world.n_creators // 5]] = True
    exposures, feeds = np.zeros(world.n_creators), []
    for t, scores in enumerate(world.scores):
        gap = (exposures[head].mean() - exposures[~head].mean()) / max(t * K / world.n_creators, 1.0)
        feeds.append(best(scores - strength * gap * head[world.creator]))
        exposures += np.bincount(world.creator[feeds[-1]], minlength=world.n_creators)
    return np.array(feeds)


def steered(world: World, wants: Callable[[ItemIndex, int], Steering]) -> Feeds:
    """The steps of the cascade, feed by feed over a day; every creator begins with the day."""
    users, works = world.scores.shape
    columns = {"creator_id": world.creator, "upload_ms": np.full(works, BEGIN)}
    index = ItemIndex.build(np.arange(works), np.ones((works, 2), np.float32), columns=columns)
    steering = wants(index, users * K)
    step, prices, feeds = Exposure(steering), ExposurePrices(steering), []
    with index.pinned() as view:
        rows = view.lookup(np.arange(works))
        for t, scores in enumerate(world.scores):
            request = Request(t, K, time_ms=BEGIN + DAY_MS * (t + 1) // users, request_id=str(t)).with_view(
                view
            )
            request = request.with_features(prices.hydrate_request(request))
            candidates = Candidates.of(np.arange(works), scores.astype(np.float32)).with_rows(rows)
            feeds.append(best(np.asarray(step.score(request, candidates).value, np.float64)))
            steering.show(request, candidates.take(feeds[-1]))
    return np.array(feeds)


def with_floors(world: World, part: float) -> Feeds:
    """Each creator gets ``part`` of an equal share, due evenly over the day."""
    height = max(int(part * len(world.scores) * K / world.n_creators), 1)

    def wants(index: ItemIndex, places: int) -> Steering:
        return Steering(index, floors=(Floor(height, places, new_creator_days=2),), places_a_day=places)

    return steered(world, wants)


def with_caps(world: World, times: float) -> Feeds:
    """No creator gets more than ``times`` an equal share."""
    cap = Cap("creator_id", times / world.n_creators)
    return steered(world, lambda index, _: Steering(index, caps=(cap,)))


def with_spread(world: World, weight: float) -> Feeds:
    share = len(world.scores) * K / world.n_creators
    spread = Spread(weight, "creator_id", exposures=share)
    return steered(world, lambda index, _: Steering(index, spread=(spread,)))


METHODS: dict[str, tuple[Callable[[World, float], Feeds], tuple[float, ...]]] = {
    "floors": (with_floors, (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97)),
    "caps": (with_caps, (6.0, 4.0, 3.0, 2.0, 1.5, 1.2, 1.05)),
    "spread": (with_spread, (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)),
    "P-MMF 2": (
        lambda world, strength: p_mmf(world, strength, 2),
        (0.3, 1.0, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0),
    ),
    "P-MMF 8": (
        lambda world, strength: p_mmf(world, strength, 8),
        (0.3, 1.0, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0, 50.0),
    ),
    "min-reg": (min_regulariser, (0.003, 0.01, 0.03, 0.06, 0.1, 0.2, 0.5, 1.0)),
    "CP-fair": (cp_fair, (0.003, 0.01, 0.03, 0.06, 0.1, 0.2, 0.5, 2.0)),
}


def measures(world: World, feeds: Feeds) -> tuple[float, float, float]:
    """(NDCG@10, MMF, Gini)."""
    discount = 1.0 / np.log2(np.arange(2, K + 2))
    users = np.arange(len(feeds))[:, None]
    gained, ideal = world.scores[users, feeds] @ discount, world.scores[users, by_relevance(world)] @ discount
    exposures = np.sort(np.bincount(world.creator[feeds].ravel(), minlength=world.n_creators))
    n = world.n_creators
    worst = exposures[: n // 5].mean() / exposures.mean()
    gini = float((2 * np.arange(1, n + 1) - n - 1) @ exposures / (n * exposures.sum()))
    return float((gained / ideal).mean()), float(worst), gini


def curve(world: World, name: str) -> Array:
    """(settings + 1, 3): measures by relevance alone and at each setting of the knob, by falling accuracy."""
    method, knob = METHODS[name]
    rows = [measures(world, by_relevance(world)), *(measures(world, method(world, value)) for value in knob)]
    points = np.array(rows)
    return points[np.argsort(-points[:, 0], kind="stable")]


def at(points: Array, accuracy: float) -> tuple[float, float]:
    """(MMF, Gini) at ``accuracy``; NaN beyond the knob."""
    if accuracy < points[-1, 0]:
        return np.nan, np.nan
    rising = points[::-1]
    return tuple(float(np.interp(accuracy, rising[:, 0], rising[:, column])) for column in (1, 2))  # type: ignore[return-value]


def rows(cells: dict[str, Array]) -> Iterator[str]:
    """A line for each method: mean over seeds (standard deviation), the best of a column marked."""
    means = {name: cell.mean(axis=0) for name, cell in cells.items()}
    together = np.array(list(means.values()))
    filled = np.where(np.isnan(together), -np.inf, together * np.array([1, -1]))
    top = filled.max(axis=0)
    for name, cell in cells.items():
        told = []
        for accuracy in range(cell.shape[1]):
            for column, sign in ((0, 1), (1, -1)):
                mean, spread = means[name][accuracy, column], cell[:, accuracy, column].std()
                mark = "*" if sign * mean >= top[accuracy, column] - 1e-12 else " "
                told.append("      –      " if np.isnan(mean) else f"{mean:.3f} ({spread:.3f}){mark}")
        yield f"{name:8} | " + " | ".join(told)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    cells: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in METHODS}
    for seed in range(arguments.seeds):
        world = World.drawn(arguments.users, seed)
        accuracy, worst, gini = measures(world, by_relevance(world))
        print(
            f"seed {seed}: by relevance alone accuracy {accuracy:.3f}, MMF {worst:.3f}, Gini {gini:.3f}",
            flush=True,
        )
        for name in METHODS:
            points = curve(world, name)
            cells[name].append([at(points, wanted) for wanted in ACCURACIES])
            told = "  ".join(f"{a:.3f}/{m:.2f}/{g:.2f}" for a, m, g in points)
            print(f"  {name:8} accuracy/MMF/Gini  {told}", flush=True)
    print("\nat equal accuracy: MMF (deviation over seeds), Gini (likewise); * is the best of a column")
    print(f"{'':8} | " + " | ".join(f"{f'MMF at {a:g}':14} | {f'Gini at {a:g}':14}" for a in ACCURACIES))
    for line in rows({name: np.array(each) for name, each in cells.items()}):
        print(line)


if __name__ == "__main__":
    main()
