"""Values that are computed once and cached."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import RLock
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")


class Once:
    """Cache by key: the first ``get`` of a key builds its value, later ones return the same object.

    Any number of threads may call ``get``. One thread builds while the others wait; ``build`` may get other
    keys. If ``build`` raises an error, the next ``get`` calls it again. A copy or a pickle is empty.
    """

    def __init__(self) -> None:
        self._values: dict[Hashable, Any] = {}
        self._lock = RLock()

    def __reduce__(self) -> tuple[type[Once], tuple[()]]:
        return Once, ()

    def get(self, key: Hashable, build: Callable[[], T]) -> T:
        """Returns the value of ``key``. The first call makes it by ``build()``."""
        if key not in self._values:
            with self._lock:
                if key not in self._values:
                    self._values[key] = build()
        value: T = self._values[key]
        return value


class computed_once(Generic[T]):  # noqa: N801  (a decorator)
    """Cached property, stored in the ``__dict__`` of the instance, without a lock.

    Threads that read it for the first time at once may each compute it. ``functools.cached_property`` of
    Python 3.11 holds one lock for all instances of a class: requests of other threads wait for it, and a
    process that forks meanwhile inherits it locked.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute, self._name, self.__doc__ = compute, compute.__name__, compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._compute(instance)
        return value
