"""Checks of requests for pages. Each raises a ProblemError that names the field."""

from __future__ import annotations

from collections.abc import Sequence

from karec.errors import nearest
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Request
from karec.serve import messages
from karec.serve.problems import ProblemError
from karec.serve.service import Served
from karec.where import Where

MAX_ID_LETTERS = 64  # of a wrong id in a message
ID_LISTS = ("shown", "item_ids", "exclude_ids", "only_ids")  # fields with several ids


def check_bits(id: int | str, field: str) -> None:
    """Raises ProblemError 422 for an integer beyond 64 bits."""
    if not isinstance(id, str) and not -(2**63) <= id < 2**63:
        raise ProblemError(422, "expected an id of 64 bits", field)


def check_all_bits(message: messages.PageRequest, prefix: str = "") -> None:
    """Raises ProblemError 422 for an integer beyond 64 bits in a field with ids."""
    for field, ids in _ids_of(message).items():
        for i, id in enumerate(ids):
            if not isinstance(id, str) and not -(2**63) <= id < 2**63:  # a call for each id would be slow
                check_bits(id, prefix + _place_of(field, i))


def check_where(cascade: Cascade, where: Where | None, prefix: str = "") -> None:
    """Raises ProblemError 422 if the items of the cascade lack a column, or it has another type."""
    if where is None:
        return
    try:
        cascade.check_where(where)
    except ValueError as error:
        raise ProblemError(422, str(error), f"{prefix}where") from None


def check_new_condition(served: Served, cascade: Cascade, where: Where | None, prefix: str = "") -> None:
    """Raises ProblemError 429 if the cascade has no mask of the condition, and no new one may be made now."""
    if where is None or where in cascade.masks:
        return
    wait_s = served.new_conditions.take()
    if wait_s:
        reason = "too many new conditions"
        detail = (
            f"{reason}: a worker evaluates at most {served.new_conditions.per_second} new ones a second. "
            "Use the same condition in many requests, for example with times that are rounded to the hour."
        )
        raise ProblemError(429, detail, f"{prefix}where", retry_after_s=wait_s, reason=reason)


def check_stage(cascade: Cascade, name: str) -> None:
    """Raises ProblemError 422 if the cascade has no stage ``name``."""
    stages = [stage.name for stage in cascade.stages]
    if name not in stages:
        reason = f"no stage {name!r}{nearest(name, stages)}; there are {stages}"
        raise ProblemError(422, reason, "first_stage")


def check_ids(cascade: Cascade, request: Request, prefix: str = "") -> None:
    """Raises ProblemError 422 if an id is not of the platform's kind, integer or string."""
    naming = None if cascade.bundle is None else cascade.bundle.naming
    for field, ids in _ids_of(request).items():
        if cascade.mix and field in ("shown", "exclude_ids", "only_ids"):
            continue  # each part reads the ids of its kind
        if naming is None:
            for i, id in enumerate(ids):
                if isinstance(id, str):
                    reason = f"{id[:MAX_ID_LETTERS]!r}: ids of this platform are integers"
                    raise ProblemError(422, reason, prefix + _place_of(field, i))
            continue
        numbers = (naming.users if field == "user_id" else naming.items).numbers
        try:
            numbers([*ids])
        except (ValueError, OverflowError, TypeError):
            for i, id in enumerate(ids):
                try:
                    numbers([id])
                except (ValueError, OverflowError, TypeError) as error:
                    raise ProblemError(422, str(error)[:200], prefix + _place_of(field, i)) from None


def _ids_of(request: Request | messages.PageRequest) -> dict[str, Sequence[int | str]]:
    """Returns {field: ids} of the fields that have ids."""
    lists = {field: getattr(request, field, None) for field in ID_LISTS}
    return {"user_id": (request.user_id,)} | {
        field: ids for field, ids in lists.items() if ids is not None and len(ids)
    }


def _place_of(field: str, i: int) -> str:
    return f"{field}[{i}]" if field in ID_LISTS else field
