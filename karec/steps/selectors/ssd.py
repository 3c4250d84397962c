"""Selector by sliding spectrum decomposition."""

from __future__ import annotations

from karec.diversity import ssd_select
from karec.steps.shared.marginal import Marginal


class Ssd(Marginal):
    """Sliding spectrum decomposition, as defined at ``karec.diversity.ssd_select``."""

    choose = staticmethod(ssd_select)
