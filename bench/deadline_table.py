"""Requests with deadlines on a bundle that serves: how many are in time, what gives way, what feeds lose.

    karec demo --works 20000 --users 2000 --exposures 50000 --requests 20 --out HERE
    OMP_NUM_THREADS=1 python bench/deadline_table.py HERE/karec.toml

The same users are asked with each deadline in turn, after some requests without one. What a feed is worth is what the
ranker thinks of its works, Σ fused score / log2(place + 1); told is its sum over that of the feeds without a deadline.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

import karec
from karec.cascade import Cascade
from karec.observe.pool_scorer import PoolScorer, stage_named
from karec.types import Recommendation, Request


def worth(cascade: Cascade, scorer: PoolScorer, feed: Recommendation, request: Request) -> float:
    """What the ranker thinks of the feed's works in their order."""
    assert cascade.index is not None
    with cascade.index.pinned() as view:
        whole, _ = cascade.hydrated(replace(request, deadline_ms=None).with_view(view))
        scores = scorer.stage.run(whole, feed.candidates).candidates.scores
    return float((scores / np.log2(np.arange(len(scores)) + 2)).sum())


def row(name: str, deadline_ms: float | None, ms: Sequence[float], gave_way: Counter[str], share: float) -> str:
    in_time = "" if deadline_ms is None else f"{np.mean(np.array(ms) <= deadline_ms):.3f}"
    near = "" if deadline_ms is None else f"{np.mean(np.array(ms) <= deadline_ms + 2):.3f}"
    told = ", ".join(f"{place.removesuffix(': no time')} {n / len(ms):.2f}" for place, n in sorted(gave_way.items()))
    p50, p99 = np.quantile(ms, (0.5, 0.99))
    return f"{name:>8} {in_time:>8} {near:>8} {p50:>7.1f} {p99:>7.1f} {share:>7.3f}  {told or '-'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--scene", default="home")
    parser.add_argument("--users", type=int, default=300, help="asked once with each deadline")
    parser.add_argument("--deadlines", type=float, nargs="+", default=[5.0, 10.0, 20.0, 50.0], metavar="MS")
    arguments = parser.parse_args()
    cascade = replace(karec.Cascade.from_config(arguments.config, scene=arguments.scene), observers=(), naming=None)
    assert cascade.bundle is not None
    snapshot = cascade.bundle.snapshot
    users = np.random.default_rng(0).permutation(snapshot.users.ids)[: arguments.users].tolist()
    scorer = PoolScorer(stage_named(cascade.stages, "rank"))
    for user in users[:50]:
        cascade.run(Request(user, scene=arguments.scene, time_ms=snapshot.time_ms))
    ms, worths = defaultdict[float | None, list[float]](list), Counter[float | None]()
    gave_way = defaultdict[float | None, Counter[str]](Counter)
    short = 0
    for at, user in enumerate(users):
        for deadline_ms in np.roll(np.array([None, *arguments.deadlines], object), at):
            request = Request(user, scene=arguments.scene, time_ms=snapshot.time_ms, deadline_ms=deadline_ms)
            start = perf_counter()
            feed = cascade.run(request)
            ms[deadline_ms].append((perf_counter() - start) * 1e3)
            gave_way[deadline_ms].update(feed.degraded)
            worths[deadline_ms] += worth(cascade, scorer, feed, request)
            short += len(feed) < request.k
    print(f"{len(users)} users; {short} feeds with fewer works than wanted")
    print("deadline  in time  + 2 ms  p50 ms  p99 ms   worth  gave way, share of requests")
    for deadline_ms in (None, *arguments.deadlines):
        name = "none" if deadline_ms is None else f"{deadline_ms:g} ms"
        print(row(name, deadline_ms, ms[deadline_ms], gave_way[deadline_ms], worths[deadline_ms] / worths[None]))


if __name__ == "__main__":
    main()
