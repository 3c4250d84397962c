"""The blocks of docs/experiments.md run on a small bundle."""

from doc_pages import run_page

import karec


def test_experiments_page_runs_and_its_arm_is_in_service(demo_folder):
    run_page("docs/experiments.md", demo_folder)
    with karec.open(demo_folder / "demo" / "karec.toml") as cascade:
        page = cascade.run(karec.Request(1, arms={"dpp": "diverse"}))
        assert page.arms == {"dpp": "diverse"} and page.versions["config"] != cascade.versions["config"]
