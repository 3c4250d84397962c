"""Hydrators: each one adds columns to the candidates."""

from collections.abc import Mapping

from karec.pipeline.step import Hydrator
from karec.steps.hydrators.index_rows import IndexRows
from karec.steps.hydrators.ranker import Ranker

STEPS: Mapping[str, type[Hydrator]] = {"index_rows": IndexRows, "ranker": Ranker}
