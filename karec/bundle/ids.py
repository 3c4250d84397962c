"""A bundle's maps of ids, as a cascade uses them: numbers for the ids of a request, ids for the works of an
answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.index.ids import NO_NUMBER, IdMap, PlainIds
from karec.pipeline.trace import StepTrace, Trace
from karec.pipeline.types import Page, Request

IDS_OF_WORKS = {"works": ("id", "closest"), "arranged": ("id",)}  # where explanations of steps have ids
LISTS_OF_IDS = ("top_k", "before")


@dataclass(frozen=True)
class BundleIds:
    """Any number of threads may use it. ``since`` {number: id}: of items that came since the maps were
    made."""

    users: IdMap
    items: IdMap | PlainIds
    since: dict[int, int | str] = field(default_factory=dict, compare=False, repr=False)

    def to_numbers(self, request: Request) -> Request:
        """ValueError: an id of another kind than the platform's, or none, naming it."""
        try:
            user = int(self.users.numbers([request.user_id])[0])
            shown = tuple(self.items.numbers(list(request.shown)).tolist()) if request.shown else ()
        except ValueError as error:
            kinds = f"users have {self.users.kind} ids, works have {self.items.kind} ids"
            raise ValueError(
                f"request of user {request.user_id!r}, shown {request.shown!r}: {kinds}; {error}"
            ) from error
        return replace(request, user_id=user, shown=shown)

    def to_ids(self, answer: Page, request: Request) -> Page:
        asked = replace(answer.request, user_id=request.user_id, shown=request.shown)
        names = tuple(self._names(answer.candidates.ids))
        trace = Trace(tuple(map(self._explained, answer.trace.steps))) if request.explain else answer.trace
        return replace(answer, request=asked, names=names, trace=trace)

    def number_of(self, item: int | str) -> int:
        """ValueError: an id of another kind than the items'."""
        if isinstance(item, str) == (self.items.kind == "integer"):
            raise ValueError(f"{item!r} is no id of this platform's: works have {self.items.kind} ids")
        return int(self.items.numbers([item])[0])

    def _explained(self, step: StepTrace) -> StepTrace:
        """``step`` with ids in its explanation, where it has one."""
        told = step.notes.get("explanation")
        if told is None:
            return step
        named = dict(told)
        for key, of_work in IDS_OF_WORKS.items():
            if key in told:
                columns = {name: self._of([work[name] for work in told[key]]) for name in of_work}
                named[key] = [
                    {**work, **{n: columns[n][i] for n in of_work}} for i, work in enumerate(told[key])
                ]
        named |= {key: self._of(told[key]) for key in LISTS_OF_IDS if key in told}
        return step._replace(notes={**step.notes, "explanation": named})

    def _of(self, numbers: Sequence[int | None]) -> list[int | str | None]:
        """The id of each; None where there is no number, or where it is that of no work."""
        known = np.array([NO_NUMBER if number is None else number for number in numbers], np.int64)
        ids: list[int | str | None] = self.items.names(known, missing="none").tolist()
        return [
            self.since.get(number) if name is None else name for number, name in zip(known, ids, strict=True)
        ]

    def _names(self, numbers: NDArray[Any]) -> list[int | str]:
        """The id of each; KeyError for a number that no item has."""
        if not self.since:
            names: list[int | str] = self.items.names(numbers).tolist()
            return names
        found = self._of(numbers.tolist())
        return [
            self.since[number] if name is None else name for number, name in zip(numbers, found, strict=True)
        ]
