"""A bundle's maps of ids, as a cascade uses them: numbers for the ids of a request, ids for the works of an answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from karec.ids import IdMap
from karec.types import Recommendation, Request


@dataclass(frozen=True)
class IdNaming:
    """Any number of threads may use it."""

    users: IdMap
    items: IdMap

    def numbered(self, request: Request) -> Request:
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

    def named(self, answer: Recommendation, request: Request) -> Recommendation:
        asked = replace(answer.request, user_id=request.user_id, shown=request.shown)
        names = tuple(self.items.names(answer.candidates.ids).tolist())
        return replace(answer, request=asked, names=names)
