"""A bundle whose parts are damaged, with hashes that match, is refused: the file and the reason, in one line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from damaged_bundles import DAMAGES
from fuzz_bundle import fuzz
from small_bundle import publish_small_bundle

from karec.bundle import Bundle

PROGRAM = Path(__file__).parent / "open_damaged.py"
HANG = 300  # s for all of them


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return publish_small_bundle(tmp_path_factory.mktemp("small")).path


@pytest.fixture(scope="module")
def outcomes(bundle, tmp_path_factory):
    """What each damage led to, all in one process that may take 1 GiB more than it has at the start."""
    out = tmp_path_factory.mktemp("outcomes") / "outcomes.json"
    done = subprocess.run(
        [sys.executable, PROGRAM, bundle, out], capture_output=True, text=True, timeout=HANG, check=False
    )
    assert done.returncode == 0, f"{done.stdout.splitlines()[-1:]}: {done.stderr[-2000:]}"
    return json.loads(out.read_text())


def test_the_bundle_that_is_damaged_opens_as_it_was_published(bundle):
    assert len(Bundle.open(bundle).index) == 40


def test_bundles_altered_at_random_serve_or_are_refused():
    """A few of what `make fuzz-bundle` does many of."""
    assert fuzz(25, seed=1).keys() <= {"served", "refused"}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_part_is_refused_by_file_and_reason(outcomes, name):
    damage, (error, message) = DAMAGES[name], outcomes[name]
    assert error == "BundleError", (error, message)
    assert message.isprintable() and damage.file in message and re.search(damage.reason, message), message
