"""The roads of prerank side by side: what each costs, and how much of what the ranker would put on top it
keeps.

Every request recalls once; pools of several sizes are drawn from what it found; the ranker scores the whole
pool, and each road lets the same number of works through. Costs are milliseconds of a core, which a busy
machine hardly changes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from karec._clock import Progress
from karec.bundle import Bundle
from karec.cascade import Cascade
from karec.config.assemble import build_stage
from karec.config.scenes import Config
from karec.errors import DataError
from karec.evaluate.funnel import TOPS
from karec.evaluate.measures.accuracy import UserBootstrap, bootstrap_interval
from karec.evaluate.measures.agreement import ranks
from karec.evaluate.page import with_interval
from karec.index import ItemIndex
from karec.observe.pool_scorer import PoolScorer, stage_named
from karec.stage import Stage
from karec.types import Candidates, Request

PRERANK = "prerank"
TURNS = 3  # how often each road runs on a pool; the least time counts
ROUTES_HEAD = ("pool", "road", "passed", "ms of a core", *(f"of the ranker's {top}" for top in TOPS))


def roads(config: Config, scene: str, bundle: Bundle, keep: int, segment: str | None) -> dict[str, Stage]:
    """The stage prerank three times, each lets ``keep`` works through: at random, by live indicators (of
    everybody, and where ``segment`` names a column of users of its values), and by the inner product.
    ``scene`` gives all else.
    """
    begin = [{"use": "index_rows"}, {"use": "has_embedding"}, {"use": "not_shown"}]
    live = {"use": "live_indicators"}
    by_score = {"random": {"use": "random"}, "live indicators": live}
    if segment is not None:
        by_score[f"live indicators by {segment}"] = {**live, "segment": segment}
    steps = {name: [*begin, scorer, {"use": "top_k", "k": keep}] for name, scorer in by_score.items()}
    steps["inner product"] = [*begin, {"use": "inner_product", "k": keep}]
    found = {}
    for name, each in steps.items():
        scenes = {**config.scenes, name: {"inherits": scene, "stages": {PRERANK: {"steps": each}}}}
        found[name] = build_stage(replace(config, scenes=scenes), name, PRERANK, bundle)
    return found


def routes_study(
    cascade: Cascade,
    index: ItemIndex,
    each: Mapping[str, Stage],
    requests: Sequence[Request],
    sizes: Sequence[int],
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """A row for each size and road: ``pool``, ``road``, ``passed`` (median works), ``ms`` (median), and
    ``top10``, ``top100`` with ``…_ci``: the share of the ranker's best that passes, means with 95 % intervals
    over users.

    ``requests`` name users by numbers and have a moment. A pool of fewer works than ``size`` is left out.
    DataError where no request finds so many.
    """
    rows: dict[tuple[int, str], list[dict[str, float]]] = {}
    for done, request in enumerate(requests, 1):
        for size, road, row in _of_request(cascade, index, each, request, sizes):
            rows.setdefault((size, road), []).append(row)
        if progress is not None:
            progress(done, len(requests), "roads of prerank")
    if not rows:
        raise DataError(f"no request finds {min(sizes)} works: give smaller pools")
    return [
        {"pool": size, "road": road, **_means(rows[size, road])}
        for size, road in sorted(rows, key=lambda at: at[0])
    ]


def routes_rows(report: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """As text, under ROUTES_HEAD."""
    for row in report:
        shares = (with_interval(row[f"top{top}"], row[f"top{top}_ci"], 3) for top in TOPS)
        yield (f"{row['pool']:,}", row["road"], f"{row['passed']:,}", f"{row['ms']:.2f}", *shares)


def _of_request(
    cascade: Cascade, index: ItemIndex, each: Mapping[str, Stage], request: Request, sizes: Sequence[int]
) -> Iterator[tuple[int, str, dict[str, float]]]:
    scorer = PoolScorer(stage_named(cascade.stages, "rank"))
    with index.pinned() as view:
        recall_view = None if cascade.recall_index is None else cascade.recall_index.pinned()
        request, _ = cascade.hydrated(request.with_view(view, recall_view))
        recalled, _ = cascade.recall.run(request)
        recalled = recalled.take(np.flatnonzero(view.lookup(recalled.ids) >= 0))
        ranked, _ = scorer.score(request, recalled.with_rows(view.lookup(recalled.ids)))
        generator = np.random.default_rng([abs(request.user_number), len(recalled)])
        for size in sizes:
            if size > len(recalled):
                continue
            pool = recalled.take(np.sort(generator.choice(len(recalled), size, replace=False)))
            scored = ranked.take(np.isin(ranked.ids, pool.ids))
            order = ranks(scored.scores)
            for road, (passed, ms) in _timed(each, request, pool).items():
                kept = np.isin(scored.ids, passed.ids)
                shares = {f"top{top}": float(kept[order < top].mean()) for top in TOPS}
                yield size, road, {"user": request.user_number, "passed": len(passed), "ms": ms, **shares}


def _timed(
    each: Mapping[str, Stage], request: Request, pool: Candidates
) -> dict[str, tuple[Candidates, float]]:
    """{road: (what passes, the least milliseconds of a core of its turns)}."""
    found: dict[str, tuple[Candidates, float]] = {}
    for _ in range(TURNS):
        for road, stage in each.items():
            begin = time.thread_time()
            passed = stage.run(request, pool).candidates
            ms = (time.thread_time() - begin) * 1e3
            found[road] = passed, min(ms, found[road][1] if road in found else np.inf)
    return found


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    users = np.array([row["user"] for row in rows], np.int64)
    bootstrap = UserBootstrap(users, 200, 0)
    means: dict[str, Any] = {"passed": int(np.median([row["passed"] for row in rows]))}
    means["ms"] = float(np.median([row["ms"] for row in rows]))
    for top in TOPS:
        values = np.array([row[f"top{top}"] for row in rows])
        means[f"top{top}"] = float(values.mean())
        means[f"top{top}_ci"] = bootstrap_interval(bootstrap.mean(values))
    return means
