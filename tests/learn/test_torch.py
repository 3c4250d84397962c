"""torch is loaded in one place, after OpenMP has been told how threads wait."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import karec.learn

ROOM = Path(karec.learn.__file__).parent


def policy_after(code, **environment):
    """What OMP_WAIT_POLICY is in a fresh interpreter after ``code``."""
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-c", f"{code}\nimport os\nprint(os.environ.get('OMP_WAIT_POLICY'))"]
    done = subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_changes_nothing():
    assert policy_after("import karec.learn, karec.learn.settings.settings") == "None"


@pytest.mark.parametrize(("given", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_sleep_while_they_wait_unless_the_environment_says_otherwise(given, policy):
    assert policy_after("import karec.learn.nets.layers", **given) == policy


def test_no_module_loads_torch_by_itself():
    """One that did, imported first, would load OpenMP before the policy is set."""
    by_itself = [
        str(path.relative_to(ROOM))
        for path in ROOM.rglob("*.py")
        if re.search(r"^(import|from) torch\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert by_itself == ["_torch.py"]
