"""Trace of a request: what each step did, and why a page holds fewer items than requested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

NO_NOTES: Mapping[str, Any] = MappingProxyType({})
N_FILLED = "n_filled"  # note of a filter: number of items that it kept only to fill the page
DROPPED = "dropped"  # note of a filter: numbers of the caller's candidates that it dropped
RELAXED = "relaxed"  # note of a selector: rules of the page that no order of its candidates keeps
MISSING_ARMS = "missing_arms"  # note of the experiments: arms that have no pipeline
RANDOMISED = "randomised"  # note of a selector: ids of the first items, which are in uniformly random order


@dataclass(frozen=True)
class FallbackReason:
    """Why the fallback of ``stage`` ran: ``left_ms`` were left until the deadline, less than ``p90_ms``.

    ``p90_ms`` is the summed p90 of the run times of this stage and the later ones.
    """

    stage: str
    left_ms: float
    p90_ms: float

    def __str__(self) -> str:
        return f"{self.left_ms:.1f} ms left, p90 of this and the later stages {self.p90_ms:.1f} ms"


class StepTrace(NamedTuple):
    """Sizes and time of one step, and its failure if it failed.

    reason    of a filter: why it drops items; of a source: what its items have in common
    limit     how many items a selector or merger keeps at most by its settings; None: the request's k, or all
    fallback  why the fallback ran that this step belongs to; None: the step ran in its stage

    A named tuple: a request makes one for each step, and a frozen dataclass takes nine times as long.
    """

    stage: str
    step: str
    role: str
    n_in: int
    n_out: int
    ms: float
    n_unknown: int = 0
    reason: str = ""
    failure: str | None = None
    notes: Mapping[str, Any] = NO_NOTES
    limit: int | None = None
    fallback: FallbackReason | None = None

    @property
    def place(self) -> str:
        """``stage.step``, as ``Page.degraded`` names it."""
        return f"{self.stage}.{self.step}"

    @property
    def n_removed(self) -> int:
        return max(self.n_in - self.n_out, 0) if self.role in ("filter", "selector", "merger") else 0

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        fallback = None if self.fallback is None else asdict(self.fallback)
        return {
            **self._asdict(),
            "notes": dict(self.notes),
            "n_removed": self.n_removed,
            "fallback": fallback,
        }


@dataclass(frozen=True)
class Trace:
    """The steps of one request, in order."""

    steps: tuple[StepTrace, ...] = ()

    @property
    def total_ms(self) -> float:
        return sum(step.ms for step in self.steps)

    def has_fallback(self, *stages: str) -> bool:
        """Returns True if the fallback of one of ``stages`` ran, or of any stage if none is given."""
        return any(step.fallback is not None and (not stages or step.stage in stages) for step in self.steps)

    def has_own_scores(self, stage: str) -> bool:
        """Returns False if the fallback of ``stage`` ran, or one of its scorers failed and was skipped."""
        return not any(
            step.fallback is not None or (step.role == "scorer" and step.failure)
            for step in self.steps
            if step.stage == stage
        )

    def stage_sizes(self) -> dict[str, int]:
        """Returns {stage: number of candidates after it}, in order."""
        return {step.stage: step.n_out for step in self.steps if step.n_out >= 0}

    def stage_ms(self) -> dict[str, float]:
        """Returns {stage: milliseconds}, in order."""
        sums: dict[str, float] = {}
        for step in self.steps:
            sums[step.stage] = sums.get(step.stage, 0.0) + step.ms
        return sums


@dataclass(frozen=True)
class Shortfall:
    """Why a page holds ``got`` items although its request wanted ``wanted``. ``got`` does not count filled
    items.

    step    "stage.step" of the first step that left fewer than wanted
    reason  "limit": the step keeps at most so many by its settings · "exhausted": the sources returned no
            more · "filtered": a filter dropped them · "selected": a selector chose fewer than it could have
            · "filled": the page is full, but with items that the filter drops if enough others remain
    detail  the numbers of that step and of later steps that dropped items
    """

    wanted: int
    got: int
    step: str
    reason: Literal["limit", "exhausted", "filtered", "selected", "filled"]
    detail: str

    def __str__(self) -> str:
        return f"{self.got} of {self.wanted} items: {self.detail}"

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self)


def degradations(steps: Sequence[StepTrace]) -> tuple[str, ...]:
    """Returns, in order, the places of failed steps, "STAGE: fallback" of stages whose fallback ran, and
    "PLACE: NAME" of relaxed rules and missing arms.
    """
    names: dict[str, None] = {}
    for step in steps:
        if step.fallback is not None:
            names[f"{step.stage}: fallback"] = None
        if step.failure:
            names[step.place] = None
        for name in (*step.notes.get(RELAXED, ()), *step.notes.get(MISSING_ARMS, ())):
            names[f"{step.place}: {name}"] = None
    return tuple(names)


def shortfall_of(wanted: int, steps: Sequence[StepTrace]) -> Shortfall | None:
    """Returns why the last of ``steps`` (of recall and all stages) left fewer than ``wanted`` items; None if
    it left as many and no filter filled the page."""
    fills = [step for step in steps if step.notes.get(N_FILLED)]
    n_left = steps[-1].n_out
    n_new = max(n_left - sum(step.notes[N_FILLED] for step in fills), 0)
    details = [f"{step.place} kept {step.notes[N_FILLED]} ({step.reason}) to fill the page" for step in fills]
    if n_left >= wanted:
        return Shortfall(wanted, n_new, fills[0].place, "filled", ", then ".join(details)) if fills else None
    cuts = [step for step in steps if step.n_out < wanted and (step.n_removed > 0 or step.role == "merger")]
    first = cuts[0]
    is_exhausted = first.role == "merger" and _reason(first) == "exhausted"
    cut_details = [_describe_recall(steps) if is_exhausted else _describe_cut(first)]
    cut_details += [_describe_cut(step) for step in cuts[1:]]
    return Shortfall(wanted, n_new, first.place, _reason(first), ", then ".join([*cut_details, *details]))


def _reason(step: StepTrace) -> Literal["limit", "exhausted", "filtered", "selected"]:
    if step.limit is not None and step.n_out == step.limit:
        return "limit"
    if step.role == "merger":
        return "exhausted"
    return "filtered" if step.role == "filter" else "selected"


def _describe_cut(step: StepTrace) -> str:
    if _reason(step) == "limit":
        return f"{step.place} keeps at most {step.limit} (of {step.n_in})"
    if step.role == "filter":
        reason = f" ({step.reason})" if step.reason else ""
        return f"{step.place} dropped {step.n_removed} of {step.n_in}{reason}"
    return f"{step.place} chose {step.n_out} of {step.n_in}"


def _describe_recall(steps: Sequence[StepTrace]) -> str:
    sizes = ", ".join(
        f"{step.step} {'failed' if step.failure else step.n_out}" for step in steps if step.role == "source"
    )
    merger = next(step for step in steps if step.role == "merger")
    return f"recall returned {merger.n_out} different items ({sizes})"
