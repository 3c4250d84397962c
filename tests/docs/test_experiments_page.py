"""The blocks of docs/experiments.md run on a small bundle."""

from doc_pages import run_page
from experiment_logs import write_drawn_logs

import karec


def test_experiments_page_runs_and_its_arm_is_in_service(demo_folder):
    write_drawn_logs(demo_folder / "demo", n_users=1_500, days=14, before=21)
    run = run_page("docs/experiments.md", demo_folder)
    assert "Primary metric" in run.output("experiment status")
    assert (demo_folder / "demo/report/dpp.html").exists()
    with karec.open(demo_folder / "demo" / "karec.toml") as cascade:
        page = cascade.run(karec.Request(1, arms={"dpp": "diverse"}))
        assert page.arms == {"dpp": "diverse"} and page.versions["config"] != cascade.versions["config"]
