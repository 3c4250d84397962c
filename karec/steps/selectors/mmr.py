"""Selector by maximal marginal relevance."""

from __future__ import annotations

from karec.diversity import mmr_select
from karec.steps.shared.marginal import Marginal


class Mmr(Marginal):
    """Maximal marginal relevance, as defined at ``karec.diversity.mmr_select``."""

    choose = staticmethod(mmr_select)
