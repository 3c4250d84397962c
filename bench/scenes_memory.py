"""How much memory all scenes take beside one, and how long they take to start: each in a process of its own
that has served requests of every scene.

    karec demo --works 400000 --users 20000 --exposures 60000 --requests 5 --scene all --out HERE
    python bench/scenes_memory.py HERE/karec.toml

Memory is the process's RSS and PSS (/proc/self/smaps_rollup) after ``N_REQUESTS`` requests a scene, and what
it had after its imports is told apart. Starting is opening the bundle, building the cascades and the first
answer of each scene: seconds of the clock, and of the processor with those of the child process that replays
requests.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

N_REQUESTS = 20
FIRST_USER = 10_000_001

WORKER = """
import json, resource, sys, time
import karec
from karec.bundle import Bundle
from karec.config import load_cascade, scene_names
from pathlib import Path

def mib(kind):
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind + ":")) / 1024

def processor():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)

config, how, first, n = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
import onnxruntime, pyarrow.parquet, karec.recall.profile, karec.observe.shadow, karec.diversify.dpp
begin = {kind: mib(kind) for kind in ("Rss", "Pss")}
scenes = scene_names(config)[: 1 if how == "one scene" else None]
root = config.parent / "bundles"
apart = how.endswith("apart")
clock, cpu = time.perf_counter(), processor()
bundles = [Bundle.open(root) for _ in (scenes if apart else scenes[:1])]
opened = time.perf_counter() - clock
cascades = [load_cascade(config, scene, bundles[i if apart else 0]) for i, scene in enumerate(scenes)]
built = time.perf_counter() - clock
for cascade in cascades:
    cascade.run(karec.Request(first, scene=cascade.scene, time_ms=cascade.bundle.snapshot.time_ms))
answered = time.perf_counter() - clock
seconds = {"opened": opened, "built": built, "answered": answered, "processor": processor() - cpu}
for cascade in cascades:
    for user in range(first, first + n):
        cascade.run(karec.Request(user, scene=cascade.scene, time_ms=cascade.bundle.snapshot.time_ms))
print(json.dumps({"seconds": seconds} | {kind: [begin[kind], mib(kind)] for kind in begin}))
"""


def measured(config: Path, how: str) -> dict[str, Any]:
    """{"Rss" and "Pss": MiB after the imports, MiB after the requests; "seconds"}."""
    command = [sys.executable, "-c", WORKER, str(config), how, str(FIRST_USER), str(N_REQUESTS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="a karec.toml of karec demo --scene all")
    arguments = parser.parse_args()
    from karec.config import scene_names

    n = len(scene_names(arguments.config))
    print(f"{'MiB':28} {'RSS':>8} {'PSS':>8}   without imports: {'RSS':>8} {'PSS':>8}")
    one = measured(arguments.config, "one scene")
    for how in ("one scene", f"{n} scenes", f"{n} scenes, bundles apart"):
        found = one if how == "one scene" else measured(arguments.config, how)
        whole = [found[kind][1] for kind in ("Rss", "Pss")]
        own = [found[kind][1] - found[kind][0] for kind in ("Rss", "Pss")]
        print(f"{how:28} {whole[0]:8.0f} {whole[1]:8.0f} {own[0]:28.0f} {own[1]:8.0f}", end="   ")
        print(f"× {whole[0] / one['Rss'][1]:.2f} RSS, × {whole[1] / one['Pss'][1]:.2f} PSS")
        s = found["seconds"]
        print(
            f"    opened {s['opened']:.2f} s, cascades built {s['built']:.2f} s, all answered "
            f"{s['answered']:.2f} s",
            end="",
        )
        print(f"; {s['processor']:.2f} s of the processor")


if __name__ == "__main__":
    main()
