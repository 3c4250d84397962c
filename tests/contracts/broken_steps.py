"""Steps that break one promise of their role each. The wrapper of karec.pipeline.step does not detect it."""

import itertools

import numpy as np

from karec.pipeline.step import Filter, Hydrator, QueryHydrator, Scorer, Selector, SideEffect, Source
from karec.pipeline.types import Candidates, Selection

CALLS = itertools.count()


class WritesScores(Filter):
    """Writes into its input."""

    needs = ("scores",)

    def keep(self, request, candidates):
        candidates.scores[:] = 0
        return np.ones(len(candidates), bool)


class Forgets(Filter):
    """Drops candidates without a reason."""

    reason = ""

    def keep(self, request, candidates):
        return candidates.ids % 2 == 0


class Remembers(Scorer):
    """Scores by the number of its calls."""

    def score(self, request, candidates):
        return np.full(len(candidates), next(CALLS), np.float32)


class NeedsInSilence(Scorer):
    """Reads the user vector without declaring it."""

    def score(self, request, candidates):
        return np.full(len(candidates), request.features["user_vector"][0], np.float32)


class GivesInSilence(Hydrator):
    """Gives a column that it does not declare."""

    def hydrate(self, request, candidates):
        return {"surprise": np.zeros(len(candidates))}


class RescoresInSilence(Selector):
    """Gives scores without declaring them."""

    def select(self, request, candidates):
        n = min(request.k, len(candidates))
        return Selection(np.arange(n), np.full(n, -3, np.float32))


class Invents(Source):
    """Returns an unknown item."""

    def __init__(self, quota):
        self.quota = quota

    def recall(self, request):
        return Candidates.from_ids(np.array([-1]))


class MovesWithTheUser(QueryHydrator):
    """Gives a feature whose width depends on the user."""

    gives = ("request.wide",)

    def hydrate_request(self, request):
        return {"wide": np.zeros((1, 2 if request.user_id < 100 else 3), np.float32)}


class Trips(SideEffect):
    """Fails for an empty page."""

    def run(self, request, page):
        return page.items[0]


class TurnsTheFeed(SideEffect):
    """Changes the page after it was returned."""

    def run(self, request, page):
        page.candidates.scores[:] = -1
