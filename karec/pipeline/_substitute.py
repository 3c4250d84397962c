"""What may stand in for a step, or for a stage, when a request has no time for it: checked when the cascade
is built.

A step's substitute is another step of its role, or ``NOTHING``: the request goes on without it. What is sent
stays whole and valid: rules (filters, and whatever says ``is_rule``) have no substitute, a selector has
another selector, and a stage's substitute has the rules of the stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from karec.errors import ContractError

NOTHING = "nothing"
MAY_BE_LEFT_OUT = ("query_hydrator", "source", "hydrator", "scorer")
HAVE_SUBSTITUTES = (*MAY_BE_LEFT_OUT, "selector")


def check_substitute(step: Any) -> None:
    """Raises ContractError where the substitute of ``step`` cannot stand for it."""
    substitute = step.substitute
    if substitute is None:
        return
    told = f"{step.role} {step.name!r}"
    if step.role not in HAVE_SUBSTITUTES:
        raise ContractError(f"{told} takes no substitute: a {step.role} runs whatever the time")
    if step.is_rule:
        raise ContractError(
            f"{told} takes no substitute: it keeps a rule of the feed, which holds whatever the time"
        )
    if isinstance(substitute, str):
        if substitute != NOTHING:
            raise ContractError(
                f"{told}: substitute = {substitute!r}, expected another {step.role}, or {NOTHING!r}"
            )
        if step.role not in MAY_BE_LEFT_OUT:
            raise ContractError(
                f"{told}: a {step.role} cannot be left out, name another one as its substitute"
            )
        return
    if getattr(substitute, "role", None) != step.role:
        raise ContractError(f"{told}: its substitute {substitute!r} is no {step.role}")
    if substitute.substitute is not None:
        raise ContractError(f"{told}: its substitute {substitute.name!r} cannot have a substitute of its own")
    if step.role == "source":
        if substitute.timeout_ms is not None:
            raise ContractError(
                f"{told}: its substitute runs on the request's thread, timeout_ms is not for it"
            )
        if substitute.quota > step.quota:
            raise ContractError(
                f"{told}: its substitute may bring {substitute.quota} works, more than {step.quota}"
            )


def check_stage_substitute(name: str, steps: Sequence[Any], substitute: Sequence[Any]) -> None:
    """Raises ContractError where the steps ``substitute`` cannot stand for the ``steps`` of the stage
    ``name``."""
    if not substitute:
        raise ContractError(
            f"stage {name!r}: its substitute has no steps: name the selector that it ends with"
        )
    for step in (*steps, *substitute):
        if step.substitute is not None:
            raise ContractError(
                f"stage {name!r} has a substitute as a whole, and so its step {step.name!r} none of its own"
            )
    for step in steps:
        if step.is_rule and not any(step is other for other in substitute):
            raise ContractError(
                f"stage {name!r}: {step.name!r} keeps a rule of the feed, which holds whatever the time: put "
                "it into the substitute too, as it is"
            )
