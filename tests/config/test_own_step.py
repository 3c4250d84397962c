"""The example docs/examples/own_step.py runs and prints the documented lines."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own_step.py"


def test_own_step_example_runs_its_filter_and_source(tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["1002 ('EditorsPicks', 'fresh')", "1006 ('EditorsPicks', 'fresh')"]
    assert all(int(line.split()[0]) % 4 == 2 for line in lines[:5])
    assert "rank same_city 100 → 25 of another city" in lines
