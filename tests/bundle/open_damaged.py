"""Opens every damaged bundle in this process: BUNDLE OUT → {damage: kind of error}. It may take 1 GiB more
than at its start, and 30 s of processor time for each bundle, or it is killed.
"""

import json
import math
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

from damage import make
from damaged_bundles import DAMAGES

from karec.bundle import Bundle

GROWTH = 1 << 30
SECONDS = 30


def outcome(name: str, bundle: Path) -> str:
    with tempfile.TemporaryDirectory() as root:
        folder = make(DAMAGES[name], bundle, Path(root))
        deadline = math.ceil(time.process_time()) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (deadline, resource.RLIM_INFINITY))
        try:
            Bundle.open(folder)
        except Exception as error:
            return type(error).__name__
        return "opened"


if __name__ == "__main__":
    bundle, out = map(Path, sys.argv[1:])
    Bundle.open(bundle)  # what is imported and mapped once is there before the limit
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + GROWTH, taken + GROWTH))
    outcomes = {}
    for name in DAMAGES:
        print(name, flush=True)  # the last one printed is the one that hung
        outcomes[name] = outcome(name, bundle)
    out.write_text(json.dumps(outcomes))
