"""The blocks of docs/python-api.md run."""

from doc_pages import run_page


def test_python_api_page_runs(demo_folder):
    run = run_page("docs/python-api.md", demo_folder, replacements={"10000001": "1"})
    assert run.output("NeighbourRule").endswith(" 0 (10,)\n")
    assert run.output("calibrate") == "[5, 1000000] 1 1 8\n"
    assert "rank_log: 2 seen" in run.output("cascade.close")
    assert run.output("live.reload()").startswith("False ReloadCounts(done=0")
