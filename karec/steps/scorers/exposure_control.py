"""The steps that steer exposure: prices of one moment for the request, their effect on scores, and the
counting."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from karec.exposure.boosts import Behind
from karec.exposure.controller import Steering
from karec.exposure.dual_variables import steered
from karec.pipeline.step import QueryHydrator, Scorer, SideEffect, Source
from karec.pipeline.types import Array, Candidates, Page, Request, StepOutput

VERSION = "exposure_prices"
EXPLORED = "explored"
NOBODY = np.iinfo(np.int64).min  # fills the row where fewer works are explored
DRAWN = 32  # works behind a floor of which Thompson sampling takes the best
SPARE = 2  # works drawn for each place: a filter may drop one
FLUSH_SECONDS = 1.0


class ExposurePrices(QueryHydrator):
    """``exposure_prices (1, 1) int64``: the version of the prices that all steps of the request read;
    ``explored (1, 2·explore) int64``: works behind a floor that this request may show.

    Thompson sampling: of 32 works, the farther behind the likelier, each draws from its Beta rate, and the
    largest draws win. Seeded by the request's id: the same id, prices and session draw the same works. O(32).
    """

    gives = (f"request.{VERSION}", f"request.{EXPLORED}")

    def __init__(self, exposure: Steering | None) -> None:
        self.exposure = needed(exposure)

    def hydrate_request(self, request: Request) -> Mapping[str, Array]:
        prices = self.exposure.newest
        explored = np.full((1, SPARE * self.exposure.explore), NOBODY)
        if self.exposure.explore and len(prices.behind.ids):
            drawn = thompson(prices.behind, request, explored.shape[1])
            explored[0, : len(drawn)] = drawn
        return {VERSION: np.array([[prices.version]]), EXPLORED: explored}


class Underexposed(Source):
    """The works that this request explores: those behind a floor that ``exposure_prices`` drew. They are
    pinned."""

    needs = (f"request.{EXPLORED}",)

    def __init__(self, exposure: Steering | None, quota: int) -> None:
        self.exposure, self.quota = needed(exposure), quota

    def recall(self, request: Request) -> Candidates:
        ids = request.features[EXPLORED][0]
        found = Candidates.from_ids(ids[ids != NOBODY][: self.quota])
        return found.with_pinned(np.ones(len(found), bool))


class Exposure(Scorer):
    """score − λ · deviation of the scores, with λ the sum of the prices of the work's groups.

    Scores that no price touches keep their bits. The first ``explore`` pinned works get
    the score of a place in the first half of the feed, drawn by the request's id. Notes: the prices, and
    targets that are not met. O(N · priced groups + N log k).
    """

    needs = ("rows", "scores", f"request.{VERSION}")

    def __init__(self, exposure: Steering | None) -> None:
        self.exposure = needed(exposure)

    def score(self, request: Request, candidates: Candidates) -> StepOutput[Array]:
        prices = self.exposure.at(int(request.features[VERSION][0, 0]))
        of_works = prices.of(request, candidates)
        scores = candidates.scores if of_works is None else steered(candidates.scores, of_works)
        pinned = () if candidates.pinned is None else np.flatnonzero(candidates.pinned)
        lifted = np.asarray(pinned, np.int64)[: self.exposure.explore]
        if len(lifted):
            scores = _lifted(scores, lifted, request)
        return StepOutput(
            scores, {**prices.notes, "explored": len(lifted)} if self.exposure.explore else prices.notes
        )


class Exposures(SideEffect):
    """Counts what feeds showed, and moves the prices. Feeds are held back for a second at most."""

    has_view = True
    stages = ()

    def __init__(self, exposure: Steering | None) -> None:
        self.exposure = needed(exposure)
        self._oldest = 0.0

    def run(self, request: Request, page: Page) -> None:
        if not self.exposure.held:
            self._oldest = time.monotonic()
        self.exposure.show(request, page.candidates)

    def due(self) -> float | None:
        return self._oldest + FLUSH_SECONDS if self.exposure.held else None

    def flush(self) -> None:
        self.exposure.settle()

    def close(self) -> None:
        self.exposure.settle()

    def counts(self) -> Mapping[str, int]:
        prices = self.exposure.newest
        return {"price_version": prices.version, "behind_floors": len(prices.behind.ids)}


def needed(exposure: Steering | None) -> Steering:
    if exposure is None:
        wanted = "targets, caps, floors or spread"
        raise ValueError(f"the scene has no table `exposure`: write [scenes.NAME.exposure] with {wanted}")
    return exposure


def thompson(behind: Behind, request: Request, n: int) -> Array:
    """(≤ n,) ids of ``behind`` that this session was not shown, the largest draw first."""
    rng = np.random.default_rng(request.seed)
    at = np.unique((len(behind.ids) * rng.random(DRAWN) ** 2).astype(np.int64))
    draws = rng.beta(behind.alpha[at], behind.beta[at])
    ids = behind.ids[at[np.argsort(-draws, kind="stable")]]
    shown = {work for work in request.shown if not isinstance(work, str)}
    return np.array([work for work in ids.tolist() if work not in shown][:n], np.int64)


def _lifted(scores: Array, lifted: Array, request: Request) -> Array:
    """``scores`` with those at ``lifted`` raised to the score of places in the first half of the feed."""
    k = min(request.k, len(scores))
    best = np.sort(np.partition(scores, len(scores) - k)[len(scores) - k :])[::-1]
    half, drawn, out = max(k // 2, 1), request.seed, scores.copy()
    for place in lifted.tolist():
        drawn, at = divmod(drawn, half)
        out[place] = max(out[place], np.nextafter(best[at], np.float32(np.inf)))
    return out
