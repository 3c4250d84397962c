"""Units of an experiment with their outcomes, as the analysis reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from numpy.typing import NDArray

from karec.errors import DataError
from karec.experiments.assignment import choose_arm, fnv32a, unit_bucket
from karec.experiments.settings import Experiments

MAX_OTHER_ARMS = 0.01  # fraction of units that may be in another arm than the file assigns


@dataclass(frozen=True, eq=False)
class Units:
    """U rows, sorted by `user`: one for each user, or one for all sessions of a user in one arm.

    kind        the layer's unit; rows of "session" are clustered by user
    arms        names; `arm` has positions in it
    user, arm   (U,) int64
    end_ms      (U,) int64: end of the days of the outcome, Unix ms
    values      {count: (U,) float64}: sum over the days of the outcome
    before      {count: (U,) float64}: sum over as many days before the first exposure, 0 without events
    has_before  (U,) bool: the unit has events in the days before
    """

    kind: Literal["user", "session"]
    arms: tuple[str, ...]
    user: NDArray[Any]
    arm: NDArray[Any]
    end_ms: NDArray[Any]
    values: Mapping[str, NDArray[Any]]
    before: Mapping[str, NDArray[Any]]
    has_before: NDArray[Any]

    def __len__(self) -> int:
        return len(self.user)

    def take(self, selector: NDArray[Any]) -> Units:
        """Returns the rows of `selector`: indices or a boolean mask."""
        return replace(
            self,
            user=self.user[selector],
            arm=self.arm[selector],
            end_ms=self.end_ms[selector],
            values={name: column[selector] for name, column in self.values.items()},
            before={name: column[selector] for name, column in self.before.items()},
            has_before=self.has_before[selector],
        )


@dataclass(frozen=True)
class ArmFacts:
    """Counts of one arm, over all its exposed units.

    units        exposed units; with sessions, users by the arm of their first session
    complete     units whose days are over
    requests     pages that count
    degraded     fraction of the pages that were degraded; None: no pages
    got_control  fraction of the pages that got control because the arm's model is missing; None: not logged
    p99_ms       99th percentile of the summed run times of a page's steps; None: not logged
    creators     creators shown to as many units as the smallest arm has; None if unknown
    """

    arm: str
    units: int
    complete: int
    requests: int
    degraded: float | None
    got_control: float | None
    p99_ms: float | None
    creators: int | None


@dataclass(frozen=True)
class ExperimentLog:
    """Units and counts of one experiment, from its logs and events.

    units      units whose days are over
    facts      counts of each arm
    until_ms   time of the last event, of the look or of the experiment's end, whichever is first
    left_out   {reason: number} of requests, units and events that do not count
    """

    units: Units
    facts: tuple[ArmFacts, ...]
    until_ms: int
    left_out: Mapping[str, int]


def check_assignment(
    units: Units, experiments: Experiments, name: str, names_of: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    """Raises DataError if users are in other arms than this version of the experiment assigns.

    `names_of` returns the platform's ids of user numbers, None for unknown ones. Cost: 3 µs for each unit.
    """
    if units.kind == "session":
        return  # the log has no session ids
    seed = fnv32a(experiments.seed(name).encode())
    weights = [table.weight for table in experiments.experiments[name].arms.values()]
    pairs = [(id_, arm) for id_, arm in zip(names_of(units.user), units.arm, strict=True) if id_ is not None]
    n_other = sum(arm != choose_arm(unit_bucket(seed, str(id_)), weights, 1.0) for id_, arm in pairs)
    if n_other > MAX_OTHER_ARMS * len(pairs):
        version = experiments.experiments[name].version
        raise DataError(
            f"{n_other:,} of {len(pairs):,} units of {name!r} are in another arm than version {version} "
            "assigns: the log is of another version. Set start to the start of this version. Give "
            "--assigned-by-caller if callers assign the arms."
        )
