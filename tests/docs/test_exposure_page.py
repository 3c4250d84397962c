"""The blocks of docs/exposure.md run on a small bundle."""

from doc_pages import ROOT, run_page

from karec.exposure.constraints import ExposureSettings

USERS = {"10000001": "1", "10000002": "2"}  # of the small bundle


def test_exposure_page_runs(demo_folder):
    run = run_page("docs/exposure.md", demo_folder, replacements=USERS)
    notes, state = run.output("cascade.exposure").splitlines()
    assert "'dual_variables'" in notes
    assert "'unmet'" in state


def test_exposure_page_has_every_key_of_the_table():
    text = (ROOT / "docs" / "exposure.md").read_text(encoding="utf-8")
    assert [key for key in ExposureSettings.__struct_fields__ if f"\n| `{key}` |" not in text] == []
