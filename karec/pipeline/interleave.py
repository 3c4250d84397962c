"""Makes one page of the ranked lists of two pipelines, so that the outcomes of its items compare them.

The method is the team draft. The pipeline with fewer items on the page picks next. If both have the same
number, a coin decides, with the request's id as seed. The pipeline picks the best item of its list that is
not on the page and breaks no hard rule of either pipeline, and becomes the team of the item. If both would
pick the same item, the coin gives it to each with probability 1/2. A list has the items of the pipeline's
page, then its reserve: the open items of its last stage that are not on the page, by score.

Source: F. Radlinski, M. Kurup and T. Joachims, "How does clickthrough data reflect retrieval quality?", 2008.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from karec.pipeline.checks import without
from karec.pipeline.step import BrokenRules, Selector
from karec.pipeline.trace import RELAXED, Shortfall, StepTrace, Trace, degradations
from karec.pipeline.types import Array, Candidates, Page, Request

PLACE = ("page", "team_draft")
STREAM = 1  # of random numbers; steps that draw use the request's seed itself


@dataclass(frozen=True)
class Team:
    """The page of one pipeline, and the data for its draft.

    passed     items of its last stage that passed all filters
    selectors  of its last stage
    """

    name: str
    page: Page
    passed: Candidates
    selectors: tuple[Selector, ...]


@dataclass(frozen=True)
class Draft:
    """Items of a page in its order.

    items    index in the pool of the item at each place, −1 for a place that stays free
    teams    number of the team of each place, −1 for a free place
    relaxed  names of rules that a pick broke, since no remaining item keeps all rules
    """

    items: tuple[int, ...]
    teams: tuple[int, ...]
    relaxed: tuple[str, ...]


def interleave(request: Request, teams: Sequence[Team], traces: Sequence[StepTrace]) -> Page:
    """Returns the page of two ``teams``, with the data of an item from the pipeline that picked it.

    ``scored`` of a stage has the candidates of the first pipeline, then those that only the second pipeline
    scored, with its scores. ``degraded`` names the rules that no item keeps.

    Args:
        request: as the steps saw it, with the view of the index.
        traces: what ran before the pipelines.
    """
    first, second = teams
    ranked = [_ranked(request, team) for team in teams]
    pool = ranked[0].append(without(ranked[1], ranked[0].ids))
    position = {item: i for i, item in enumerate(pool.ids.tolist())}
    lists = [[position[item] for item in candidates.ids.tolist()] for candidates in ranked]
    selectors = dict.fromkeys(step for team in teams for step in team.selectors)
    rules = [step.rule_checks(request, pool) for step in selectors if step.keeps_rules]
    k = min([request.k, *(step.k for step in selectors if step.k is not None)])
    coins = np.random.default_rng((request.seed, STREAM)).integers(0, 2, k).tolist()
    free = {place for step in selectors for place in step.free_places}
    drafted = draft(lists, k, coins, lambda page: _join(rules, page), free=free)

    names, bits = _source_bits(first.page.source_names, second.page.source_names)
    ranked[1] = replace(ranked[1], sources=_move_bits(ranked[1].sources, bits))
    picks = [(item, team) for item, team in zip(drafted.items, drafted.teams, strict=True) if item >= 0]
    own = [[lists[number].index(item) for item, team in picks if team == number] for number in (0, 1)]
    order = np.argsort(np.argsort([team for _, team in picks], kind="stable"), kind="stable")
    candidates = ranked[0].take(np.array(own[0], np.int64)).append(ranked[1].take(np.array(own[1], np.int64)))
    candidates = candidates.take(order)
    n_by_team = {team.name: len(rows) for team, rows in zip(teams, own, strict=True)}
    notes = {"n_items": n_by_team, **({RELAXED: drafted.relaxed} if drafted.relaxed else {})}
    trace = StepTrace(*PLACE, "selector", len(pool), len(candidates), 0.0, notes=notes)
    steps = (*traces, *(_of_list(step) for team in teams for step in team.page.trace.steps), trace)
    detail = (
        f"{trace.place} has only these items: {', '.join(f'{n} {size}' for n, size in n_by_team.items())}"
    )
    is_short = len(candidates) < request.k
    return replace(
        first.page,
        candidates=candidates,
        scored=_union(first.page.scored, second.page.scored, bits),
        trace=Trace(steps),
        source_names=names,
        degraded=degradations(steps),
        versions=_join_versions(first.page.versions, second.page.versions),
        shortfall=Shortfall(request.k, len(candidates), trace.place, "exhausted", detail)
        if is_short
        else None,
        causes=_causes(teams, candidates.ids, [team for _, team in picks]),
        teams=tuple(teams[team].name for _, team in picks),
    )


def draft(
    lists: Sequence[Sequence[int]],
    k: int,
    coins: Sequence[int],
    broken: BrokenRules,
    *,
    free: frozenset[int] | set[int] = frozenset(),
) -> Draft:
    """Returns the draft of two ranked ``lists`` of items for a page of ``k`` places.

    A team whose list is empty, or has no item that keeps the rules, passes. If each remaining item breaks a
    rule, the pick is the best of those that keep the first rules.

    Cost: O(k · (N + cost of ``broken``)) for lists of N items.

    Args:
        lists: numbers of items, best first.
        coins: (k,) the team that picks next if both have the same number of items.
        broken: {rule: (items,) True for items that break it at the next place}, for the items of the places
            before it, −1 for a free one; the first rule matters most.
        free: places from 0 that stay free.
    """
    items: list[int] = []
    teams: list[int] = []
    relaxed: dict[str, None] = {}
    while len(items) < k:
        if len(items) in free:
            items.append(-1)
            teams.append(-1)
            continue
        rules = broken(items)
        n = [teams.count(0), teams.count(1)]
        turn = coins[len(items)] if n[0] == n[1] else int(n[1] < n[0])
        options = [(team, item) for team in (turn, 1 - turn) for item in lists[team] if item not in items]
        if not options:
            break
        keeping = ((team, item) for team, item in options if not any(mask[item] for mask in rules.values()))
        team, item = next(keeping, None) or _least_broken(options, rules)
        relaxed |= dict.fromkeys(name for name, mask in rules.items() if mask[item])
        items.append(item)
        teams.append(team)
    return Draft(tuple(items), tuple(teams), tuple(relaxed))


def _least_broken(
    options: Sequence[tuple[int, int]], rules: Mapping[str, NDArray[np.bool_]]
) -> tuple[int, int]:
    for mask in rules.values():
        options = [(team, item) for team, item in options if not mask[item]] or options
    return options[0]


def _ranked(request: Request, team: Team) -> Candidates:
    """Returns the items of the team's page, then its reserve."""
    page = team.page.candidates
    reserve = without(team.passed, page.ids)
    reserve = reserve.take(np.argsort(-reserve.scores, kind="stable"))
    if request.view is not None:
        reserve = reserve.take(np.asarray(request.view.is_open(ids=reserve.ids)))
    return page.append(reserve)


def _of_list(step: StepTrace) -> StepTrace:
    """Returns the trace without relaxed rules: they concern the list of one pipeline, not the page."""
    if RELAXED not in step.notes:
        return step
    return step._replace(notes={name: note for name, note in step.notes.items() if name != RELAXED})


def _join(rules: Sequence[BrokenRules], page: Sequence[int]) -> dict[str, NDArray[np.bool_]]:
    return {name: mask for broken in rules for name, mask in broken(page).items()}


def _source_bits(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[tuple[str, ...], list[int]]:
    """Returns the names of the sources of both pipelines, and the new bit of each source of the second."""
    names = tuple(dict.fromkeys((*first, *second)))
    return names, [names.index(name) for name in second]


def _move_bits(sources: Array, bits: Sequence[int]) -> Array:
    if list(bits) == list(range(len(bits))):
        return sources
    moved = np.zeros(len(sources), np.uint64)  # two pipelines may have more than 32 sources
    for bit, new in enumerate(bits):
        moved |= (sources.astype(np.uint64) >> np.uint64(bit) & np.uint64(1)) << np.uint64(new)
    return moved.astype(np.uint32)


def _union(
    first: Mapping[str, Candidates], second: Mapping[str, Candidates], bits: Sequence[int]
) -> dict[str, Candidates]:
    union = dict(first)
    for stage, candidates in second.items():
        more = without(candidates, first[stage].ids)
        if len(more):
            union[stage] = first[stage].append(replace(more, sources=_move_bits(more.sources, bits)))
    return union


def _join_versions(first: Mapping[str, object], second: Mapping[str, object]) -> dict[str, object]:
    """Returns the versions of the first page, with the versions of the settings of both."""
    configs = dict.fromkeys(str(versions["config"]) for versions in (first, second) if "config" in versions)
    return {**first, **({"config": "+".join(configs)} if configs else {})}


def _causes(teams: Sequence[Team], ids: Array, numbers: Sequence[int]) -> dict[int, tuple[str, int | str]]:
    places = [{item: i for i, item in enumerate(team.page.candidates.ids.tolist())} for team in teams]

    def find() -> Iterator[tuple[int, tuple[str, int | str]]]:
        for place, (item, number) in enumerate(zip(ids.tolist(), numbers, strict=True)):
            cause = teams[number].page.causes.get(places[number].get(item, -1))
            if cause is not None:
                yield place, cause

    return dict(find())
