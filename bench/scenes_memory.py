"""How much memory seven scenes take beside one: each in a process of its own that has served requests of every scene.

    karec demo --works 400000 --users 20000 --exposures 60000 --requests 5 --out HERE
    python bench/scenes_memory.py HERE/karec.toml

The scenes inherit the first of the config, each with counts and quotas of its own. Memory is the process's RSS and PSS
(/proc/self/smaps_rollup) after ``N_REQUESTS`` requests a scene, and what it had after its imports is told apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

N_REQUESTS = 20
N_SCENES = 7
FIRST_USER = 10_000_001

WORKER = """
import json, sys
import karec
from karec.bundle import Bundle
from karec.config import load_cascade, scene_names
from pathlib import Path

def mib(kind):
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind + ":")) / 1024

config, how, first, n = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
import onnxruntime, pyarrow.parquet, karec.recall.profile, karec.observe.shadow, karec.diversify.dpp
begin = {kind: mib(kind) for kind in ("Rss", "Pss")}
scenes = scene_names(config)[: 1 if how == "one scene" else None]
root = config.parent / "bundles"
apart = how.endswith("apart")
cascades = [load_cascade(config, scene, Bundle.open(root) if apart else None) for scene in scenes]
for cascade in cascades:
    for user in range(first, first + n):
        cascade.run(karec.Request(user, scene=cascade.scene, time_ms=cascade.bundle.snapshot.time_ms))
print(json.dumps({kind: [begin[kind], mib(kind)] for kind in begin}))
"""


def with_scenes(text: str, first: str) -> str:
    """The config with ``N_SCENES`` scenes: the one it has, and others that inherit it."""
    scenes = [
        f'\n[scenes.other_{i}]\ninherits = "{first}"\ncounts.prerank = {500 + i}\nrecall.popular.quota = {20_000 + i}\n'
        for i in range(1, N_SCENES)
    ]
    return text + "".join(scenes)


def measured(config: Path, how: str) -> dict[str, list[float]]:
    """{"Rss" and "Pss": MiB after the imports, MiB after the requests}."""
    command = [sys.executable, "-c", WORKER, str(config), how, str(FIRST_USER), str(N_REQUESTS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a karec.toml of karec demo")
    arguments = parser.parse_args()
    from karec.config import scene_names

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "karec.toml"
        first = scene_names(arguments.config)[0]
        config.write_text(with_scenes(arguments.config.read_text(encoding="utf-8"), first), encoding="utf-8")
        (Path(folder) / "bundles").symlink_to(arguments.config.resolve().parent / "bundles")
        print(f"{'MiB':28} {'RSS':>8} {'PSS':>8}   without imports: {'RSS':>8} {'PSS':>8}")
        one = measured(config, "one scene")
        for how in ("one scene", f"{N_SCENES} scenes", f"{N_SCENES} scenes, bundles apart"):
            found = one if how == "one scene" else measured(config, how)
            whole = [found[kind][1] for kind in ("Rss", "Pss")]
            own = [found[kind][1] - found[kind][0] for kind in ("Rss", "Pss")]
            print(f"{how:28} {whole[0]:8.0f} {whole[1]:8.0f} {own[0]:28.0f} {own[1]:8.0f}", end="   ")
            print(f"× {whole[0] / one['Rss'][1]:.2f} RSS, × {whole[1] / one['Pss'][1]:.2f} PSS")


if __name__ == "__main__":
    main()
