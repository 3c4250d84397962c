"""One case for each step that ``karec.toml`` has by name, and the scenes in which it is tested.

A step that is added to the registry needs a line in CASES, else the suite fails. A case has only the required
keys. It names the earlier steps that ``needs`` does not contain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from karec.config import registry
from karec.pipeline.step import Step
from karec.toml import Place

QUOTAS = (3, 1000)  # of a source: fewer items than it finds, and more
LIMIT = 6  # of the merger: fewer items than both sources return


@dataclass(frozen=True)
class Case:
    """``keys`` of the step's table. ``after``: earlier steps that are required but not declared as a need."""

    keys: str = ""
    after: tuple[str, ...] = ()


# these steps read a column of the index for each item, and refuse items without a row
KNOWN_ROWS = ("has_embedding",)
EXPOSURE = """
[scenes.home.exposure]
targets = [{ column = "tag", share = { "1" = 0.5 } }, { age_hours = 72, share = 0.5 }]
caps = [{ column = "creator_id", share = 0.2 }]
guarantees = [{ new_work_hours = 100000, exposures = 5, budget = 1000 }]
impressions_per_day = 1000
explore = 1
"""
# a cap that is never reached: counted pages change no later page
NEUTRAL_EXPOSURE = """
[scenes.home.exposure]
caps = [{ column = "creator_id", share = 1.0 }]
"""
CASES = {
    "user_features": Case(),
    "user_tower": Case(),
    "profile": Case("quota = {quota}"),
    "follow": Case("quota = {quota}"),
    "social": Case("quota = {quota}"),
    "community": Case("quota = {quota}"),
    "city": Case("quota = {quota}"),
    "als": Case("quota = {quota}"),
    "item_to_item": Case("quota = {quota}"),
    "indicators": Case("quota = {quota}"),
    "model": Case("quota = {quota}"),
    "popular": Case("quota = {quota}"),
    # the request's id chooses among draws, and every request has its own
    "fresh": Case("quota = {quota}, draws = 1"),
    "open_now": Case("quota = {quota}"),
    "merge": Case(),
    "index_rows": Case(),
    "has_embedding": Case(),
    "not_shown": Case(),
    "not_seen": Case(),
    "not_consumed": Case(),
    "is_open": Case(),
    "followed": Case(),
    "not_followed": Case(),
    "not_own": Case(),
    "same_as_user": Case('column = "city"'),
    "visible": Case(),
    "blend": Case("share = 0.5"),
    "live_indicators": Case(),
    "als_score": Case(),
    "consumed_last": Case(),
    "inner_product": Case("k = 7"),
    "freshness": Case("weight = 0.5", after=KNOWN_ROWS),
    "tone": Case('column = "log_duration", at_least = 4.0', after=KNOWN_ROWS),
    "tone_score": Case('column = "log_duration", weight = 0.5', after=KNOWN_ROWS),
    "quota": Case('column = "creator_id", at_most = 2', after=KNOWN_ROWS),
    "underexposed": Case(after=("index_rows", *KNOWN_ROWS)),
    "exposure_control": Case(after=KNOWN_ROWS),
    "exposure_counter": Case(),
    "ranker": Case(),
    "fusion": Case("weights = { click = 1.0, like = 2.0 }"),
    "top_k": Case(),
    "rank_log": Case('folder = "rank_log"'),
    "shadow": Case('folder = "rank_log", share = 1.0, pool = "before"'),
    "dpp": Case(),
    "mmr": Case(),
    "ssd": Case(),
    # the request's id chooses the order, and every request has its own
    "random_position": Case("share = 1e-15, n = 3"),
    "page_rules": Case('rules = [{ column = "creator_id", window = 3, max_count = 1 }]'),
}
GIVERS = (
    "user_features",
    "user_tower",
    "index_rows",
    "ranker",
)  # in the order of a chain; the merger gives scores


def step_class(use: str) -> type[Step]:
    if use in registry.EXPOSURE_STEPS:
        return registry.step_classes()[use]
    return registry.step_class(use, Place(Path("karec.toml")))


def of_role(role: str) -> list[str]:
    """Returns the names of the steps of ``role`` that have a case. test_registry.py reports the others."""
    return [use for use, cls in registry.step_classes().items() if use in CASES and cls.role == role]


def name_of(use: str) -> str:
    """Returns the name of the tested step in its scene. A merger has a fixed name."""
    return "merge" if step_class(use).role == "merger" else "tested"


def most(use: str, k: int) -> int:
    """Returns the maximum number of items that the selector ``use`` keeps of a request for ``k``."""
    return int(CASES[use].keys.removeprefix("k = ")) if CASES[use].keys.startswith("k = ") else k


def table(use: str, keys: str = "") -> str:
    """Returns the step's table in karec.toml. Exposure steps, which the config adds, are named by their
    class. The probe after ``random_position`` is refused in a scene that logs its propensities."""
    if use == "random_position":
        use = "step_probes:UnloggedPosition"
    if use in registry.EXPOSURE_STEPS:
        cls = step_class(use)
        use = f"{cls.__module__}:{cls.__name__}"
    return f'{{ use = "{use}", {keys} }}' if keys else f'{{ use = "{use}" }}'


def probe(name: str, keys: str = "") -> str:
    """Returns the table of a step of ``step_probes``."""
    return table(f"step_probes:{name}", keys)


def scene_of(use: str, *, chain: Sequence[str] = GIVERS, quota: int = 100, watched: bool = True) -> str:
    """Returns the text of a karec.toml whose scene ``home`` tests the step ``use``.

    Stages: ``before``, which ends with a probe of the step's input; ``tested``, the step and a probe of its
    output; ``rank``. ``chain``: the earlier steps, of GIVERS. A side effect is left out if ``watched`` is
    False. Pages counted by ``exposure_counter`` change no later page of its scene.
    """
    whole = chain == GIVERS
    role, case = step_class(use).role, CASES[use]
    own = table(
        use, ", ".join([*filter(None, [case.keys.replace("{quota}", str(quota))]), 'name = "tested"'])
    )
    request = [
        own if name == use else table(name) for name in chain if step_class(name).role == "query_hydrator"
    ]
    sources, limit = [probe("Brings", 'quota = 100, name = "brings"')], 100
    before = [table(name) for name in (*chain, *case.after) if _in_a_stage(name) and name != use]
    scored = [table("ranker"), table("fusion", CASES["fusion"].keys)]
    if whole and use not in ("ranker", "fusion"):
        before.append(scored[1])
    tested, rank, observers = [], [table("top_k")], []
    if role == "query_hydrator":
        request += [own] if use not in chain else []
    elif role == "source":
        sources, limit = [own], 2000
    elif role == "merger":
        sources = [probe("Brings", f'quota = 4, start = {start}, name = "from {start}"') for start in (0, 2)]
        limit = LIMIT
    elif role == "side_effect":
        rank, observers = [*(scored if "ranker" in chain else []), *rank], [own] if watched else []
    else:
        tested = [own]
    exposure = {"exposure_counter": NEUTRAL_EXPOSURE, "exposure_control": EXPOSURE, "underexposed": EXPOSURE}
    return TEXT.format(
        exposure=exposure.get(use, ""),
        limit=limit,
        request=", ".join(request),
        recall=", ".join(sources),
        observers=", ".join(observers),
        before=", ".join([*before, probe("Keeps", 'place = "before"')]),
        tested=", ".join([*tested, probe("Keeps", 'place = "after"')]),
        rank=", ".join(rank),
    )


def _in_a_stage(use: str) -> bool:
    return step_class(use).role in ("hydrator", "filter", "scorer", "selector")


TEXT = """
bundle = "bundles"

[scenes.home]
limits.recall = {limit}
query = [{request}]
recall = [{recall}]
side_effects = [{observers}]

[[scenes.home.stages]]
name = "before"
steps = [{before}]

[[scenes.home.stages]]
name = "tested"
steps = [{tested}]

[[scenes.home.stages]]
name = "rank"
steps = [{rank}]
{exposure}
"""
