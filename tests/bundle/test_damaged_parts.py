"""A bundle whose parts are damaged, with hashes that match, is refused: the file and the reason, in one
line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from damage import make
from damaged_bundles import DAMAGES
from fuzz_bundle import fuzz

from karec.bundle import Bundle
from karec.errors import BundleError

PROGRAM = Path(__file__).parent / "open_damaged.py"
HANG = 900  # s for all of them


def test_undamaged_bundle_opens(good):
    assert len(Bundle.open(good).index) == 40


def test_randomly_altered_bundles_serve_or_are_refused():
    """A short run of `make fuzz-bundle`."""
    assert fuzz(25, seed=1).keys() <= {"served", "refused"}


# of what makes damages
@pytest.mark.filterwarnings("ignore:Duplicate name", "ignore:invalid value encountered")
@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_part_is_refused_with_file_and_reason(good, tmp_path, name):
    damage = DAMAGES[name]
    folder = make(damage, good, tmp_path)
    with pytest.raises(BundleError) as refused:
        Bundle.open(folder)
    message = str(refused.value)
    assert message.isprintable() and damage.file in message and re.search(damage.reason, message), message


@pytest.mark.long
def test_damaged_parts_are_refused_within_memory_and_time_limits(good, tmp_path):
    """One process opens all of them, with a memory limit and a CPU time limit for each (open_damaged.py)."""
    out = tmp_path / "outcomes.json"
    done = subprocess.run(
        [sys.executable, PROGRAM, good, out], capture_output=True, text=True, timeout=HANG, check=False
    )
    assert done.returncode == 0, f"{done.stdout.splitlines()[-1:]}: {done.stderr[-2000:]}"
    assert json.loads(out.read_text()) == dict.fromkeys(DAMAGES, "BundleError")
