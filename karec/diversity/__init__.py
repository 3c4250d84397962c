"""Diversity on arrays: greedy DPP, MMR, SSD, and rules on the order of a list."""

from karec.diversity.arrange import WHOLE_SESSION, Arranged, MarkRule, Slot, arrange
from karec.diversity.dpp import (
    DppBatchResult,
    DppResult,
    dpp_select,
    dpp_select_batch,
    dpp_select_kernel,
)
from karec.diversity.mmr_ssd import MarginalResult, mmr_select, ssd_select
from karec.diversity.options import DppOptions, native_options
from karec.diversity.relevance import scaled, standardised
from karec.diversity.rules import ScatterResult, ScatterRule, ScatterViolation, scatter

__all__ = [
    "WHOLE_SESSION",
    "Arranged",
    "DppBatchResult",
    "DppOptions",
    "DppResult",
    "MarginalResult",
    "MarkRule",
    "ScatterResult",
    "ScatterRule",
    "ScatterViolation",
    "Slot",
    "arrange",
    "dpp_select",
    "dpp_select_batch",
    "dpp_select_kernel",
    "mmr_select",
    "native_options",
    "scaled",
    "scatter",
    "ssd_select",
    "standardised",
]
