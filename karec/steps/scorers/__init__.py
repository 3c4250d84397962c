"""Scorers: each one computes a score for every candidate."""

from collections.abc import Mapping

from karec.pipeline.step import Scorer
from karec.steps.scorers.als_score import AlsScore
from karec.steps.scorers.blend import Blend
from karec.steps.scorers.consumed_last import ConsumedLast
from karec.steps.scorers.exposure_control import ExposureControl
from karec.steps.scorers.freshness import Freshness
from karec.steps.scorers.fusion import Fusion
from karec.steps.scorers.live_indicators import LiveIndicators
from karec.steps.scorers.tone_score import ToneScore

STEPS: Mapping[str, type[Scorer]] = {
    "als_score": AlsScore,
    "blend": Blend,
    "consumed_last": ConsumedLast,
    "exposure_control": ExposureControl,
    "freshness": Freshness,
    "fusion": Fusion,
    "live_indicators": LiveIndicators,
    "tone_score": ToneScore,
}
