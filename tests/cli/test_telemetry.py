"""No command lets ONNX Runtime report to its maker."""

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


def test_onnx_runtime_keeps_no_record_to_send(ranker, tmp_path):
    """Its wheel of PyPI keeps one below the home folder, and a number of the machine, unless it is told not
    to."""
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    command = [sys.executable, "-c", RUN, str(getattr(ranker, "path", ranker))]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=100)
    assert [*tmp_path.iterdir()] == []
