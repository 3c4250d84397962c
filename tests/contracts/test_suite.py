"""Each broken step fails the contract test of the promise that it breaks."""

import inspect

import pytest
from step_cases import CASES, Case, scene_of

from .test_query_hydrators import TestQueryHydrators as QueryHydrators
from .test_recall import TestSources as Sources
from .test_side_effects import TestSideEffects as SideEffects
from .test_stage_steps import TestFilters as Filters
from .test_stage_steps import TestHydrators as Hydrators
from .test_stage_steps import TestScorers as Scorers
from .test_stage_steps import TestSelectors as Selectors

BROKEN = [
    ("WritesScores", Filters, "test_input_is_not_changed"),
    ("Forgets", Filters, "test_output_satisfies_the_role"),
    ("Remembers", Scorers, "test_equal_input_gives_equal_output"),
    ("Remembers", Scorers, "test_output_is_equal_on_8_threads"),
    ("NeedsInSilence", Scorers, "test_declared_needs_are_sufficient"),
    ("GivesInSilence", Hydrators, "test_output_satisfies_the_role"),
    ("RescoresInSilence", Selectors, "test_output_satisfies_the_role"),
    ("Invents", Sources, "test_output_satisfies_the_role"),
    ("MovesWithTheUser", QueryHydrators, "test_unknown_user_gets_the_shapes_of_a_known_user"),
    ("TurnsTheFeed", SideEffects, "test_page_is_the_same_without_side_effect"),
    ("Trips", SideEffects, "test_side_effect_runs_for_every_page"),
]


@pytest.mark.parametrize(
    ("broken", "suite", "test"), BROKEN, ids=[f"{name}, {test}" for name, _, test in BROKEN]
)
def test_contract_rejects_a_broken_step(broken, suite, test, bundle, build, monkeypatch):
    use = f"broken_steps:{broken}"
    monkeypatch.setitem(CASES, use, Case("quota = 1000" if suite is Sources else ""))
    contract, scene = suite(), scene_of(use)
    given = {"use": use, "scene": scene, "cascade": build(scene), "bundle": bundle, "build": build}
    check = getattr(contract, test)
    with pytest.raises((AssertionError, LookupError)):
        check(**{name: given[name] for name in inspect.signature(check).parameters})
