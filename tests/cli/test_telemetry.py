"""Commands turn the telemetry of ONNX Runtime off."""

import os
import subprocess
import sys

RUN = """
import sys
from karec.cli import main
main(["inspect", "nothing"])
import onnxruntime
onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
"""


def test_onnx_runtime_writes_no_telemetry_file(ranker, tmp_path):
    """By default it writes one, with an id of the machine, below the home folder."""
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    command = [sys.executable, "-c", RUN, str(getattr(ranker, "path", ranker))]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=100)
    assert [*tmp_path.iterdir()] == []
