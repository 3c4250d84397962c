"""A request of this checkout against one of another checkout: whole requests, interleaved in one run, as a
ratio.

    karec demo --works 400000 --users 20000 --exposures 60000 --requests 5 --out HERE        # in this
    checkout OTHER/.venv/bin/karec demo --works 400000 … --out THERE                                 # in the
    other one python bench/request_ratio.py HERE/karec.toml OTHER/.venv/bin/python THERE/karec.toml

Each side is a process of its own with one thread that runs the same users' requests when asked. Rounds
alternate, and the order within a round alternates too, so that other work on the machine meets both sides
alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

N_REQUESTS = 20  # in a turn of one side
FIRST_USER = 10_000_001

WORKER = """
import json, sys, time
import karec
config, first, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
cascade = karec.Cascade.from_config(config, scene=sys.argv[4])
moment = int(sys.argv[5])
requests = [karec.Request(first + i, scene=sys.argv[4], time_ms=moment) for i in range(n)]
for request in requests:
    cascade.run(request)
for line in sys.stdin:
    ms = []
    for request in requests:
        start = time.perf_counter()
        cascade.run(request)
        ms.append((time.perf_counter() - start) * 1e3)
    print(json.dumps(ms), flush=True)
"""


def worker(python: str, config: Path, scene: str, moment: int) -> subprocess.Popen[str]:
    command = [
        python,
        "-P",
        "-c",
        WORKER,
        str(config.resolve()),
        str(FIRST_USER),
        str(N_REQUESTS),
        scene,
        str(moment),
    ]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def turn(side: subprocess.Popen[str]) -> list[float]:
    """Milliseconds of each of N_REQUESTS requests."""
    assert side.stdin is not None and side.stdout is not None
    side.stdin.write("go\n")
    side.stdin.flush()
    line = side.stdout.readline()
    if not line:
        raise SystemExit(f"{side.args} ended early; its error stands above")
    return list(json.loads(line))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("here", type=Path, help="this checkout's karec.toml")
    parser.add_argument("other_python", help="the other checkout's interpreter")
    parser.add_argument("other", type=Path, help="the other checkout's karec.toml")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--scene", default="home")
    parser.add_argument("--time-ms", type=int, default=1_615_564_800_000, help="the moment of all requests")
    arguments = parser.parse_args()
    sides = [
        worker(sys.executable, arguments.here, arguments.scene, arguments.time_ms),
        worker(arguments.other_python, arguments.other, arguments.scene, arguments.time_ms),
    ]
    ms: list[list[float]] = [[], []]
    for at in range(arguments.rounds):
        for side in (0, 1) if at % 2 == 0 else (1, 0):
            ms[side].append(statistics.median(turn(sides[side])))
    for side in sides:
        side.communicate()
    ratios = sorted(here / other for here, other in zip(*ms, strict=True))
    n = len(ratios)
    print(
        f"this checkout {statistics.median(ms[0]):.2f} ms, the other {statistics.median(ms[1]):.2f} ms a "
        f"request"
    )
    print(
        f"ratio: median {statistics.median(ratios):.3f}, quartiles {ratios[n // 4]:.3f} … "
        f"{ratios[3 * n // 4]:.3f}"
    )


if __name__ == "__main__":
    main()
