"""What a request knows beyond its bundle: its user and works, as of one moment for all of its steps."""

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
    """``user``: what one read of the state store said; None where the store did not answer, and the bundle's
    counts. ``works`` are read in this process, whatever became of the store. ``names``: the counters of both,
    in order.
    """

    user: UserState | None
    works: ChangedItems
    names: Sequence[str]

    def list_of(self, name: str) -> NDArray[Any] | None:
        """The user's list of ids, oldest first; None where the bundle's is the newest that is known."""
        found = None if self.user is None else self.user.lists.get(name)
        return None if found is None else np.asarray(found.values)
