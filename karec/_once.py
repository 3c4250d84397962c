"""Values that are built once and shared."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import RLock
from typing import Any, TypeVar

from karec._giving_way import give_way

T = TypeVar("T")


class Once:
    """Values by key: the first ``get`` of a key builds its value, later ones return the same object.

    Any thread may call ``get`` at any moment. One thread builds while the others wait; ``build`` may get
    other keys. What ``build`` raises is raised, and the next ``get`` tries again. A copy or a pickle is
    empty.
    """

    def __init__(self) -> None:
        self._values: dict[Hashable, Any] = {}
        self._lock = RLock()

    def __reduce__(self) -> tuple[type[Once], tuple[()]]:
        return Once, ()

    def get(self, key: Hashable, build: Callable[[], T]) -> T:
        """The value of ``key``; ``build()`` makes it if this is the first call."""
        if key not in self._values:
            give_way()
            with self._lock:
                if key not in self._values:
                    self._values[key] = build()
        value: T = self._values[key]
        return value
