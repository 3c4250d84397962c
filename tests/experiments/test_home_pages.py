"""Pages of the home template, with its exposure control and page rules, that have items of both arms."""

import numpy as np
import pytest
from demo_folder import write_demo_folder

import karec
from karec.pipeline.types import Request

HEAD = """
[layers.pages]
salt = "pages-2026"
unit = "{unit}"
paths = ["scenes.home.rerank"]

[experiments.pages]
layer = "pages"
start = 2020-01-01T00:00:00Z
end = 2090-01-01T00:00:00Z
arms.control.weight = 0.5
arms.fresh = {{ weight = 0.5, patches = {{ "scenes.home.rerank.freshness.weight" = 3.0 }} }}
{more}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_demo_folder(folder)
    path = folder / "karec.toml"
    path.write_text('experiments = "experiments.toml"\n' + path.read_text())
    return folder


def pages_of(folder, unit, more=""):
    (folder / "experiments.toml").write_text(HEAD.format(unit=unit, more=more))
    with karec.open(folder / "karec.toml", scene="home") as cascade:
        snapshot = cascade.bundle.snapshot
        return [cascade.run(Request(user, 10, request_id=f"r{user}")) for user in range(1, 13)], snapshot


def assert_rules_hold(page, works):
    """At most 3 works of a creator and 2 of a song, none neighbours; else ``degraded`` names a rule."""
    rows = works.lookup(page.candidates.ids)
    for column, most in (("creator_id", 3), ("song_id", 2)):
        values = works.columns[column][rows].astype(np.int64)
        values = np.where(values < 0, -1 - np.arange(len(values)), values)  # a missing value equals no other
        is_kept = (values[1:] != values[:-1]).all() and np.unique(values, return_counts=True)[1].max() <= most
        assert is_kept or any(column in text for text in page.degraded)


def test_interleaved_pages_keep_the_page_rules(folder):
    pages, snapshot = pages_of(folder, "user", "interleave = true")
    for page in pages:
        assert page.arms == {"pages": "interleaved"} and len(page) == 10
        assert {*page.teams} == {"control", "fresh"}
        assert_rules_hold(page, snapshot.works)
    assert sum(not page.degraded for page in pages) > 6


def test_pages_with_arms_of_creators_keep_the_page_rules(folder):
    pages, snapshot = pages_of(folder, "creator")
    for page in pages:
        assert page.arms == {"pages": "by_creator"} and len(page) == 10
        names = [step.step for step in page.trace.steps]
        assert names.index("creator_arms") < names.index("dpp") and names.count("freshness") == 2
        assert_rules_hold(page, snapshot.works)
