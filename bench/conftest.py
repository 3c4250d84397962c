"""Lets the benches import workloads.py, which stands beside them; where nothing is measured, their worlds are
small."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser):
    parser.addoption(
        "--cascade", help="bench_cascade.py: the karec.toml of a bundle, in place of the bench's own"
    )


def pytest_configure(config):
    import workloads

    if config.getoption("benchmark_disable"):
        workloads.only_run()
