"""Side effects: each one runs after the page was returned."""

from collections.abc import Mapping

from karec.pipeline.step import SideEffect
from karec.steps.side_effects.exposure_counter import ExposureCounter
from karec.steps.side_effects.rank_log import RankLog
from karec.steps.side_effects.shadow import Shadow

STEPS: Mapping[str, type[SideEffect]] = {
    "exposure_counter": ExposureCounter,
    "rank_log": RankLog,
    "shadow": Shadow,
}
