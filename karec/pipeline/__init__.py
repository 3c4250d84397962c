"""The engine: requests, candidates, the roles of steps, and the cascade that runs them."""

from karec.pipeline.cascade import Cascade
from karec.pipeline.recall import Recall
from karec.pipeline.side_effects import SideEffectQueue
from karec.pipeline.stage import Stage
from karec.pipeline.step import Filter, Hydrator, Merger, QueryHydrator, Scorer, Selector, SideEffect, Source
from karec.pipeline.types import Candidates, Page, Request, Selection, StepOutput

__all__ = [
    "Candidates",
    "Cascade",
    "Filter",
    "Hydrator",
    "Merger",
    "Page",
    "QueryHydrator",
    "Recall",
    "Request",
    "Scorer",
    "Selection",
    "Selector",
    "SideEffect",
    "SideEffectQueue",
    "Source",
    "Stage",
    "StepOutput",
]
