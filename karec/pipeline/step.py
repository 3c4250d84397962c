"""The roles of steps.

    QueryHydrator.hydrate_request(request)   → {name: array}     added to request.features
    Source.recall(request)                   → Candidates        unique ids, finite scores, at most its quota
    Merger.merge(request, parts)             → Candidates        unique ids of parts, at most its limit
    Hydrator.hydrate(request, candidates)    → {column: (N, …)}  "rows" sets Candidates.rows: −1 … n_rows − 1
    Filter.keep(request, candidates)         → (N,) bool
    Scorer.score(request, candidates)        → (N,) numbers      finite as float32
    Selector.select(request, candidates)     → Selection         distinct indices, best first, at most its k
    SideEffect.run(request, page)            after the response, on a thread of its own

A step reads vectors, rows and columns of items from ``request.index`` only: all steps of a request see one
index generation. ``request.online`` and ``request.online_list(name)`` have the newest events, as of one
moment; they are None if there is no online store.

``karec.pipeline.checks`` calls each step and checks shapes, dtypes and order. Only it calls
``Candidates.take``: only a filter or a selector drops candidates, and only a selector reorders them. A step
may return ``StepOutput(value, notes)`` instead of its value; the notes go into the trace.

``on_failure`` says what a failure means: "fail" fails the request, "skip" continues without the step, and
``Page.degraded`` names it. Only failures of the world (``Unavailable``, ``OSError``) can be skipped; other
errors are always raised. A side effect cannot fail a request.

A step declares what it ``needs`` and ``gives``, so that the config checks a chain when it builds it:

    "request.NAME"   request.features["NAME"]        given by query hydrators
    "rows"           rows in the item index          given by a hydrator of the column "rows"
    "scores"         Candidates.scores               given by mergers, scorers, selectors
    "column.NAME"    Candidates.columns["NAME"]      given by hydrators

A step returns all that it declares to give. A need must be given by an earlier step; a side effect may need
what any step gives. Inputs that a step can do without are not declared. ``needs`` and ``gives`` are class
attributes; ``__init__`` may set them on the instance if they depend on its settings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from karec.pipeline.types import EMPTY, Array, Candidates, Page, Request, Selection, StepOutput

OnFailure = Literal["fail", "skip"]
BrokenRules = Callable[[Sequence[int]], Mapping[str, NDArray[np.bool_]]]


class Step(ABC):
    """Base of all roles. ``is_rule``: the step keeps a rule of the page, so that a fallback contains it."""

    role: ClassVar[str]
    is_rule: ClassVar[bool] = False
    name: str = ""
    on_failure: OnFailure = "fail"
    needs: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()


class QueryHydrator(Step):
    role = "query_hydrator"

    @abstractmethod
    def hydrate_request(self, request: Request) -> Mapping[str, Array] | StepOutput[Mapping[str, Array]]: ...


class Source(Step):
    """One retrieval method. Candidates have the rows that it looked up in ``request.index``, else −1.

    quota        how many items it may return
    reason       what its items have in common, for people
    min_items    how many of its items leave recall at least, if it returns as many
    priority     sources of a higher priority come first in the merged list; ties keep their order
    timeout_ms   the request continues without the source after this time; None: the request waits
    why          reason for the people who see an item, for example "because you sang {item}"; "": none. It
                 needs ``causes``
    is_verified  set to True in a class whose tests check that ids are unique: no check at run time. Not
                 inherited
    has_all      True if it returns every item with a large enough quota. Not inherited
    """

    role = "source"
    has_all: ClassVar[bool] = False
    quota: int
    reason: str = ""
    min_items: int = 0
    priority: int = 0
    timeout_ms: float | None = None
    why: str = ""

    @abstractmethod
    def recall(self, request: Request) -> Candidates | StepOutput[Candidates]: ...

    def causes(self, request: Request, ids: Array) -> Array:
        """Returns (N,) int64: the item of the user for which the source returned each of ``ids`` (N,), −1 for
        none.

        Only sources whose items come from single items of the user have causes: others would reveal what
        friends or communities do.
        """
        return np.full(len(ids), -1)


class Merger(Step):
    """Makes one list of the candidates of all sources.

    limit        how many items it returns at most; None: no limit
    is_verified  set to True in a class whose tests compare it with an oracle: no check at run time of unique
                 ids and of ``sources``, which costs more than the merge. Not inherited
    """

    role = "merger"
    gives = ("scores",)
    limit: int | None = None

    @abstractmethod
    def merge(self, request: Request, parts: Sequence[Candidates]) -> Candidates | StepOutput[Candidates]: ...


class Hydrator(Step):
    role = "hydrator"

    @abstractmethod
    def hydrate(
        self, request: Request, candidates: Candidates
    ) -> Mapping[str, Array] | StepOutput[Mapping[str, Array]]: ...


class Filter(Step):
    role = "filter"
    is_rule = True
    reason: str = "filtered"

    @abstractmethod
    def keep(self, request: Request, candidates: Candidates) -> Array | StepOutput[Array]: ...


class Scorer(Step):
    role = "scorer"
    gives = ("scores",)

    @abstractmethod
    def score(self, request: Request, candidates: Candidates) -> Array | StepOutput[Array]: ...


class Selector(Step):
    """Selects items of the candidates.

    k            how many it selects at most; None: the request's k
    keeps_rules  True: it keeps rules of the page, also for pinned items. The last such selector of the last
                 stage gets more items if the candidates cannot keep them (``Stage.run``)
    free_places  places of the page, from 0, that the step leaves empty
    """

    role = "selector"
    keeps_rules: ClassVar[bool] = False
    k: int | None = None
    free_places: frozenset[int] = frozenset()

    @abstractmethod
    def select(self, request: Request, candidates: Candidates) -> Selection: ...

    def rule_checks(self, request: Request, candidates: Candidates) -> BrokenRules:
        """Returns a function that finds the candidates that break a rule at the next place of a page.

        The function takes the indices of the candidates at all places before, −1 for an empty place. It
        returns {rule: (N,) bool, True for candidates that break it}, the most important rule first. A step
        that keeps rules overrides this method, so that interleaved pages keep them.
        """
        return lambda page: {}


class SideEffect(Step):
    """Gets each page after the caller. It belongs to one ``SideEffectQueue``.

    stages    the stages whose scored candidates it reads; None: all
    has_view  whether its request still has the index view, whose generation is held until then

    The queue calls ``is_enabled`` on the thread of the request and ``counts`` on any thread; the other
    methods on a thread of its own, one at a time. Whatever they raise is counted and logged. A fork copies
    the step: if it holds data back, it must compare ``os.getpid()``.
    """

    role = "side_effect"
    on_failure: OnFailure = "skip"
    stages: tuple[str, ...] | None = None
    has_view: ClassVar[bool] = False

    def is_enabled(self, request: Request) -> bool:
        """Returns True if the step runs for this request. The request waits: take microseconds."""
        return True

    @abstractmethod
    def run(self, request: Request, page: Page) -> None: ...

    def due(self) -> float | None:
        """Returns the time.monotonic() of the next ``flush``, None for none. Called after ``run``."""
        return None

    def flush(self) -> None:
        """Writes the data that is held. If it raises, it must drop the data."""

    def close(self) -> None:
        """Flushes and releases resources. The last call."""

    def counts(self) -> Mapping[str, int]:
        """Returns counts of the step's own."""
        return EMPTY
