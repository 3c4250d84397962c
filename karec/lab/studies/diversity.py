"""Diversity against relevance: lists of each diversity method, at several strengths, from the same pools.

A pool has the works that the ranker scored for one request. DPP, MMR and SSD are swept by ``diversity``,
rules by the window in which a creator (and a song) may occur once. Plain top-k is the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.diversity import NeighbourRule, arrange, dpp_select, mmr_select, ssd_select, standardise_scores
from karec.errors import ContractError
from karec.evaluate.metrics.diversity import (
    exposure_gini,
    intra_list_distance,
    log_det,
    near_duplicate_share,
    windowed_distance,
)
from karec.index import ItemIndex
from karec.lab.report import Chart, Part, Table, lines, note, write_report
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Request
from karec.times import Progress

FORMAT = 1  # of diversity.json
METHODS = ("dpp", "mmr", "ssd", "arrange")
CURVES = {
    "distance": "intra-list distance (mean 1 − cosine)",
    "distance_of_ten": "distance within ten neighbours",
    "log_det": "log det (ridge 0.01)",
    "near_duplicates": "fraction of pairs with cosine > 0.95",
    "creators": "creators covered",
}
HEAD = (
    "method",
    "setting",
    "lost",
    "log det",
    "distance",
    "of ten",
    "near dup.",
    "works",
    "Gini",
    "creators",
    "Gini",
    "types",
)
DIVERSITIES = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
WINDOWS = (2, 3, 5, 10, 20, 50)
GROUPS = ("creator_id", "song_id")
Pick = Callable[["Pool", int], NDArray[Any]]  # (pool, k) → positions of the k picked works, best first


@dataclass(frozen=True, eq=False)
class Pool:
    """Candidates of one request: ``ids`` (N,), ``relevance`` (N,), ``embeddings`` (N, D) and integer
    ``columns``
    {name: (N,)}.
    """

    ids: NDArray[Any]
    relevance: NDArray[Any]
    embeddings: NDArray[Any]
    columns: Mapping[str, NDArray[Any]]


def ranked_pools(
    cascade: Cascade,
    index: ItemIndex,
    requests: Sequence[Request],
    stage: str = "rank",
    progress: Progress | None = None,
) -> list[Pool]:
    """Returns the candidates that ``stage`` scored for each request, before its first selector.

    Raises ValueError for an unknown stage.
    """
    names = [part.name for part in cascade.stages]
    if stage not in names:
        raise ValueError(f"unknown stage {stage!r}, expected one of {names}")
    integers = [name for name, column in index.columns.items() if column.dtype.kind in "iub"]
    pools = []
    for done, request in enumerate(requests, 1):
        scored = cascade.run(request).scored[stage]
        if scored.n_unknown:
            raise ContractError(f"{scored.n_unknown} works of stage {stage!r} have no row in the item index")
        columns = {name: index.gather(name, scored.rows) for name in integers}
        pools.append(Pool(scored.ids, scored.scores, index.embeddings(scored.rows), columns))
        if progress is not None:
            progress(done, len(requests), "requesting pools")
    return pools


def diversity_sweep(
    pools: Sequence[Pool],
    k: int,
    diversities: Sequence[float] = DIVERSITIES,
    windows: Sequence[int] = WINDOWS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Returns ``points``: the measures of each method and setting, as in docs/formats.md.

    Raises ValueError without pools and for k ≤ 0. Cost: O(pools·N·k·D) a point.
    """
    if not pools:
        raise ValueError("no pools, expected at least one")
    if k <= 0:
        raise ValueError(f"k must be positive, got {k}")
    methods = list(_methods(pools, k, diversities, windows))
    plain = [_top_k(pool, k) for pool in pools]
    points = []
    for done, (method, setting, pick) in enumerate(methods, 1):
        lists = [pick(pool, k) for pool in pools]
        measures = {**_measures_of_lists(pools, lists, plain), **_measures_of_exposure(pools, lists)}
        points.append({"method": method, "setting": setting, **measures})
        if progress is not None:
            progress(done, len(methods), "sweeping diversity")
    sizes = [len(pool.ids) for pool in pools]
    return {"pools": len(pools), "pool_size": float(np.median(sizes)), "k": k, "points": points}


def _methods(
    pools: Sequence[Pool], k: int, diversities: Sequence[float], windows: Sequence[int]
) -> Iterator[tuple[str, float | None, Pick]]:
    """Yields (name, setting, function that picks a list) for every point of a sweep."""
    yield "top_k", None, _top_k
    for method, select in (("dpp", dpp_select), ("mmr", mmr_select), ("ssd", ssd_select)):
        for diversity in diversities:
            yield method, diversity, _by_vectors(select, diversity)
    columns = [name for name in GROUPS if all(name in pool.columns for pool in pools)]
    for window in (w for w in windows if w <= k and columns):
        yield "arrange", float(window), _by_rules(columns, window)


def _top_k(pool: Pool, k: int) -> NDArray[Any]:
    return np.argsort(-pool.relevance, kind="stable")[:k]


def _by_vectors(select: Callable[..., Any], diversity: float) -> Pick:
    def pick(pool: Pool, k: int) -> NDArray[Any]:
        return np.asarray(
            select(pool.embeddings, standardise_scores(pool.relevance), k, diversity=diversity).indices
        )

    return pick


def _by_rules(columns: Sequence[str], window: int) -> Pick:
    def pick(pool: Pool, k: int) -> NDArray[Any]:
        order = np.argsort(-pool.relevance, kind="stable")
        rules = [NeighbourRule.from_values(pool.columns[name][order], window=window) for name in columns]
        arranged = arrange(len(order), rules, min(k, len(order))).indices
        return np.asarray(order[arranged])

    return pick


def _measures_of_lists(
    pools: Sequence[Pool], lists: Sequence[NDArray[Any]], plain: Sequence[NDArray[Any]]
) -> dict[str, float]:
    """Returns means over pools; relevance is compared with ``plain``, the top-k of each pool."""
    lost = [
        float(np.mean(z[top]) - np.mean(z[chosen]))
        for pool, chosen, top in zip(pools, lists, plain, strict=True)
        for z in [standardise_scores(pool.relevance)]
    ]
    relevance = [float(np.mean(pool.relevance[chosen])) for pool, chosen in zip(pools, lists, strict=True)]
    vectors = [pool.embeddings[chosen] for pool, chosen in zip(pools, lists, strict=True)]
    return {
        "relevance": float(np.mean(relevance)),
        "relevance_lost": float(np.mean(lost)),
        "log_det": float(np.mean([log_det(f) for f in vectors])),
        "distance": float(np.mean([intra_list_distance(f) for f in vectors])),
        "distance_of_ten": float(np.mean([windowed_distance(f) for f in vectors])),
        "near_duplicates": float(np.mean([near_duplicate_share(f) for f in vectors])),
    }


def _measures_of_exposure(pools: Sequence[Pool], lists: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """Returns distinct works and creators of all lists, their Gini, and the fraction of each type."""
    shown = np.concatenate([pool.ids[chosen] for pool, chosen in zip(pools, lists, strict=True)])
    measures: dict[str, Any] = {"works": len(np.unique(shown))}
    measures["gini_works"] = exposure_gini(shown, np.concatenate([pool.ids for pool in pools]))
    if all("creator_id" in pool.columns for pool in pools):
        creators = np.concatenate(
            [p.columns["creator_id"][chosen] for p, chosen in zip(pools, lists, strict=True)]
        )
        measures["creators"] = len(np.unique(creators))
        measures["gini_creators"] = exposure_gini(
            creators, np.concatenate([p.columns["creator_id"] for p in pools])
        )
    if all("type" in pool.columns for pool in pools):
        types = np.concatenate(
            [pool.columns["type"][chosen] for pool, chosen in zip(pools, lists, strict=True)]
        )
        values, counts = np.unique(types, return_counts=True)
        measures["type_share"] = {
            str(value): float(count / len(types)) for value, count in zip(values, counts, strict=True)
        }
    return measures


def write_diversity(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Writes diversity.json and diversity.html; ``report`` as ``diversity_sweep`` returns it."""
    table = diversity_table(report)
    parts: list[Part] = [note(table.title), *_charts(report), table]
    title = "Diversity against relevance"
    return write_report({"format": FORMAT, **report}, folder, "diversity", title, parts)


def diversity_table(report: Mapping[str, Any]) -> Table:
    """Returns a row for each point."""
    title = (
        f"{report['k']} works of each of {report['pools']:,} pools ({report['pool_size']:,.0f} works in the "
        f"median); lost: relevance against plain top-k, in standard deviations of the pool"
    )
    rows = [
        (
            point["method"],
            "" if point["setting"] is None else f"{point['setting']:g}",
            f"{point['relevance_lost']:.3f}",
            f"{point['log_det']:.1f}",
            f"{point['distance']:.3f}",
            f"{point['distance_of_ten']:.3f}",
            f"{point['near_duplicates']:.4f}",
            f"{point['works']:,}",
            f"{point['gini_works']:.3f}",
            f"{point['creators']:,}" if "creators" in point else "–",
            f"{point['gini_creators']:.3f}" if "gini_creators" in point else "–",
            " ".join(f"{value}:{share:.2f}" for value, share in point.get("type_share", {}).items()) or "–",
        )
        for point in report["points"]
    ]
    return Table(title, HEAD, rows)


def _charts(report: Mapping[str, Any]) -> Iterator[Chart]:
    """Yields a chart for each measure, with a line for each method from plain top-k on."""
    plain = next(point for point in report["points"] if point["method"] == "top_k")
    points_of = {name: [point for point in report["points"] if point["method"] == name] for name in METHODS}
    for measure, label in CURVES.items():
        if measure in plain:
            curves = {
                name: (
                    [point["relevance_lost"] for point in (plain, *points)],
                    [point[measure] for point in (plain, *points)],
                )
                for name, points in points_of.items()
                if points
            }
            yield Chart(label, lines(curves, "relevance lost against top-k (deviations)", label), height=3.6)
