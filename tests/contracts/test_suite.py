"""A promise that nothing can break is none: each broken step must fail the test of what it breaks."""

import inspect

import pytest
from step_cases import CASES, Case, scene_of

from .test_observers import TestObservers as Observers
from .test_recall import TestSources as Sources
from .test_request_hydrators import TestRequestHydrators as RequestHydrators
from .test_stage_steps import TestFilters as Filters
from .test_stage_steps import TestHydrators as Hydrators
from .test_stage_steps import TestScorers as Scorers
from .test_stage_steps import TestSelectors as Selectors

BROKEN = [
    ("WritesScores", Filters, "test_what_it_is_handed_stays_as_it_was"),
    ("Forgets", Filters, "test_what_it_gives_keeps_to_the_role"),
    ("Remembers", Scorers, "test_the_same_input_gives_the_same_output"),
    ("Remembers", Scorers, "test_threads_get_what_each_would_get_alone"),
    ("NeedsInSilence", Scorers, "test_steps_that_give_what_it_needs_are_enough_before_it"),
    ("GivesInSilence", Hydrators, "test_what_it_gives_keeps_to_the_role"),
    ("RescoresInSilence", Selectors, "test_what_it_gives_keeps_to_the_role"),
    ("Invents", Sources, "test_what_it_gives_keeps_to_the_role"),
    ("MovesWithTheUser", RequestHydrators, "test_a_user_never_seen_gets_the_shapes_of_a_known_one"),
    ("TurnsTheFeed", Observers, "test_the_answer_is_the_same_without_it"),
    ("Trips", Observers, "test_it_observes_every_answer_without_a_failure"),
]


@pytest.mark.parametrize(
    ("broken", "suite", "test"), BROKEN, ids=[f"{name}, {test}" for name, _, test in BROKEN]
)
def test_a_broken_step_fails(broken, suite, test, bundle, build, monkeypatch):
    use = f"broken_steps:{broken}"
    monkeypatch.setitem(CASES, use, Case("quota = 1000" if suite is Sources else ""))
    contract, scene = suite(), scene_of(use)
    given = {"use": use, "scene": scene, "cascade": build(scene), "bundle": bundle, "build": build}
    check = getattr(contract, test)
    with pytest.raises((AssertionError, LookupError)):
        check(**{name: given[name] for name in inspect.signature(check).parameters})
