"""Diversity on arrays: greedy DPP, MMR, SSD, and rules on the order of a list."""

from karec.diversity.select import (
    DppBatchResult,
    DppOptions,
    DppResult,
    MarginalResult,
    ScatterResult,
    ScatterRule,
    ScatterViolation,
    dpp_select,
    dpp_select_batch,
    dpp_select_kernel,
    mmr_select,
    native_options,
    scatter,
    ssd_select,
    standardised,
)

__all__ = [
    "DppBatchResult",
    "DppOptions",
    "DppResult",
    "MarginalResult",
    "ScatterResult",
    "ScatterRule",
    "ScatterViolation",
    "dpp_select",
    "dpp_select_batch",
    "dpp_select_kernel",
    "mmr_select",
    "native_options",
    "scatter",
    "ssd_select",
    "standardised",
]
