"""The steps of request.py's other side but recall, with NumPy: each is made of the settings of the
cascade's own.

The features of user and works come from karec's encoder on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chain.lists import Asked
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
from karec.steps.selectors.inner_product import InnerProduct
from karec.steps.selectors.page_rules import PageRules
from karec.steps.selectors.top_k import TopK
from karec.steps.shared.similarity import PLAIN

if TYPE_CHECKING:
    from chain.peer import Workshop

Step = Callable[[Asked], None]
# vectors, scores, k, diversity, window → places
Select = Callable[[Array, Array, int, float, int | None], Array]
HOUR_MS = 3_600_000


def user_features(shop: Workshop, step: UserFeatures, _: Select) -> Step:
    scenes = {name: code for code, name in enumerate(shop.snapshot.labels.get("scene", []))}

    def run(asked: Asked) -> None:
        number, moment = asked.request.user_number, int(asked.request.time_ms or 0)
        scene = scenes.get(asked.request.scene, -1)
        asked.features = step.encoder.encode_user(shop.snapshot, number, moment, scene)

    return run


def _user_tower(shop: Workshop, step: UserTower, _: Select) -> Step:
    (tower,) = step.user_towers.values()
    session = shop.session(tower, shop.asked().features, "user_vector")

    def run(asked: Asked) -> None:
        asked.query = session(asked.features)[0]

    return run


def _rows(shop: Workshop, step: IndexRows, _: Select) -> Step:
    return lambda asked: None  # works are rows from the start


def _has_embedding(shop: Workshop, step: HasEmbedding, _: Select) -> Step:
    present = shop.vectors.present
    everywhere = bool(present.all())

    def run(asked: Asked) -> None:
        if not everywhere:
            asked.rows = asked.rows[present[asked.rows]]

    return run


def _inner_product(shop: Workshop, step: InnerProduct, _: Select) -> Step:
    def run(asked: Asked) -> None:
        scores = shop.scores[asked.rows] if shop.by_scan else shop.score_rows((asked.rows, asked.query))
        _keep_best(asked, scores, step.k)

    return run


def _not_shown(shop: Workshop, step: NotShown, _: Select) -> Step:
    def run(asked: Asked) -> None:
        if asked.request.shown:
            keep = np.isin(asked.rows, shop.snapshot.works.lookup(np.array(asked.request.shown)), invert=True)
            asked.rows, asked.scores = asked.rows[keep], asked.scores[keep]

    return run


def _freshness(shop: Workshop, step: Freshness, _: Select) -> Step:
    uploaded = shop.columns["upload_ms"]

    def run(asked: Asked) -> None:
        hours = np.maximum(int(asked.request.time_ms or 0) - uploaded[asked.rows], 0) / HOUR_MS
        asked.scores = (asked.scores + step.weight * np.exp2(hours / -step.half_life_hours)).astype(
            np.float32
        )

    return run


def _quota(shop: Workshop, step: Quota, _: Select) -> Step:
    column = shop.columns[step.column]

    def run(asked: Asked) -> None:
        order = np.argsort(-asked.scores, kind="stable")
        groups = column[asked.rows[order]]
        by_group = np.argsort(groups, kind="stable")
        ordered = groups[by_group]
        first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        place = np.arange(len(order)) - np.repeat(first, np.diff(np.append(first, len(order))))
        keep = np.sort(order[by_group[place < step.at_most]])
        asked.rows, asked.scores = asked.rows[keep], asked.scores[keep]

    return run


def _dpp(shop: Workshop, step: Dpp, select: Select) -> Step:
    if step.typed or step.weights or step.similarity.settings != PLAIN or step.options["ridge"] != RIDGE:
        raise SystemExit(
            "a dpp with types, weights, a similarity or a ridge is not written for the other side"
        )

    def run(asked: Asked) -> None:
        k = asked.request.k if step.k is None else step.k
        chosen = select(shop.vectors.all[asked.rows], asked.scores, k, step.diversity, step.options["window"])
        asked.rows, asked.scores = asked.rows[chosen], asked.scores[chosen]

    return run


def _ranker(shop: Workshop, step: Ranker, _: Select) -> Step:
    encoder, model = step.encoder, step.ranker

    def inputs(asked: Asked) -> dict[str, Array]:
        items = encoder.encode_items(shop.snapshot, asked.rows, int(asked.request.time_ms or 0))
        inputs = {**asked.features, **items, **encoder.encode_crosses(asked.features, items)}
        return {**inputs, "dense": encoder.dense(inputs)} if "dense" in model.inputs else inputs

    asked = shop.asked(np.arange(min(1000, len(shop.vectors.all))))
    session = shop.session(model, inputs(asked), "logits")

    def run(asked: Asked) -> None:
        asked.logits = session(inputs(asked))

    return run


def _fusion(shop: Workshop, step: Fusion, _: Select) -> Step:
    def run(asked: Asked) -> None:
        asked.scores = step.fusion(asked.logits, step.tasks)

    return run


def _top_k(shop: Workshop, step: TopK, _: Select) -> Step:
    return lambda asked: _keep_best(asked, asked.scores, asked.request.k if step.k is None else step.k)


def _scatter(shop: Workshop, step: PageRules, _: Select) -> Step:
    """The first work that breaks no rule, place by place; where every one does, the first."""
    if step.places or step.boosts or any(rule.apart or rule.values for rule in step.rules):
        raise SystemExit("scatter's places, boosts, values and pairs are not written for the other side")
    rules = [(shop.columns[rule.column], rule.window, rule.count) for rule in step.rules]

    def run(asked: Asked) -> None:
        k = asked.request.k if step.k is None else step.k
        values = [(column[asked.rows].tolist(), window, count) for column, window, count in rules]
        left, chosen = list(range(len(asked.rows))), []
        while left and len(chosen) < k:
            pick = next((at for at in left if all(_fits(at, chosen, *rule) for rule in values)), left[0])
            left.remove(pick)
            chosen.append(pick)
        asked.rows, asked.scores = asked.rows[chosen], asked.scores[chosen]

    return run


def _fits(at: int, chosen: list[int], values: list[int], window: int | str, count: int) -> bool:
    near = chosen if isinstance(window, str) else chosen[1 - window :]
    return values[at] < 0 or sum(values[each] == values[at] for each in near) < count


def _keep_best(asked: Asked, scores: Array, k: int) -> None:
    """The k largest, largest first."""
    near = (
        np.argpartition(scores, len(scores) - k)[len(scores) - k :]
        if k < len(scores)
        else np.arange(len(scores))
    )
    near = near[np.argsort(-scores[near], kind="stable")]
    asked.rows, asked.scores = asked.rows[near], scores[near]


MAKERS: dict[type, Any] = {
    UserFeatures: user_features,
    UserTower: _user_tower,
    IndexRows: _rows,
    HasEmbedding: _has_embedding,
    InnerProduct: _inner_product,
    NotShown: _not_shown,
    Freshness: _freshness,
    Quota: _quota,
    Dpp: _dpp,
    Ranker: _ranker,
    Fusion: _fusion,
    TopK: _top_k,
    PageRules: _scatter,
}
