"""Converts ids of a request to numbers of the bundle, and numbers of a page to ids of the platform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.index.ids import NO_NUMBER, IdMap, PlainIds
from karec.pipeline.trace import StepTrace, Trace
from karec.pipeline.types import Page, Request

ITEM_ID_KEYS = {"works": ("id", "closest"), "arranged": ("id",)}  # ids in the explanation of a step
ID_LIST_KEYS = ("top_k", "before")


@dataclass(frozen=True)
class BundleIds:
    """Id maps of users and items. Any thread. ``since`` {number: id}: items that are newer than the maps."""

    users: IdMap
    items: IdMap | PlainIds
    since: dict[int, int | str] = field(default_factory=dict, compare=False, repr=False)

    def to_numbers(self, request: Request) -> Request:
        """Raises ValueError if an id is not of the platform's kind (integer or string)."""
        try:
            user = int(self.users.numbers([request.user_id])[0])
            shown = tuple(self.items.numbers(list(request.shown)).tolist()) if request.shown else ()
            items = request.item_ids
            items = tuple(self.items.numbers(list(items)).tolist()) if items else items
            excluded, only = request.exclude_ids, request.only_ids
            excluded = self.items.numbers(list(excluded)) if len(excluded) else ()
            only = None if only is None else self.items.numbers(list(only))
        except ValueError as error:
            kinds = f"users have {self.users.kind} ids, works have {self.items.kind} ids"
            raise ValueError(
                f"request of user {request.user_id!r}, shown {request.shown!r}: {kinds}; {error}"
            ) from error
        return replace(
            request, user_id=user, shown=shown, item_ids=items, exclude_ids=excluded, only_ids=only
        )

    def to_ids(self, page: Page, request: Request) -> Page:
        original = replace(
            page.request,
            user_id=request.user_id,
            shown=request.shown,
            item_ids=request.item_ids,
            exclude_ids=request.exclude_ids,
            only_ids=request.only_ids,
        )
        ids = dict(zip(page.request.item_ids or (), request.item_ids or (), strict=True))
        names = tuple(self._names(page.candidates.ids))
        trace = Trace(tuple(map(self._with_ids, page.trace.steps))) if request.explain else page.trace
        return replace(
            page,
            request=original,
            item_ids=names,
            trace=trace,
            dropped={ids[number]: place for number, place in page.dropped.items()},
            scores={ids[number]: score for number, score in page.scores.items()},
            causes=self._with_names(page.causes),
        )

    def _with_names(self, causes: Mapping[int, tuple[str, Any]]) -> dict[int, tuple[str, int | str]]:
        names = self._known_ids([number for _, number in causes.values()])
        return {
            place: (template, name)
            for (place, (template, _)), name in zip(causes.items(), names, strict=True)
            if name is not None
        }

    @property
    def kind(self) -> str:
        """The kind of the items' ids, "integer" or "string"."""
        return self.items.kind

    def number_of(self, item: int | str) -> int:
        """Raises ValueError if ``item`` is not of the items' kind (integer or string)."""
        if isinstance(item, str) == (self.items.kind == "integer"):
            raise ValueError(f"{item!r} is not an id of this platform: works have {self.items.kind} ids")
        return int(self.items.numbers([item])[0])

    def _with_ids(self, step: StepTrace) -> StepTrace:
        """Returns ``step`` with ids in place of numbers in its explanation."""
        explanation = step.notes.get("explanation")
        if explanation is None:
            return step
        result = dict(explanation)
        for key, id_keys in ITEM_ID_KEYS.items():
            if key in explanation:
                items = explanation[key]
                columns = {name: self._known_ids([item[name] for item in items]) for name in id_keys}
                result[key] = [
                    {**item, **{name: columns[name][i] for name in id_keys}} for i, item in enumerate(items)
                ]
        result |= {key: self._known_ids(explanation[key]) for key in ID_LIST_KEYS if key in explanation}
        return step._replace(notes={**step.notes, "explanation": result})

    def _known_ids(self, numbers: Sequence[int | None]) -> list[int | str | None]:
        """Returns an id for each number; None for None and for the number of no item."""
        known_numbers = np.array([NO_NUMBER if number is None else number for number in numbers], np.int64)
        ids: list[int | str | None] = self.items.names(known_numbers, missing="none").tolist()
        return [
            self.since.get(number) if name is None else name
            for number, name in zip(known_numbers, ids, strict=True)
        ]

    def _names(self, numbers: NDArray[Any]) -> list[int | str]:
        """Returns an id for each number. Raises KeyError if no item has a number."""
        if not self.since:
            names: list[int | str] = self.items.names(numbers).tolist()
            return names
        ids = self._known_ids(numbers.tolist())
        return [
            self.since[number] if name is None else name for number, name in zip(numbers, ids, strict=True)
        ]
