"""The blocks of docs/exposure.md run on a small bundle."""

from doc_pages import run_page

USERS = {"10000001": "1", "10000002": "2"}  # of the small bundle


def test_exposure_page_runs(demo_folder):
    run = run_page("docs/exposure.md", demo_folder, replacements=USERS)
    notes, state = run.output("cascade.exposure").splitlines()
    assert "'dual_variables'" in notes
    assert "'unmet'" in state
