"""Steps of the chain after recall, with NumPy and the settings of the cascade's steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chain.sources import RequestState
from karec.kernels.arguments import RIDGE
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
from karec.steps.shared.similarity import PLAIN

if TYPE_CHECKING:
    from chain.builder import ChainBuilder

Step = Callable[[RequestState], None]
# vectors, scores, k, diversity, window → places
Select = Callable[[Array, Array, int, float, int | None], Array]
HOUR_MS = 3_600_000


def user_features(builder: ChainBuilder, step: UserFeatures, _: Select) -> Step:
    scenes = {name: code for code, name in enumerate(builder.snapshot.labels.get("scene", []))}

    def run(state: RequestState) -> None:
        number, moment = state.request.user_number, int(state.request.time_ms or 0)
        scene = scenes.get(state.request.scene, -1)
        state.features = step.encoder.encode_user(builder.snapshot, number, moment, scene)

    return run


def _user_tower(builder: ChainBuilder, step: UserTower, _: Select) -> Step:
    (tower,) = step.user_towers.values()
    session = builder.session(tower, builder.first_request().features, "user_vector")

    def run(state: RequestState) -> None:
        state.query = session(state.features)[0]

    return run


def _index_rows(builder: ChainBuilder, step: IndexRows, _: Select) -> Step:
    return lambda state: None  # items are rows in the whole chain


def _has_embedding(builder: ChainBuilder, step: HasEmbedding, _: Select) -> Step:
    present = builder.vectors.present
    is_complete = bool(present.all())

    def run(state: RequestState) -> None:
        if not is_complete:
            state.rows = state.rows[present[state.rows]]

    return run


def _inner_product(builder: ChainBuilder, step: InnerProduct, _: Select) -> Step:
    def run(state: RequestState) -> None:
        scores = (
            builder.scores[state.rows] if builder.by_scan else builder.score_rows((state.rows, state.query))
        )
        rows, m = state.rows, step.k
        while True:
            state.rows = rows
            _keep_best(state, scores, m)
            for column, at_most in step.at_most.items():
                keep = _within_quota(builder.columns[column][state.rows], at_most)
                state.rows, state.scores = state.rows[keep], state.scores[keep]
            if not step.at_most or len(state.rows) >= step.min_items or m >= len(rows):
                state.rows, state.scores = state.rows[: step.k], state.scores[: step.k]
                return
            m *= MORE_ITEMS

    return run


def _not_shown(builder: ChainBuilder, step: NotShown, _: Select) -> Step:
    def run(state: RequestState) -> None:
        if state.request.shown:
            keep = np.isin(
                state.rows, builder.snapshot.works.lookup(np.array(state.request.shown)), invert=True
            )
            state.rows, state.scores = state.rows[keep], state.scores[keep]

    return run


def _freshness(builder: ChainBuilder, step: Freshness, _: Select) -> Step:
    uploaded = builder.columns["upload_ms"]

    def run(state: RequestState) -> None:
        hours = np.maximum(int(state.request.time_ms or 0) - uploaded[state.rows], 0) / HOUR_MS
        state.scores = (state.scores + step.weight * np.exp2(hours / -step.half_life_hours)).astype(
            np.float32
        )

    return run


def _quota(builder: ChainBuilder, step: Quota, _: Select) -> Step:
    column = builder.columns[step.column]

    def run(state: RequestState) -> None:
        order = np.argsort(-state.scores, kind="stable")
        keep = np.sort(order[_within_quota(column[state.rows[order]], step.at_most)])
        state.rows, state.scores = state.rows[keep], state.scores[keep]

    return run


def _within_quota(groups: Array, at_most: int) -> Array:
    """Returns the positions of items within the quota, ascending. ``groups (N,)``: of items, best first."""
    by_group = np.argsort(groups, kind="stable")
    ordered = groups[by_group]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    place = np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))
    return np.sort(by_group[place < at_most])


def _dpp(builder: ChainBuilder, step: Dpp, select: Select) -> Step:
    if step.typed or step.weights or step.similarity.settings != PLAIN or step.options["ridge"] != RIDGE:
        raise SystemExit("the chain has no dpp with types, weights, a similarity or a ridge")

    def run(state: RequestState) -> None:
        k = state.request.k if step.k is None else step.k
        chosen = select(
            builder.vectors.all[state.rows], state.scores, k, step.diversity, step.options["window"]
        )
        state.rows, state.scores = state.rows[chosen], state.scores[chosen]

    return run


def _ranker(builder: ChainBuilder, step: Ranker, _: Select) -> Step:
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


def _fusion(builder: ChainBuilder, step: Fusion, _: Select) -> Step:
    def run(state: RequestState) -> None:
        state.scores = step.fusion(state.logits, step.tasks)

    return run


def _top_k(builder: ChainBuilder, step: TopK, _: Select) -> Step:
    return lambda state: _keep_best(state, state.scores, state.request.k if step.k is None else step.k)


def _page_rules(builder: ChainBuilder, step: PageRules, _: Select) -> Step:
    """Selects for each place the first item that breaks no rule, or the first item if all break one."""
    if step.places or step.boosts or any(rule.apart or rule.values for rule in step.rules):
        raise SystemExit("the chain has no page_rules with places, boosts, values or pairs")
    rules = [(builder.columns[rule.column], rule.window, rule.count) for rule in step.rules]

    def run(state: RequestState) -> None:
        k = state.request.k if step.k is None else step.k
        values = [(column[state.rows].tolist(), window, count) for column, window, count in rules]
        remaining, picks = list(range(len(state.rows))), []
        while remaining and len(picks) < k:
            fitting = (row for row in remaining if all(_fits(row, picks, *rule) for rule in values))
            pick = next(fitting, remaining[0])
            remaining.remove(pick)
            picks.append(pick)
        state.rows, state.scores = state.rows[picks], state.scores[picks]

    return run


def _fits(row: int, picks: list[int], values: list[int], window: int | str, count: int) -> bool:
    near = picks if isinstance(window, str) else picks[1 - window :]
    return values[row] < 0 or sum(values[pick] == values[row] for pick in near) < count


def _keep_best(state: RequestState, scores: Array, k: int) -> None:
    """Keeps the k largest of ``scores``, in descending order."""
    near = (
        np.argpartition(scores, len(scores) - k)[len(scores) - k :]
        if k < len(scores)
        else np.arange(len(scores))
    )
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
