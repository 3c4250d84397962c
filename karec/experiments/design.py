"""Selects the requests of a rank log that count in an experiment, and names the counts of their outcome."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from karec.data.database import quote_text
from karec.errors import DataError
from karec.experiments.results import require_metrics
from karec.experiments.settings import Experiments

ALL = "all"  # the arm of `Design.from_scenes`


@dataclass(frozen=True)
class Design:
    """Requests that count, and the counts of their outcome.

    kind       the layer's unit
    counts     names of the counts that the metrics read
    days       length of the outcome
    start_ms   of the experiment, Unix ms; `end_ms` too
    condition  SQL on a row of the rank log: the request is in the experiment
    arm_sql    SQL on a row of the rank log: its arm
    """

    name: str
    kind: Literal["user", "session"]
    arms: tuple[str, ...]
    counts: tuple[str, ...]
    days: int
    start_ms: float
    end_ms: float
    condition: str
    arm_sql: str

    @classmethod
    def from_experiment(cls, experiments: Experiments, name: str) -> Design:
        """Returns the design of the experiment `name`.

        Raises DataError if it has no metrics, is interleaved or is by creator.
        """
        experiment = experiments.experiments[name]
        metrics = require_metrics(name, experiment)
        unit = experiments.layers[experiment.layer].unit
        if unit == "creator" or experiment.interleave:
            raise DataError(
                f"{name!r} is interleaved, or by creator: its users are not in one arm each. Use karec "
                "experiment preference, or karec.experiments.creators.CreatorAssignment"
            )
        pattern = quote_text(f"(?:^|;){name}=([^;]*)")
        return cls(
            name=name,
            kind=unit,
            arms=tuple(experiment.arms),
            counts=tuple(dict.fromkeys((*metrics.counts, "request"))),  # sessions are compared per request
            days=metrics.days,
            start_ms=experiment.start.timestamp() * 1e3,
            end_ms=experiment.end.timestamp() * 1e3,
            condition=f"regexp_matches(arms, {pattern})",
            arm_sql=f"regexp_extract(arms, {pattern}, 1)",
        )

    @classmethod
    def from_scenes(cls, experiments: Experiments, name: str, start_ms: float, end_ms: float) -> Design:
        """Returns a design with all users of the experiment's scenes in one arm, to plan the experiment.

        Requests from `start_ms` to before `end_ms` (Unix ms) count.
        """
        scenes = map(quote_text, experiments.experiments[name].scenes)
        return replace(
            cls.from_experiment(experiments, name),
            kind="user",
            arms=(ALL,),
            start_ms=start_ms,
            end_ms=end_ms,
            condition=f"scene IN ({', '.join(sorted(scenes))})",
            arm_sql=quote_text(ALL),
        )
