"""Steps of the chain after recall, with NumPy, Numba and the settings of the cascade's steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chain.kernels import arrange, greedy_dpp, within_quota
from chain.methods import largest
from chain.sources import RequestState
from karec.pipeline.types import Array
from karec.steps.filters.has_embedding import HasEmbedding
from karec.steps.filters.not_shown import NotShown
from karec.steps.filters.quota import Quota
from karec.steps.hydrators.index_rows import IndexRows
from karec.steps.hydrators.ranker import Ranker
from karec.steps.query.user_features import UserFeatures
from karec.steps.query.user_tower import UserTower
from karec.steps.scorers.freshness import Freshness
from karec.steps.scorers.fusion import Fusion
from karec.steps.selectors.dpp import Dpp
from karec.steps.selectors.inner_product import MORE_ITEMS, InnerProduct
from karec.steps.selectors.page_rules import PageRules
from karec.steps.selectors.top_k import TopK

if TYPE_CHECKING:
    from chain.builder import ChainBuilder

Step = Callable[[RequestState], None]
HOUR_MS = 3_600_000
MAX_TRIES = 20_000  # items that the search of an order by rules tries


def user_features(builder: ChainBuilder, step: UserFeatures) -> Step:
    scenes = {name: code for code, name in enumerate(builder.snapshot.labels.get("scene", []))}

    def run(state: RequestState) -> None:
        number, moment = state.request.user_number, int(state.request.time_ms or 0)
        scene = scenes.get(state.request.scene, -1)
        state.features = step.encoder.encode_user(builder.snapshot, number, moment, scene)

    return run


def _user_tower(builder: ChainBuilder, step: UserTower) -> Step:
    ((version, tower),) = step.user_towers.items()
    session = builder.session(tower, builder.first_request().features, "user_vector")
    cross_tables = step.cross_tables.get(version)

    def run(state: RequestState) -> None:
        tables = None if cross_tables is None else cross_tables.make(state.features)
        state.query = builder.vectors.query(session(state.features)[0], tables)

    return run


def _index_rows(builder: ChainBuilder, step: IndexRows) -> Step:
    return lambda state: None  # items are rows in the whole chain


def _has_embedding(builder: ChainBuilder, step: HasEmbedding) -> Step:
    present = builder.vectors.present
    is_complete = bool(present.all())

    def run(state: RequestState) -> None:
        if not is_complete:
            state.rows = state.rows[present[state.rows]]

    return run


def _inner_product(builder: ChainBuilder, step: InnerProduct) -> Step:
    groups = [(*builder.groups(column), at_most) for column, at_most in step.at_most.items()]

    def run(state: RequestState) -> None:
        scores = (
            builder.scores[state.rows] if builder.by_scan else builder.score_rows((state.rows, state.query))
        )
        rows, m = state.rows, step.k
        while True:
            state.rows = rows
            _keep_best(state, scores, m)
            for group_of, counts, at_most in groups:
                keep = within_quota(group_of[state.rows], at_most, counts)
                state.rows, state.scores = state.rows[keep], state.scores[keep]
            if not groups or len(state.rows) >= step.min_items or m >= len(rows):
                state.rows, state.scores = state.rows[: step.k], state.scores[: step.k]
                return
            m *= MORE_ITEMS

    return run


def _not_shown(builder: ChainBuilder, step: NotShown) -> Step:
    def run(state: RequestState) -> None:
        if state.request.shown:
            keep = np.isin(
                state.rows, builder.snapshot.works.lookup(np.array(state.request.shown)), invert=True
            )
            state.rows, state.scores = state.rows[keep], state.scores[keep]

    return run


def _freshness(builder: ChainBuilder, step: Freshness) -> Step:
    uploaded = builder.columns["upload_ms"]

    def run(state: RequestState) -> None:
        hours = np.maximum(int(state.request.time_ms or 0) - uploaded[state.rows], 0) / HOUR_MS
        state.scores = (state.scores + step.weight * np.exp2(hours / -step.half_life_hours)).astype(
            np.float32
        )

    return run


def _quota(builder: ChainBuilder, step: Quota) -> Step:
    group_of, counts = builder.groups(step.column)

    def run(state: RequestState) -> None:
        order = np.argsort(-state.scores, kind="stable")
        keep = np.sort(order[within_quota(group_of[state.rows[order]], step.at_most, counts)])
        state.rows, state.scores = state.rows[keep], state.scores[keep]

    return run


def _dpp(builder: ChainBuilder, step: Dpp) -> Step:
    settings = step.similarity.settings
    if step.typed or step.weights or settings.vectors != "item" or settings.centre or settings.whiten:
        raise SystemExit("the chain has no dpp with types, weights or mapped vectors")
    facets = np.array([builder.columns[name] for name in settings.facets], np.int64)
    weights = np.array([*settings.facets.values()], np.float32)
    lengths = np.linalg.norm(builder.vectors.all, axis=1, keepdims=True)
    unit_vectors = builder.vectors.all / np.maximum(lengths, 1e-12)
    ridge, window = np.float32(step.options["ridge"]), step.options["window"]
    facets = facets.reshape(len(weights), len(unit_vectors))

    def run(state: RequestState) -> None:
        k = min(state.request.k if step.k is None else step.k, len(state.rows))
        z = (state.scores - state.scores.mean()) / max(float(state.scores.std()), 1e-12)
        q2 = np.exp((1 - step.diversity) / step.diversity * (z - z.max())).astype(np.float32)
        items = unit_vectors[state.rows], facets[:, state.rows]
        chosen = greedy_dpp(*items, weights, q2, k, k + 1 if window is None else window, ridge)
        state.pools.append((state.rows, state.scores))
        state.rows, state.scores = state.rows[chosen], state.scores[chosen]

    return run


def _ranker(builder: ChainBuilder, step: Ranker) -> Step:
    encoder, model = step.encoder, step.ranker

    def inputs(state: RequestState) -> dict[str, Array]:
        items = encoder.encode_items(builder.snapshot, state.rows, int(state.request.time_ms or 0))
        inputs = {**state.features, **items, **encoder.encode_crosses(state.features, items)}
        return {**inputs, "dense": encoder.dense(inputs)} if "dense" in model.inputs else inputs

    sample = builder.first_request(np.arange(min(1000, len(builder.vectors.all))))
    session = builder.session(model, inputs(sample), "logits")

    def run(state: RequestState) -> None:
        state.logits = session(inputs(state))

    return run


def _fusion(builder: ChainBuilder, step: Fusion) -> Step:
    def run(state: RequestState) -> None:
        state.scores = step.fusion(state.logits, step.tasks)

    return run


def _top_k(builder: ChainBuilder, step: TopK) -> Step:
    def run(state: RequestState) -> None:
        state.pools.append((state.rows, state.scores))
        _keep_best(state, state.scores, state.request.k if step.k is None else step.k)

    return run


def _page_rules(builder: ChainBuilder, step: PageRules) -> Step:
    """Takes the first order that breaks no rule, with items that earlier cuts left out if it needs them."""
    if step.places or step.boosts or any(rule.apart or rule.values for rule in step.rules):
        raise SystemExit("the chain has no page_rules with places, boosts, values or pairs")
    columns = np.array([builder.columns[rule.column] for rule in step.rules], np.int64)
    windows = np.array([10**6 if isinstance(rule.window, str) else rule.window for rule in step.rules])
    counts = np.array([rule.count for rule in step.rules])
    last_steps = builder.cascade.stages[-1].steps
    scorers = [builder.make_step(other) for other in last_steps if other.role == "scorer"]

    def order(rows: Array, k: int, n_rules: int) -> Array:
        values = columns[:n_rules, rows]
        for value, window, count in zip(values, windows, counts, strict=False):
            n_of_value = np.unique(value[value >= 0], return_counts=True)[1]
            if window >= k and np.minimum(n_of_value, count).sum() + np.count_nonzero(value < 0) < k:
                return rows[:0]
        return arrange(values, windows[:n_rules], counts[:n_rules], k, MAX_TRIES)

    def with_reserve(state: RequestState) -> Array:
        """Returns the remaining rows, then those that the last two cuts left out, the best first."""
        rows, scores = state.pools[-2]
        is_spare = ~np.isin(rows, state.pools[-1][0])
        spare = RequestState(state.request, state.user, rows=rows[is_spare], scores=scores[is_spare])
        for scorer in scorers:
            scorer(spare)
        rows, scores = state.pools[-1]
        is_left = ~np.isin(rows, state.rows)
        left = rows[is_left][np.argsort(-scores[is_left], kind="stable")]
        return np.concatenate([state.rows, left, spare.rows[np.argsort(-spare.scores, kind="stable")]])

    def run(state: RequestState) -> None:
        k, rows = state.request.k if step.k is None else step.k, state.rows
        picks = order(rows, k, len(counts))
        if not len(picks):
            rows = with_reserve(state)
            tries = (order(rows, min(k, len(rows)), n_rules) for n_rules in range(len(counts), -1, -1))
            picks = next(picks for picks in tries if len(picks))
        state.rows = rows[picks]

    return run


def _keep_best(state: RequestState, scores: Array, k: int) -> None:
    """Keeps the k largest of ``scores``, in descending order."""
    near = largest(scores, k)
    near = near[np.argsort(-scores[near], kind="stable")]
    state.rows, state.scores = state.rows[near], scores[near]


STEP_MAKERS: dict[type, Any] = {
    UserFeatures: user_features,
    UserTower: _user_tower,
    IndexRows: _index_rows,
    HasEmbedding: _has_embedding,
    InnerProduct: _inner_product,
    NotShown: _not_shown,
    Freshness: _freshness,
    Quota: _quota,
    Dpp: _dpp,
    Ranker: _ranker,
    Fusion: _fusion,
    TopK: _top_k,
    PageRules: _page_rules,
}
