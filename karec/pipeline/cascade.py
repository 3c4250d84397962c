"""The request path of one scene: ``Cascade.run`` is the only orchestration of steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self
from uuid import uuid4

import numpy as np
import numpy.ma  # np.unique imports it on first use, which would double the first request's time

from karec.errors import ContractError
from karec.pipeline.checks import hydrate_request, only_allowed, run_step, without
from karec.pipeline.deadline import (
    RECALL,
    REST,
    Clock,
    RequestSlots,
    RunTimes,
    fallback_part,
    request_slots,
)
from karec.pipeline.interleave import Team, interleave
from karec.pipeline.masks import AllowedRows, MaskCache
from karec.pipeline.mix import ScoreCalibration, TypeShare, choose_items, join_parts, request_of_part
from karec.pipeline.recall import Recall
from karec.pipeline.side_effects import SideEffectCounts, SideEffectQueue
from karec.pipeline.stage import Stage
from karec.pipeline.step import QueryHydrator, Selector
from karec.pipeline.trace import DROPPED, FallbackReason, StepTrace, Trace, degradations, shortfall_of
from karec.pipeline.types import (
    BLOCKED,
    EMPTY,
    UNKNOWN,
    WHERE,
    WORK_TYPE,
    Array,
    Candidates,
    IdNames,
    Page,
    Request,
)
from karec.where import Codes, Where, to_filter_terms

if TYPE_CHECKING:
    from karec.aggregates.events import Events
    from karec.bundle import Bundle
    from karec.bundle.item_types import ItemTypeBundle
    from karec.exposure.controller import ExposureController
    from karec.index import IndexView, ItemIndex
    from karec.online.follow import Follower

    FindSimilar = Callable[[IndexView, int, int, Array], tuple[Array, Array]]


@dataclass(frozen=True)
class Cascade:
    """The steps of one scene. Any number of threads may call ``run`` at once, if the steps allow it.

    versions      goes into each page, with the generation and model versions that the request read
    index         each request pins one generation of it for all steps; None: no step reads an index
    threads       how many requests run at once, of all cascades of the process with this number; the others
                  wait (``RequestSlots``); None: the number of usable cores
    naming        maps the platform's ids to the numbers that steps use; None: ids are such numbers
    online        the online store, read once for each request; if it cannot be read, the request gets the
                  bundle's state and ``degraded`` names it; None: there is no online store
    item_type     type of the items in the online store; "" for works
    exposure      the exposure controller of the scene; a request reads one version of its dual variables
    bundle        the bundle, or its part for one item type, that the steps were built from. The cascade does
                  not read it; None if built by hand
    as_of_ms      time of a request without one, Unix ms; None: now, since the online store has newer events
    codes         {category: {name: code}}, for conditions of requests
    find_similar  returns ids and scores for (view, item, k, allowed rows); None if built by hand
    mix           {item type: part} of a page of several types, the own type first (``karec.pipeline.mix``);
                  empty: pages have the own type only. ``rank`` and ``similar`` have the own type in any case
    experiments   choose for each request the pipeline that runs its steps; None: this one. ``side_effects``
                  are then those of all pipelines; each sees the pages of its own
    clock         seconds, for run times and deadlines
    run_times     run times of recall, the stages and their fallbacks, of requests with and without a deadline
    """

    scene: str
    query_hydrators: tuple[QueryHydrator, ...]
    recall: Recall
    stages: tuple[Stage, ...]
    side_effects: tuple[SideEffectQueue, ...] = ()
    versions: Mapping[str, Any] = field(default_factory=dict)
    index: ItemIndex | None = None
    threads: int | None = None
    naming: IdNames | None = None
    online: Follower | None = field(default=None, repr=False, kw_only=True)
    bundle: Bundle | ItemTypeBundle | None = field(default=None, repr=False, kw_only=True)
    item_type: str = field(default="", kw_only=True)
    exposure: ExposureController | None = field(default=None, repr=False, kw_only=True)
    as_of_ms: int | None = field(default=None, kw_only=True)
    codes: Codes = field(default_factory=lambda: EMPTY, repr=False, kw_only=True)
    find_similar: FindSimilar | None = field(default=None, repr=False, kw_only=True)
    mix: Mapping[str, MixedPart] = field(default_factory=lambda: EMPTY, repr=False, kw_only=True)
    experiments: ArmChooser | None = field(default=None, repr=False, kw_only=True)
    clock: Clock = field(default=time.perf_counter, repr=False, kw_only=True)
    run_times: RunTimes = field(init=False, repr=False, compare=False)
    _slots: RequestSlots = field(init=False, repr=False, compare=False)
    masks: MaskCache = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "run_times", RunTimes())
        object.__setattr__(self, "masks", MaskCache(self.codes))
        object.__setattr__(self, "_slots", request_slots(self.threads))  # refuses a number below 1
        for queue in self.side_effects:
            if not isinstance(queue, SideEffectQueue):
                raise ContractError(
                    f"side_effects: {queue!r} has no queue, give SideEffectQueue(side_effect)"
                )
        steps = [step for stage in self.stages for step in stage.steps]
        # With experiments they may be of other bundles: the pipelines of the arms were checked.
        effects = [] if self.experiments is not None else [queue.side_effect for queue in self.side_effects]
        for step in (*self.query_hydrators, *self.recall.steps, *steps, *effects):
            schema = getattr(step, "schema", None)
            if schema is not None and schema is not getattr(self.index, "schema", None):
                raise ContractError(
                    f"the {step.role} {step.name!r} was built on another item index than the cascade's: "
                    f"give Cascade(…, index=…) the index that its steps were built on"
                )

    def run(self, request: Request) -> Page:
        """Returns a page of at most ``request.k`` items, with the trace of every step.

        The request reads one generation of the index. It is released when this returns, or when the last side
        effect with a view has run.
        """
        deadline = None if request.deadline_ms is None else self.clock() + request.deadline_ms / 1e3
        if self.mix and request.item_ids is None:
            self._check_scene(request)
            return self._run_mixed(request, deadline)
        choice = self._choose_arms(request)
        seen, page = self._make_page(request, deadline, choice)
        if request.item_ids is None:
            self._offer(choice.pipeline, seen, page)
        naming = choice.pipeline.naming
        return page if naming is None else naming.to_ids(page, request)

    def _run_mixed(self, request: Request, deadline: float | None) -> Page:
        """Returns a page of all item types.

        Each part runs as a request of its scene for k items; its side effects see those that are on the page.
        """
        cascades = {name: part.cascade or self for name, part in self.mix.items()}
        choices = {name: cascade._choose_arms(request) for name, cascade in cascades.items()}
        request = self._with_moment(request)
        requests = {
            name: request_of_part(request, cascade.scene, cascade.naming)
            for name, cascade in cascades.items()
        }
        seen: dict[str, Request] = {}
        pages: dict[str, Page] = {}
        later_ms = sum(part.min_ms for part in self.parts)
        try:
            for name, cascade in cascades.items():
                later_ms -= 0.0 if cascade is self else cascade.min_ms
                part_deadline = None if deadline is None else deadline - later_ms / 1e3
                seen[name], pages[name] = cascade._make_page(requests[name], part_deadline, choices[name])
            scores = {name: self.mix[name].calibration.read(page) for name, page in pages.items()}
            shares = {name: part.share for name, part in self.mix.items()}
            parts, trace = choose_items(pages, scores, shares, request)
        except BaseException:  # a stored traceback would keep the index generations in memory
            for part in seen.values():
                if part.view is not None:
                    part.view.close()
            raise
        for name, cascade in cascades.items():
            pipeline = choices[name].pipeline
            cascade._offer(pipeline, replace(seen[name], scene=request.scene), parts[name])
            if pipeline.naming is not None:
                parts[name] = pipeline.naming.to_ids(parts[name], requests[name])
        return join_parts(parts, {name: part.scene for name, part in cascades.items()}, trace, request)

    def _choose_arms(self, request: Request) -> ArmChoice:
        return ArmChoice(self) if self.experiments is None else self.experiments.choose(request)

    def with_fields(self, **fields: Any) -> Cascade:
        """Returns a copy with other ``fields`` that shares run times and, of one index, masks.

        Arms of an experiment then run fallbacks by the same times.
        """
        copy = replace(self, **fields)
        object.__setattr__(copy, "run_times", self.run_times)
        if copy.index is self.index:
            object.__setattr__(copy, "masks", self.masks)
        return copy

    def _make_page(self, request: Request, deadline: float | None, choice: ArmChoice) -> tuple[Request, Page]:
        """Returns the request as the steps saw it, with its view, and its page with numbers as ids.

        No side effects run, and no other item types are mixed in. ``deadline``: a value of ``clock``.
        """
        pipeline = choice.pipeline
        request = pipeline._to_numbers(request)
        with self._slots.hold():
            start = self.clock()
            view = None if pipeline.index is None else pipeline.index.pinned()
            try:
                request = request.with_view(view)
                if self.exposure is not None:
                    request = request.with_dual_variables(self.exposure.newest)
                request, page = pipeline._run_steps(request, deadline, choice)
            except BaseException:
                if view is not None:
                    view.close()  # a stored traceback would keep this index generation in memory
                raise
            total_ms = (self.clock() - start) * 1e3
            if request.item_ids is None and not page.teams:  # one of two pipelines takes about half as long
                stages = [stage.name for stage in pipeline.stages]
                self.run_times.add_request(page.trace.steps, total_ms, stages)
        return request, page

    def _offer(self, pipeline: Cascade, request: Request, page: Page) -> None:
        """Offers a page of ``pipeline`` to its side effects, unless this cascade has none."""
        for queue in pipeline.side_effects:
            if queue in self.side_effects:
                queue.offer(request, page)

    def _to_numbers(self, request: Request) -> Request:
        if self.naming is not None:
            return self.naming.to_numbers(request)
        listed = (request.exclude_ids, () if request.only_ids is None else request.only_ids)
        lists = [ids for ids in listed if not isinstance(ids, np.ndarray) or ids.dtype != np.int64]
        for id_ in chain((request.user_id,), request.shown, request.item_ids or (), *lists):
            if isinstance(id_, str):
                raise ValueError(
                    f"this cascade has integer ids of users and items, the request has the id {id_!r}"
                )
        return request

    def rank(
        self,
        user_id: int | str,
        item_ids: Sequence[int | str],
        *,
        k: int | None = None,
        first_stage: str = "rank",
        time_ms: int | None = None,
        where: Where | None = None,
    ) -> Page:
        """Returns the caller's items in the order of ``first_stage`` and the later stages, best first.

        Blocked, closed and deleted items are left out. Hydrators and filters of earlier stages run too.
        ``Page.dropped`` has the reason for each item that is left out or that a filter dropped.
        ``Page.scores`` has the scores of ``first_stage``. Repeated ids count once. No side effects run.

        Args:
            item_ids: at least one id.
            k: most items of the page; None: as many as there are ids. A stage also has its own limit.
            first_stage: a stage of the scene.
            where: a condition; the other items are dropped.

        Raises:
            ValueError: there are no ids, they are a text, an id is of another kind, or the scene has no such
                stage.
        """
        k = max(len(item_ids), 1) if k is None else k
        if isinstance(item_ids, str):
            raise ValueError("item_ids is a text, expected a sequence of ids")
        ids = tuple(item_ids)
        return self.run(
            Request(user_id, k, self.scene, time_ms, item_ids=ids, first_stage=first_stage, where=where)
        )

    def _run_steps(self, request: Request, deadline: float | None, choice: ArmChoice) -> tuple[Request, Page]:
        """Returns the request as its steps saw it, and the page, which has no view."""
        self._check_scene(request)
        request, state_traces = self._read_online(self._with_moment(request))
        request, allowed_traces = self._with_allowed(request)
        arm_traces = () if choice.trace is None else (choice.trace,)
        begun = (*arm_traces, *state_traces, *allowed_traces)
        if choice.teams:
            return self._run_teams(request, deadline, choice, begun)
        request, page, _ = self._run_from_query(request, deadline, begun, choice.counted)
        return request, page

    def _run_teams(
        self, request: Request, deadline: float | None, choice: ArmChoice, begun: Sequence[StepTrace]
    ) -> tuple[Request, Page]:
        """Returns the request as the first pipeline saw it, and the page of both pipelines."""
        first_deadline = None if deadline is None else deadline - self.min_ms / 1e3
        seen, teams = request, list[Team]()
        for name, pipeline in choice.teams.items():
            team_deadline = deadline if teams else first_deadline
            hydrated, page, passed = pipeline._run_from_query(request, team_deadline, (), choice.counted)
            seen = seen if teams else hydrated
            stage = pipeline.stages[-1]
            steps = (stage.fallback or ()) if page.trace.has_fallback(stage.name) else stage.steps
            teams.append(
                Team(name, page, passed, tuple(step for step in steps if isinstance(step, Selector)))
            )
        return seen, interleave(seen, teams, begun)

    def _run_from_query(
        self, request: Request, deadline: float | None, begun: Sequence[StepTrace], arms: Mapping[str, str]
    ) -> tuple[Request, Page, Candidates]:
        """Returns the request as its steps saw it, the page, and the items that passed the last filters."""
        request, query_traces = self.hydrate(request)
        traces: tuple[StepTrace, ...] = ()
        dropped: dict[int | str, str] = {}
        if request.item_ids is None:
            candidates, traces = self.recall.run(request, self.clock)
        else:
            candidates, dropped = _open_items(request)
        sources = tuple(trace.step for trace in traces[:-1])
        scored: dict[str, Candidates] = {}
        passed = Candidates.empty()
        stages = self.stages_of(request)
        for i, stage in enumerate(stages):
            reason = None if stage.fallback is None else self._fallback_reason(i, deadline)
            min_items = request.k if stage is stages[-1] else 0
            reserve = None
            if stage is stages[-1] and i > 0 and request.item_ids is None:
                reserve = partial(without, passed, candidates.ids)
            outcome = stage.run(request, candidates, reason, self.clock, min_items=min_items, reserve=reserve)
            candidates, passed = outcome.candidates, outcome.passed
            scored[stage.name] = outcome.scored
            traces += outcome.steps
        if len(candidates) > request.k:
            raise ContractError(
                f"the last stage left {len(candidates)} items for k = {request.k}. End it with a selector "
                "without k."
            )
        has_sources = sources == tuple(source.name for source in self.recall.sources)
        is_cold_start = request.features.get("cold_start")
        steps = (*begun, *query_traces, *traces)
        page = Page(
            request=request.with_view(None).with_online(None).with_dual_variables(None).with_allowed(None),
            candidates=candidates,
            scored=scored,
            trace=Trace(steps),
            source_names=sources,
            degraded=degradations(steps),
            is_cold_start=is_cold_start is not None and bool(is_cold_start),
            versions=self._versions_read(request),
            shortfall=shortfall_of(request.k, traces) if request.item_ids is None else None,
            dropped=dropped
            | {number: trace.place for trace in traces for number in trace.notes.get(DROPPED, ())},
            scores={} if request.item_ids is None else _scores(scored[request.first_stage]),
            causes=self.recall.causes(request, candidates) if has_sources else {},
            item_type=self.item_type or WORK_TYPE,
            arms=arms,
        )
        return request, page, passed

    def _check_scene(self, request: Request) -> None:
        if request.scene != self.scene:
            raise ValueError(f"this cascade serves the scene {self.scene!r}, not {request.scene!r}")

    @property
    def parts(self) -> tuple[Cascade, ...]:
        """The cascades of the other item types of a mixed page."""
        return tuple(part.cascade for part in self.mix.values() if part.cascade is not None)

    def without_side_effects(self) -> Cascade:
        """Returns a cascade whose pages, and those of its parts, have no side effects."""
        parts = {
            name: part if part.cascade is None else replace(part, cascade=part.cascade.without_side_effects())
            for name, part in self.mix.items()
        }
        return replace(self, side_effects=(), mix=parts)

    def check_where(self, where: Where) -> None:
        """Raises ValueError if an index of the page's items is missing, or lacks a column or its type."""
        for cascade in (self, *self.parts):
            if cascade.index is None:
                raise ValueError("where: the scene has no item index")
            to_filter_terms(where, cascade.index.schema.columns, cascade.codes)

    def similar(
        self, item_id: int | str, k: int = 10, *, where: Where | None = None
    ) -> tuple[tuple[int | str, float], ...]:
        """Returns (id, score) of the ``k`` items that the users of ``item_id`` enjoy most, best first.

        Items that events blocked, closed or deleted are left out. For an item that few users enjoyed, returns
        those with the nearest vectors of its model version (``karec.features.similar_items``).

        Raises:
            ValueError: k < 1, the item is not in the index, or ``where`` does not fit its columns.
            ContractError: the cascade was built by hand.
        """
        if self.find_similar is None or self.index is None:
            raise ContractError(f"the scene {self.scene!r} has no bundle to find similar items in")
        query = Request(0, k, self.scene, where=where)
        if self.naming is not None:
            item = self.naming.number_of(item_id)
        elif isinstance(item_id, str):
            raise ValueError(f"this cascade has integer ids of items, the request has the id {item_id!r}")
        else:
            item = index(item_id)
        with self.index.pinned() as view:
            request = self._with_moment(query.with_view(view))
            request, _ = self._read_online(request)
            is_allowed = self.masks.get(where, view).rows.copy()
            if request.online is not None:
                hidden = np.asarray(view.lookup(request.online.items.hidden_ids))
                is_allowed[hidden[hidden >= 0]] = False
            ids, scores = self.find_similar(view, item, k, is_allowed)
        page = Page(request.with_view(None).with_online(None), Candidates.from_ids(ids, scores), Trace())
        page = page if self.naming is None else self.naming.to_ids(page, page.request)
        return tuple((item.item_id, item.score) for item in page)

    def _with_allowed(self, request: Request) -> tuple[Request, list[StepTrace]]:
        """Returns the request with its allowed rows, and a trace if it restricts items."""
        excluded, only = request.exclude_ids, request.only_ids
        if request.where is None and only is None and not len(excluded):
            return request, []
        start, view = self.clock(), request.view
        if view is None:
            raise ValueError("where, exclude_ids and only_ids need a scene with an item index")
        allowed, n_unknown = self.masks.get(request.where, view), 0
        if only is not None or len(excluded):
            mask = allowed.rows.copy()
            for ids, is_only in ((only, True), (excluded, False)):
                if ids is None:
                    continue
                rows = np.asarray(view.lookup(np.asarray(ids, np.int64)))
                known = rows[rows >= 0]
                n_unknown += len(rows) - len(known)
                if is_only:
                    kept = known[mask[known]]
                    mask[:] = False
                    mask[kept] = True
                else:
                    mask[known] = False
            mask.flags.writeable = False
            allowed = AllowedRows(mask)
        n_allowed, ms = allowed.n_allowed, (self.clock() - start) * 1e3
        trace = StepTrace("request", WHERE, "filter", len(view), n_allowed, ms, n_unknown=n_unknown)
        return request.with_allowed(allowed), [trace]

    def stages_of(self, request: Request) -> tuple[Stage, ...]:
        """Returns the stages; those before ``first_stage`` without scorers and selectors."""
        if request.item_ids is None:
            return self.stages
        names = [stage.name for stage in self.stages]
        if not request.item_ids:
            raise ValueError("there are 0 item_ids, expected at least one")
        if request.first_stage not in names:
            raise ValueError(f"first_stage is {request.first_stage!r}, expected one of {names}")
        first = names.index(request.first_stage)
        before = (
            Stage(stage.name, tuple(step for step in stage.steps if step.role in ("hydrator", "filter")))
            for stage in self.stages[:first]
        )
        return (*before, *self.stages[first:])

    def _fallback_reason(self, i: int, deadline: float | None) -> FallbackReason | None:
        stage, *later = self.stages[i:]
        if deadline is None:
            return None
        left_ms = (deadline - self.clock()) * 1e3
        return self.run_times.fallback_reason(
            stage.name, [later_stage.name for later_stage in later], left_ms
        )

    def _read_online(self, request: Request) -> tuple[Request, list[StepTrace]]:
        session = self._parse_session(request)
        if self.online is None:
            return request, []
        start = self.clock()
        view, failure = self.online.view(request.user_number, self.item_type, session)
        ms = (self.clock() - start) * 1e3
        trace = StepTrace("request", "online_store", "online_store", 0, -1, ms, failure=failure)
        return request.with_online(view), [trace]

    def check_session(self, request: Request) -> None:
        """Raises ValueError if the scene has no online store, or a row of ``events`` is not one of a user."""
        request = request if self.naming is None else self.naming.to_numbers(request)
        self._parse_session(self._with_moment(request))

    def _parse_session(self, request: Request) -> Events | None:
        """Returns the events of the request, which has a time and the number of its user; None if none."""
        if not request.events:
            return None
        sessions = None if self.online is None else self.online.sessions
        if sessions is None:
            raise ValueError(
                'events: the scene has no online store. Add [online] url = "sqlite::memory:" to karec.toml'
            )
        return sessions.parse(request.events, request.user_number, request.time_ms or 0)

    def hydrate(self, request: Request) -> tuple[Request, list[StepTrace]]:
        """Returns the request with the features of its hydrators, and their traces.

        The request needs a moment, and a view if a hydrator reads one. Callers that score items of their own
        use this first part of ``run``.
        """
        traces = []
        for step in self.query_hydrators:
            run = run_step(step, partial(hydrate_request, step, request), self.clock)
            request = request if run.result is None else request.with_features(run.result)
            traces.append(run.to_trace(step, "request", 0, -1))
        return request, traces

    def user_vector(self, user_id: int | str, *, time_ms: int | None = None) -> Array:
        """Returns the user's vector (D,) float32 of the index's newest model version, as ``run`` uses it.

        Raises ContractError if no query hydrator of the scene gives it, and what the hydrators raise.
        """
        request = Request(user_id, scene=self.scene, time_ms=time_ms)
        if self.naming is not None:
            request = self.naming.to_numbers(request)
        with nullcontext() if self.index is None else self.index.pinned() as view:
            request, _ = self._read_online(self._with_moment(request.with_view(view)))
            request, _ = self.hydrate(request)
        if "user_vector" not in request.features:
            raise ContractError(f"the scene {self.scene!r} has no user vector: put user_tower into its query")
        return np.array(request.features["user_vector"][-1], np.float32)

    def _with_moment(self, request: Request) -> Request:
        """Returns ``request`` with an id and a time."""
        if request.request_id and request.time_ms is not None:
            return request
        time_ms = self.as_of_ms if request.time_ms is None else request.time_ms
        now_ms = int(time.time() * 1e3)
        return request.with_id(request.request_id or uuid4().hex, now_ms if time_ms is None else time_ms)

    def _versions_read(self, request: Request) -> Mapping[str, Any]:
        read: dict[str, Any] = {}
        if request.view is not None:
            read["index_generation"] = request.view.generation
            read["model_versions"] = request.view.model_versions
        if request.online is not None:
            read["live_batch"] = request.online.items.n_batches
        return MappingProxyType({**self.versions, **read}) if read else self.versions or EMPTY

    @property
    def min_ms(self) -> float:
        """Summed p90 of the run times of a request in which every fallback runs, in ms, with its parts."""
        times = self.run_times
        stage_ms = [
            times.p90_ms(stage.name)
            if stage.fallback is None
            else min(times.p90_ms(stage.name), times.p90_ms(fallback_part(stage.name)))
            for stage in self.stages
        ]
        parts_ms = [part.min_ms for part in self.parts]
        return sum([times.p90_ms(RECALL), *stage_ms, times.p90_ms(REST), *parts_ms])

    def close(self) -> tuple[SideEffectCounts, ...]:
        """Waits until the side effects have run for all pages and are closed. Raises nothing.

        Later pages get no side effects, nor do those of the parts. The result has the own side effects.
        """
        for part in self.parts:
            part.close()
        return tuple(queue.close() for queue in self.side_effects)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ArmChoice(NamedTuple):
    """The pipeline of a request.

    counted  {experiment: arm} of the experiments in which the request counts
    trace    notes all arms of the request, and the arms that have no pipeline; None without arms
    teams    {arm: pipeline} of the two arms whose lists are interleaved; empty: ``pipeline`` makes the page
    """

    pipeline: Cascade
    counted: Mapping[str, str] = EMPTY
    trace: StepTrace | None = None
    teams: Mapping[str, Cascade] = EMPTY


class ArmChooser(Protocol):
    """The experiments of a scene: ``karec.experiments.scene.SceneExperiments``."""

    @property
    def pipelines(self) -> Mapping[tuple[str, ...], Cascade]:
        """{the arm of each experiment, "" for control: the cascade with their patches}."""

    @property
    def missing(self) -> Mapping[str, str]:
        """{EXPERIMENT.ARM that cannot be built from the bundle: reason}."""

    def choose(self, request: Request) -> ArmChoice:
        """Returns the arms of a request that has the platform's ids."""


@dataclass(frozen=True)
class MixedPart:
    """One item type of a mixed scene. ``cascade``: of its scene; None: the mixed scene itself."""

    cascade: Cascade | None
    calibration: ScoreCalibration
    share: TypeShare


def _open_items(request: Request) -> tuple[Candidates, dict[int | str, str]]:
    """Returns the caller's distinct items that pages may have, and {id: reason} of the others."""
    ids = np.array(list(dict.fromkeys(request.item_ids or ())), np.int64)
    if request.view is None:
        return Candidates.from_ids(ids), {}
    rows = request.view.lookup(ids)
    is_known, is_open = np.asarray(rows) >= 0, request.view.is_open(ids=ids)
    if request.online is not None:
        is_open &= ~np.isin(ids, request.online.items.hidden_ids)
    is_kept = is_known & is_open
    kept = Candidates.from_ids(ids[is_kept]).with_rows(rows[is_kept])
    allowed = only_allowed(request, kept)
    dropped = dict.fromkeys(ids[~is_known].tolist(), UNKNOWN)
    dropped |= dict.fromkeys(ids[is_known & ~is_open].tolist(), BLOCKED)
    if len(allowed) < len(kept):
        dropped |= dict.fromkeys(np.setdiff1d(kept.ids, allowed.ids).tolist(), WHERE)
    return allowed, dropped


def _scores(candidates: Candidates) -> dict[int | str, float]:
    """Returns {id: score}, the best first."""
    order = np.argsort(-candidates.scores, kind="stable")
    return dict(zip(candidates.ids[order].tolist(), candidates.scores[order].tolist(), strict=True))
