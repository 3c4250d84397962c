"""docs/steps.md has the docstrings and settings of the steps."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generator():
    return runpy.run_path(str(DOCS / "generate_steps.py"))


def test_steps_page_equals_what_make_docs_writes(generator):
    page = (DOCS / "steps.md").read_text(encoding="utf-8")
    assert page == generator["page"](), "docs/steps.md is stale: run make docs"


def test_generator_refuses_a_setting_without_description(generator):
    from karec.steps.filters.quota import Quota

    class Undescribed(Quota):
        def __init__(self, schema, column: str, at_most: int, strictness: int = 1) -> None:
            super().__init__(schema, column, at_most)

    with pytest.raises(KeyError, match="strictness"):
        generator["_settings"](Undescribed)
