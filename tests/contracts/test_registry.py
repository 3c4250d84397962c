"""The suite covers whatever karec.toml can name."""

from step_cases import CASES, STEPS, step_class
from step_contract import Contract

from . import test_observers, test_recall, test_request_hydrators, test_stage_steps


def test_every_step_of_the_registry_has_a_case():
    assert STEPS.keys() == CASES.keys(), "a step needs a line in step_cases.CASES, and a line its step"


def test_every_role_has_a_contract():
    suites = (test_observers, test_recall, test_request_hydrators, test_stage_steps)
    classes = [value for suite in suites for name, value in vars(suite).items() if name.startswith("Test")]
    held = {each.role for each in classes if issubclass(each, Contract)}
    assert {step_class(use).role for use in STEPS} == held
