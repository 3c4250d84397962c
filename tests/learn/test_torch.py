"""Tests that torch is loaded in one place, after the OpenMP wait policy is set."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import karec.learn

ROOM = Path(karec.learn.__file__).parent


def policy_after(code, **environment):
    """Returns OMP_WAIT_POLICY in a fresh interpreter after ``code``."""
    environment_before = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-c", f"{code}\nimport os\nprint(os.environ.get('OMP_WAIT_POLICY'))"]
    done = subprocess.run(
        command, env=environment_before | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_importing_karec_does_not_set_omp_wait_policy():
    assert policy_after("import karec.learn, karec.learn.settings.settings") == "None"


@pytest.mark.parametrize(
    ("variables", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")]
)
def test_importing_torch_sets_omp_wait_policy_if_missing(variables, policy):
    assert policy_after("import karec.learn.nets.layers", **variables) == policy


def test_modules_import_torch_module_before_torch():
    """A module that imports torch first would load OpenMP before the policy is set."""
    too_early = []
    for path in ROOM.rglob("*.py"):
        imports = re.findall(
            r"^ *(?:import|from) (torch|karec\.learn\._torch)\b", path.read_text("utf-8"), re.MULTILINE
        )
        too_early += [str(path.relative_to(ROOM))] if imports[:1] == ["torch"] else []
    assert too_early == ["_torch.py"]
