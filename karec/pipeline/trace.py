"""How a feed came about: what each step did, and why a feed holds fewer works than its request wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

NO_NOTES: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class NoTime:
    """Why a substitute ran for what stands at ``place`` ("stage.step", or a whole stage): ``left_ms`` were
    left of the request's deadline, and from there on it usually takes ``usual_ms``."""

    place: str
    left_ms: float
    usual_ms: float

    def __str__(self) -> str:
        return f"no time: {self.left_ms:.1f} ms left, usually {self.usual_ms:.1f}"


class StepTrace(NamedTuple):
    """What one step did: sizes, time, why it removed what it removed, and its failure if it failed.

    Of a source ``reason`` says what its works have in common.
    ``limit`` is what a selector or a merger keeps at most by its own settings; None: the request's k, or no
    limit. ``no_time``: this step ran as the substitute of another one, or of a stage; a step that was left
    out for lack of time, with nothing in its place, has its own place here.

    A named tuple, since a request makes one for each step: it costs a ninth of a frozen dataclass of twelve
    fields.
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
    no_time: NoTime | None = None

    @property
    def place(self) -> str:
        """``stage.step``, as ``degraded`` names it."""
        return f"{self.stage}.{self.step}"

    @property
    def left_out(self) -> bool:
        """Whether there was no time for it and nothing ran in its place."""
        return self.no_time is not None and self.no_time.place == self.place and self.ms == 0.0

    @property
    def timed_as(self) -> str:
        """Whose usual time its time is: the place's, or that of what stands in for it."""
        return self.place if self.no_time is None else f"{self.no_time.place} ({self.step})"

    @property
    def n_removed(self) -> int:
        return max(self.n_in - self.n_out, 0) if self.role in ("filter", "selector", "merger") else 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        no_time = None if self.no_time is None else asdict(self.no_time)
        fields = self._asdict()
        why = {"why": fields.pop("reason")}  # the name in HTTP
        return {**fields, **why, "notes": dict(self.notes), "n_removed": self.n_removed, "no_time": no_time}


@dataclass(frozen=True)
class Trace:
    """Every step of one request, in order."""

    steps: tuple[StepTrace, ...] = ()

    @property
    def total_ms(self) -> float:
        return sum(step.ms for step in self.steps)

    def gave_way(self, *stages: str) -> bool:
        """Whether a substitute ran for lack of time: in one of ``stages``, or anywhere where none is
        named."""
        return any(step.no_time is not None and (not stages or step.stage in stages) for step in self.steps)

    def stage_sizes(self) -> dict[str, int]:
        """{stage: candidates after it}, in order: the funnel."""
        return {step.stage: step.n_out for step in self.steps if step.n_out >= 0}

    def stage_ms(self) -> dict[str, float]:
        """{stage: milliseconds}, in order."""
        out: dict[str, float] = {}
        for step in self.steps:
            out[step.stage] = out.get(step.stage, 0.0) + step.ms
        return out


@dataclass(frozen=True)
class Short:
    """Why a feed holds ``got`` works where its request wanted ``wanted``.

    step    "stage.step", the first step that left fewer than wanted
    reason  "limit": it keeps at most so many by its own settings · "exhausted": the recall channels found no
            more · "filtered": a filter dropped them · "selected": a selector chose fewer than it could have
    detail  the numbers, of that step and of the later ones that dropped works too
    """

    wanted: int
    got: int
    step: str
    reason: Literal["limit", "exhausted", "filtered", "selected"]
    detail: str

    def __str__(self) -> str:
        return f"{self.got} of {self.wanted} works: {self.detail}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def degraded(steps: Sequence[StepTrace]) -> tuple[str, ...]:
    """The places of steps that failed, and of what gave way, in order."""
    named: dict[str, None] = {}
    for step in steps:
        if step.no_time is not None:
            named[f"{step.no_time.place}: no time"] = None
        if step.failure:
            named[step.place] = None
    return tuple(named)


def why_short(wanted: int, steps: Sequence[StepTrace]) -> Short | None:
    """Read off the trace of the merger and of all stages' steps; None where the last step left ``wanted``
    works."""
    if steps[-1].n_out >= wanted:
        return None
    cuts = [s for s in steps if s.n_out < wanted and (s.n_removed > 0 or s.role == "merger")]
    first = cuts[0]
    details = [_exhausted(steps) if first.role == "merger" and _reason(first) == "exhausted" else _cut(first)]
    details += [_cut(step) for step in cuts[1:]]
    return Short(wanted, steps[-1].n_out, first.place, _reason(first), ", then ".join(details))


def _reason(step: StepTrace) -> Literal["limit", "exhausted", "filtered", "selected"]:
    if step.limit is not None and step.n_out == step.limit:
        return "limit"
    if step.role == "merger":
        return "exhausted"
    return "filtered" if step.role == "filter" else "selected"


def _cut(step: StepTrace) -> str:
    if _reason(step) == "limit":
        return f"{step.place} keeps at most {step.limit} (of {step.n_in})"
    if step.role == "filter":
        return f"{step.place} dropped {step.n_removed} of {step.n_in}" + (
            f" ({step.reason})" if step.reason else ""
        )
    return f"{step.place} chose {step.n_out} of {step.n_in}"


def _exhausted(steps: Sequence[StepTrace]) -> str:
    sources = [step for step in steps if step.role == "source"]
    merged = next(step for step in steps if step.role == "merger")
    in_short = {id(s): " (no time)" for s in sources if s.no_time}
    found = ", ".join(
        f"{s.step} {'failed' if s.failure else s.n_out}{in_short.get(id(s), '')}" for s in sources
    )
    return f"recall found {merged.n_out} different works ({found})"
