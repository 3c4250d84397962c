"""The blocks of docs/python-api.md run."""

from doc_pages import run_page


def test_python_api_page_runs(demo_folder):
    run = run_page("docs/python-api.md", demo_folder, replacements={"10000001": "1"})
    assert run.output("NeighbourRule").endswith(" 0 (10,)\n")
    assert run.output("calibrate") == "[5, 1000000] 1 1 8\n"
    output = run.output("cascade.close")
    assert "20 items on two pages" in output and "rank_log: 3 seen" in output
    assert run.output("live.reload()").startswith("False ReloadCounts(done=0")
