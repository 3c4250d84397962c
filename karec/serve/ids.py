"""Ids at the border: those of another kind than the platform's are refused, with the field that holds
them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from karec.bundle.ids import BundleIds
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Request
from karec.serve.problems import ProblemError

SHOWN = 64  # letters of a wrong id that are told


def naming_of(cascade: Cascade) -> BundleIds | None:
    """Of the items that the cascade recommends; None: ids are numbers."""
    return None if cascade.bundle is None else cascade.bundle.naming


def check_ids(cascade: Cascade, request: Request, place: str) -> None:
    """ProblemError 422 for an id of another kind than the platform's; ``place`` stands before its field."""
    naming = naming_of(cascade)
    if naming is None:
        for field, each in _each(request):
            if isinstance(each, str):
                raise ProblemError(422, f"{each[:SHOWN]!r}: ids of this platform are integers", place + field)
        return
    for field, each in _each(request):
        try:
            (naming.users if field == "user" else naming.items).numbers([each])
        except (ValueError, OverflowError, TypeError) as error:
            raise ProblemError(422, str(error)[:200], place + field) from None


def _each(request: Request) -> list[tuple[str, int | str]]:
    shown = [(f"shown[{i}]", work) for i, work in enumerate(request.shown)]
    return [("user", request.user_id), *shown]


def id_in_path(text: str, naming: BundleIds | None, what: str) -> tuple[int | str, int]:
    """(the id, its number) of a user or a work. ProblemError 422: the platform has no such ids."""
    ids = None if naming is None else naming.users if what == "user" else naming.items
    try:
        name: int | str = text if ids is not None and ids.kind == "string" else _integer(text)
        if isinstance(name, int) and not -(2**63) <= name < 2**63:
            raise ValueError
        return name, int(name) if ids is None else int(ids.numbers([name])[0])
    except (ValueError, OverflowError, TypeError):
        raise ProblemError(422, f"{text[:SHOWN]!r} is no id of a {what} on this platform", what) from None


def _integer(text: str) -> int:
    if not re.fullmatch("-?[0-9]{1,19}", text):  # int() takes " 7", "7_000" and other scripts' digits too
        raise ValueError
    return int(text)


def names_of(numbers: Any, relation: str, naming: BundleIds | None) -> list[Any]:
    """The ids of a user's list; numbers where they are of creators, which no map of the bundle names."""
    found: list[Any] = np.asarray(numbers).tolist()
    if naming is None or relation == "follows":
        return found
    ids = naming.users if relation == "friends" else naming.items
    named: list[Any] = ids.names(np.asarray(numbers, np.int64), missing="none").tolist()
    return [
        naming.since.get(number) if name is None else name for number, name in zip(found, named, strict=True)
    ]
