"""Requests with deadlines on a bundle that serves: how many are in time, what gives way, what feeds lose.

    karec demo --works 20000 --users 2000 --exposures 50000 --requests 20 --out HERE
    OMP_NUM_THREADS=1 python bench/deadline_table.py HERE/karec.toml --world 20000 2000 50000

The same users are asked with each deadline in turn, after some requests without one. What a feed is worth is
what the ranker thinks of its works, Σ fused score / log2(place + 1); told is its sum over that of the feeds
without a deadline. With the sizes of the world that the bundle was made of also its truth: what users would
play and like of the feeds, in their hidden tastes, a work with nothing alike before it.

A second table has each substitute alone, without a deadline: what it saves, in ms of processor time, and what
it costs.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, thread_time

import numpy as np

import karec
from karec._budget import Budget
from karec.cascade import Cascade
from karec.observe.pool_scorer import PoolScorer, stage_named
from karec.platform.snapshot import Snapshot
from karec.recommendation import Recommendation
from karec.simulate.world import World, make_world
from karec.trace import NoTime
from karec.types import Array, Request

TRUE = "play_time", "like"
WORTH = "worth", "played", "liked"


@dataclass(frozen=True)
class Judge:
    """What a feed is worth, (3,) or without a world (1,): to the ranker, and the seconds and likes that it
    gets."""

    cascade: Cascade
    scorer: PoolScorer
    world: World | None

    def __call__(self, feed: Recommendation, request: Request) -> Array:
        found = [self._to_the_ranker(feed, request)]
        if self.world is not None:
            platform, n = self.world.dataset.snapshot, len(feed)
            users = np.repeat(platform.users.lookup(np.array([request.user_id])), n)
            works = platform.works.lookup(feed.candidates.ids)
            moments = np.full(n, request.time_ms)
            found += (
                self.world.outcomes(TRUE, users, works, moments, np.zeros(n, np.int64)).sum(axis=0).tolist()
            )
        return np.array(found)

    def _to_the_ranker(self, feed: Recommendation, request: Request) -> float:
        assert self.cascade.index is not None
        with self.cascade.index.pinned() as view:
            whole, _ = self.cascade.hydrated(replace(request, deadline_ms=None).with_view(view))
            scores = self.scorer.stage.run(whole, feed.candidates).candidates.scores
        return float((scores / np.log2(np.arange(len(scores)) + 2)).sum())


class Forced(Budget):
    """What is named gives way, and nothing else."""

    def __init__(self, cascade: Cascade, places: Sequence[str]) -> None:
        super().__init__(cascade.clock, None, cascade.units)
        self._places = places

    def short(self, ahead: int = 0) -> NoTime | None:
        place = self._units[self._at + ahead].place
        return NoTime(place, 0.0, 0.0) if place in self._places else None


def world_of(sizes: Sequence[int] | None, snapshot: Snapshot) -> World | None:
    """SystemExit: the bundle is of another world."""
    if sizes is None:
        return None
    world = make_world(*sizes[:3], seed=sizes[3] if len(sizes) > 3 else 0)
    works = world.dataset.snapshot.works
    rows = works.lookup(snapshot.works.ids)
    if (rows < 0).any() or (works["creator_id"][rows] != snapshot.works["creator_id"]).any():
        raise SystemExit(
            "the bundle is of another world: give --world the sizes of its karec demo, and its seed"
        )
    return world


def row(
    name: str, deadline_ms: float | None, ms: Sequence[float], gave_way: Counter[str], shares: Array
) -> str:
    in_time = "" if deadline_ms is None else f"{np.mean(np.array(ms) <= deadline_ms):.3f}"
    near = "" if deadline_ms is None else f"{np.mean(np.array(ms) <= deadline_ms + 2):.3f}"
    told = ", ".join(
        f"{place.removesuffix(': no time')} {n / len(ms):.2f}" for place, n in sorted(gave_way.items())
    )
    p50, p99 = np.quantile(ms, (0.5, 0.99))
    worth = " ".join(f"{share:>7.3f}" for share in shares)
    return f"{name:>8} {in_time:>8} {near:>8} {p50:>7.1f} {p99:>7.1f} {worth}  {told or '-'}"


def deadlines_table(
    cascade: Cascade, judge: Judge, users: list[int], deadlines: list[float], time_ms: int
) -> None:
    ms = defaultdict[float | None, list[float]](list)
    worths = defaultdict[float | None, list[Array]](list)
    gave_way = defaultdict[float | None, Counter[str]](Counter)
    short = 0
    for at, user in enumerate(users):
        for deadline_ms in np.roll(np.array([None, *deadlines], object), at):
            request = Request(user, scene=cascade.scene, time_ms=time_ms, deadline_ms=deadline_ms)
            start = perf_counter()
            feed = cascade.run(request)
            ms[deadline_ms].append((perf_counter() - start) * 1e3)
            gave_way[deadline_ms].update(feed.degraded)
            worths[deadline_ms].append(judge(feed, request))
            short += len(feed) < request.k
    whole = np.sum(worths[None], axis=0)
    print(f"{len(users)} users; {short} feeds with fewer works than wanted")
    names = " ".join(f"{name:>7}" for name in WORTH[: len(whole)])
    print(f"deadline  in time   + 2 ms  p50 ms  p99 ms {names}  gave way, share of requests")
    for deadline_ms in (None, *deadlines):
        name = "none" if deadline_ms is None else f"{deadline_ms:g} ms"
        shares = np.sum(worths[deadline_ms], axis=0) / whole
        print(row(name, deadline_ms, ms[deadline_ms], gave_way[deadline_ms], shares))


def substitutes_table(cascade: Cascade, judge: Judge, users: list[int], time_ms: int) -> None:
    """Each cost with the half of its 95 % interval over users."""
    able = [unit.place for unit in cascade.units if unit.substitute is not None]
    choices: list[tuple[str, ...]] = [(), *((place,) for place in able), tuple(able)]
    ms = defaultdict[tuple[str, ...], list[float]](list)
    worths = defaultdict[tuple[str, ...], list[Array]](list)
    for at, user in enumerate(users):
        request = Request(user, scene=cascade.scene, time_ms=time_ms)
        for turn in range(len(choices)):
            places = choices[(at + turn) % len(choices)]
            views = [
                None if index is None else index.pinned() for index in (cascade.index, cascade.recall_index)
            ]
            start = thread_time()
            _, feed = cascade._feed(request.with_view(*views), Forced(cascade, places))
            ms[places].append((thread_time() - start) * 1e3)
            worths[places].append(judge(feed, request))
    whole, took = np.array(worths[()]), np.median(ms[()])
    print(f"each substitute alone; whole: {took:.2f} ms of processor time")
    for places in choices[1:]:
        each = np.array(worths[places])
        lost = 100 * (each - whole).mean(axis=0) / whole.mean(axis=0)
        half = 196 * (each - whole).std(axis=0) / np.sqrt(len(users)) / whole.mean(axis=0)
        told = "   ".join(
            f"{name} {a:+.2f} ± {b:.2f} %" for name, a, b in zip(WORTH, lost, half, strict=False)
        )
        print(f"{' + '.join(places):>50}  saves {took - np.median(ms[places]):5.2f} ms   {told}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--scene", default="home")
    parser.add_argument("--users", type=int, default=300, help="asked once with each deadline")
    parser.add_argument("--deadlines", type=float, nargs="+", default=[5.0, 10.0, 20.0, 50.0], metavar="MS")
    parser.add_argument(
        "--world", type=int, nargs="+", metavar="N", help="works, users, exposures [, seed] of its demo"
    )
    arguments = parser.parse_args()
    cascade = replace(
        karec.Cascade.from_config(arguments.config, scene=arguments.scene), observers=(), naming=None
    )
    assert cascade.bundle is not None
    snapshot = cascade.bundle.snapshot
    users = np.random.default_rng(0).permutation(snapshot.users.ids)[: arguments.users].tolist()
    judge = Judge(
        cascade, PoolScorer(stage_named(cascade.stages, "rank")), world_of(arguments.world, snapshot)
    )
    for user in users[:50]:
        cascade.run(Request(user, scene=arguments.scene, time_ms=snapshot.time_ms))
    deadlines_table(cascade, judge, users, arguments.deadlines, snapshot.time_ms)
    substitutes_table(cascade, judge, users, snapshot.time_ms)


if __name__ == "__main__":
    main()
