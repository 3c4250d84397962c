"""Runs an observer after the answer: a bounded queue and one thread for each observer.

``Cascade.run`` offers every answer and returns; it never waits for an observer, and nothing that an observer
does can change or fail an answer. What the queue has no room for is dropped and counted.

Threads    Any thread may call any method of ``SideEffectQueue``. The observer's ``chooses`` runs on the
           request's thread, ``counts`` on any, everything else of it on the queue's own thread, one call at a
           time. The queue holds the answer itself, not a copy: do not write into its arrays.
Start      The thread starts with the first request that is offered, in the process that offers it.
Fork       A child of ``os.fork`` has an empty queue, counts from 0 and a thread of its own; what was pending
           belongs to the parent, which goes on.
End        ``close`` waits until everything pending is observed and the observer is closed. A queue that is
           not closed is, when it is garbage-collected (then in the background) or when the interpreter exits:
           for ``EXIT_SECONDS`` it observes what is pending, then drops the rest and has as long again to
           close. A process that ends in another way (a signal, ``os._exit``, a child of multiprocessing)
           loses what is pending, and what the observer holds back: call ``close`` first.
Errors     Each kind is logged once, as a warning of the logger ``karec.observers``, and counted in
           ``reasons``.
"""

from __future__ import annotations

import os
import weakref
from dataclasses import replace

from karec.pipeline.recommendation import Page
from karec.pipeline.side_effects import ObserverThread, SideEffectCounts
from karec.pipeline.step import SideEffect
from karec.pipeline.types import Request

MAX_REQUESTS = 1024
MAX_WORKS = 2_000_000  # 40 MB of candidates, and their columns

__all__ = ["SideEffectCounts", "SideEffectQueue"]


class SideEffectQueue:
    """Offers answers to ``observer`` on a thread of its own. The module's docstring says who may call what,
    and when.

    At most ``max_requests`` are pending, and at most ``max_works`` works in the stages that the observer
    watches; a single request may have more of them when nothing else is pending.
    """

    def __init__(
        self, observer: SideEffect, max_requests: int = MAX_REQUESTS, max_works: int = MAX_WORKS
    ) -> None:
        if max_requests <= 0 or max_works <= 0:
            raise ValueError(
                f"max_requests and max_works must be positive, got {max_requests} and {max_works}"
            )
        self.observer = observer
        self._bounds = max_requests, max_works
        self._begin()
        _queues.add(self)

    def _begin(self) -> None:
        self._thread = ObserverThread(self.observer, *self._bounds)
        self._collected = weakref.finalize(self, self._thread.stop)
        self._collected.atexit = False  # _finish_all does more

    def _begin_in_child(self) -> None:
        self._collected.detach()
        closed = self._thread.closed
        self._begin()
        self._thread.closed = closed

    @property
    def name(self) -> str:
        return self.observer.name

    def offer(self, request: Request, recommendation: Page) -> None:
        """Hand an answer over, if the observer chooses the request. Waits for nothing and raises nothing."""
        try:
            if not self.observer.chooses(request):
                return
            watched = self.observer.watches
            if watched is not None:
                scored = {stage: recommendation.scored[stage] for stage in watched}
                recommendation = replace(recommendation, scored=scored)
        except Exception as error:
            self._thread.refuse(error)
        else:
            self._thread.put(request if self.observer.reads_index else recommendation.request, recommendation)

    def counts(self) -> SideEffectCounts:
        """What became of the requests so far."""
        return self._thread.counts()

    def flush(self) -> None:
        """Wait until all that was offered before is observed, and what the observer holds back is flushed."""
        self._thread.flush()

    def close(self) -> SideEffectCounts:
        """Wait until all that is pending is observed, and the observer closed; what was lost is logged and
        returned.

        What is offered afterwards is dropped. Calling it again does nothing.
        """
        self._thread.stop()
        self._thread.join()
        return self.counts()


_queues: weakref.WeakSet[SideEffectQueue] = weakref.WeakSet()


def _begin_in_child() -> None:
    for queue in _queues:
        queue._begin_in_child()


os.register_at_fork(after_in_child=_begin_in_child)
