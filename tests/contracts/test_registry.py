"""The contract suite covers every step of karec, and names are the same in karec.toml, files and classes."""

import inspect
from pathlib import Path

from step_cases import CASES
from step_contract import Contract

import karec.steps
from karec.config.registry import step_classes

from . import test_query_hydrators, test_recall, test_side_effects, test_stage_steps

STEPS_FOLDER = Path(karec.steps.__file__).parent


def test_every_step_of_the_registry_has_a_case():
    assert step_classes().keys() == CASES.keys()


def test_every_role_has_a_contract():
    suites = (test_side_effects, test_recall, test_query_hydrators, test_stage_steps)
    classes = [value for suite in suites for name, value in vars(suite).items() if name.startswith("Test")]
    roles = {suite.role for suite in classes if issubclass(suite, Contract)}
    assert {cls.role for cls in step_classes().values()} == roles


def test_step_name_matches_its_file_and_class():
    for use, cls in step_classes().items():
        assert cls.__module__.rpartition(".")[2] == use
        assert cls.__name__ == "".join(part.capitalize() for part in use.split("_"))


def test_step_constructors_have_no_index_parameter():
    for cls in step_classes().values():
        assert "index" not in inspect.signature(cls).parameters


def test_every_step_file_is_registered():
    files = {path.stem for path in STEPS_FOLDER.glob("*/*.py") if path.parent.name != "shared"}
    assert files - {"__init__"} == step_classes().keys()
