"""Online values that one request reads: its user and the changed items, at one moment for all its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.online.changed_items import ChangedItems
from karec.online.read_state import UserState


@dataclass(frozen=True, eq=False)
class OnlineView:
    """Online values of one request.

    user           None if the store did not respond; the request then uses the bundle's values
    items          changed items as of the last poll of this process
    counter_names  names of the counters of user and items, in order
    recent_names   names of the recent counters of items, in order
    works          for a request of another item type: the view of works, which models read
    """

    user: UserState | None
    items: ChangedItems
    counter_names: Sequence[str]
    recent_names: Sequence[str] = ()
    works: OnlineView | None = None

    def list_of(self, name: str) -> NDArray[Any] | None:
        """Returns the user's list of ids, oldest first; None if the bundle's list is the newest known."""
        relation = None if self.user is None else self.user.lists.get(name)
        return None if relation is None else np.asarray(relation.values)
