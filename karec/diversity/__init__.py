"""Diversity on arrays: greedy DPP, MMR, SSD, and hard rules on the order of a list."""

from karec.diversity.arrange import WHOLE_SESSION, Arrangement, NeighbourRule, Slot, arrange
from karec.diversity.dpp import DiversityResult, dpp_select, dpp_select_kernel
from karec.diversity.mmr_ssd import mmr_select, ssd_select
from karec.diversity.options import DppOptions, check_dpp_options
from karec.diversity.relevance import scale_relevance, standardise_scores

__all__ = [
    "WHOLE_SESSION",
    "Arrangement",
    "DiversityResult",
    "DppOptions",
    "NeighbourRule",
    "Slot",
    "arrange",
    "check_dpp_options",
    "dpp_select",
    "dpp_select_kernel",
    "mmr_select",
    "scale_relevance",
    "ssd_select",
    "standardise_scores",
]
