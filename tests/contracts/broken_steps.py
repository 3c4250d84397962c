"""Steps that each break one promise of their role, in a way that the wrapper of karec.pipeline.step does not
see."""

import itertools

import numpy as np

from karec.pipeline.step import Filter, Hydrator, QueryHydrator, Scorer, Selector, SideEffect, Source
from karec.pipeline.types import Candidates, Selection

CALLS = itertools.count()


class WritesScores(Filter):
    """Into the array that it was handed."""

    needs = ("scores",)

    def keep(self, request, candidates):
        candidates.scores[:] = 0
        return np.ones(len(candidates), bool)


class Forgets(Filter):
    """To say why it drops."""

    reason = ""

    def keep(self, request, candidates):
        return candidates.ids % 2 == 0


class Remembers(Scorer):
    """How often it was called."""

    def score(self, request, candidates):
        return np.full(len(candidates), next(CALLS), np.float32)


class NeedsInSilence(Scorer):
    """It reads the user's vector and does not say so."""

    def score(self, request, candidates):
        return np.full(len(candidates), request.features["user_vector"][0], np.float32)


class GivesInSilence(Hydrator):
    """A column that it does not declare."""

    def hydrate(self, request, candidates):
        return {"surprise": np.zeros(len(candidates))}


class RescoresInSilence(Selector):
    """It gives scores and does not say so."""

    def select(self, request, candidates):
        n = min(request.k, len(candidates))
        return Selection(np.arange(n), np.full(n, -3, np.float32))


class Invents(Source):
    """A work that nobody knows."""

    def __init__(self, quota):
        self.quota = quota

    def recall(self, request):
        return Candidates.from_ids(np.array([-1]))


class MovesWithTheUser(QueryHydrator):
    """A feature whose width depends on who asks."""

    gives = ("request.wide",)

    def hydrate_request(self, request):
        return {"wide": np.zeros((1, 2 if request.user_id < 100 else 3), np.float32)}


class Trips(SideEffect):
    """Over a feed without works."""

    def run(self, request, page):
        return page.items[0]


class TurnsTheFeed(SideEffect):
    """After it was given."""

    def run(self, request, page):
        page.candidates.scores[:] = -1
