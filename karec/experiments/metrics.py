"""Settings of the metrics of an experiment: the table `metrics` of an experiment in experiments.toml.

    [experiments.dpp.metrics]
    primary = "like"                            # decides
    others = ["play_s", "like/impression"]      # corrected for their number
    guardrails = { mute = 0.1, "like/impression" = -0.05 }   # an arm is stopped beyond these relative changes
    days = 7                                    # of a unit's outcome, from its first request that counts

A metric is the mean per unit of a count: events of a kind (`impression`, `follow`, `mute`), events with a
label (`like`), pages (`request`, `degraded`), or `play_s`, seconds played. A/B is the sum of the count A over
all units divided by that of B.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

from msgspec import Meta

from karec.aggregates.events import KINDS
from karec.errors import nearest
from karec.toml import Settings

METRIC = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)?")


class Metrics(Settings, frozen=True):
    """Metrics of one experiment. `guardrails`: {metric: largest relative change; negative: decrease}."""

    primary: str
    others: tuple[str, ...] = ()
    guardrails: Mapping[str, float] = {}
    days: Annotated[int, Meta(ge=1, le=90)] = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        names = (self.primary, *self.others)
        for name in (*names, *self.guardrails):
            if not METRIC.fullmatch(name):
                raise ValueError(f"the metric {name!r} is not NAME or NAME/NAME, for example like/impression")
        if len({*names}) < len(names):
            raise ValueError(f"a metric appears twice in {list(names)}")
        for name, limit in self.guardrails.items():
            if limit == 0 or limit <= -1:
                raise ValueError(f"the guardrail of {name} is {limit}, expected above -1 and not 0, as 0.1")

    @property
    def names(self) -> tuple[str, ...]:
        """All metrics, the primary first, each once."""
        return tuple(dict.fromkeys((self.primary, *self.others, *self.guardrails)))

    @property
    def counts(self) -> tuple[str, ...]:
        """Counts that the metrics are made of, each once."""
        return tuple(dict.fromkeys(part for name in self.names for part in name.split("/")))


def unknown_counts(counts: Iterable[str], labels: Iterable[str]) -> list[str]:
    """Returns a message for each count that is neither a label of events nor one that every log has."""
    known = [*labels, *KINDS, "request", "degraded", "play_s"]
    return [
        f"the count {name!r} is unknown{nearest(name, known)}; known are {known}"
        for name in counts
        if name not in known
    ]
