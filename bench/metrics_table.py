"""What the metrics of a service cost: a request, the thread that folds, and a scrape.

    OMP_NUM_THREADS=1 python bench/metrics_table.py KAREC.TOML [requests, 300]

Of the scene home. Rounds of one request each, in turn with and without ``Metrics.answered`` after it, on one
thread; the ratio is of the medians. What the thread does for an answer is folded 100 answers at a time, as at
100 a second.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import karec
from karec.serve.metrics import Metrics
from karec.serve.metrics.counted import Counted, Seen


def timed_ms(call: object, *arguments: object) -> float:
    begin = time.perf_counter()
    call(*arguments)  # type: ignore[operator]
    return (time.perf_counter() - begin) * 1e3


def main(config: Path, n: int) -> None:
    live = karec.LiveCascade.from_config(config, None)
    users = next(iter(live.cascades.values())).bundle.snapshot.users.ids  # type: ignore[union-attr]
    requests = [karec.Request(int(user), k=10) for user in np.resize(users, n)]
    answers = [live.run(request) for request in requests[:100]]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        metrics = Metrics(Path(folder))
        metrics.begin(live)
        ms: tuple[list[float], list[float]] = [], []
        for at, request in enumerate(requests):
            for counted in (at % 2 == 0, at % 2 == 1):
                begin = time.perf_counter()
                answer = live.run(request)
                if counted:
                    metrics.answered(answer, 1.0)
                ms[counted].append((time.perf_counter() - begin) * 1e3)
        without, with_ = (float(np.median(each)) for each in ms)
        appended = float(np.median([timed_ms(metrics.answered, answer, 1.0) for answer in answers * 5]))
        seen = [Seen.of(answer, 1.0) for answer in answers]
        counted_ = Counted()
        folded = float(np.median([timed_ms(counted_.fold, seen, float(at)) for at in range(20)])) / len(seen)
        scrape = float(np.median([timed_ms(metrics.text) for _ in range(10)]))
        status = float(np.median([timed_ms(metrics.status) for _ in range(10)]))
        metrics.close()
    live.close()
    print(f"a request                       {without:8.3f} ms")
    print(f"… counted                       {with_:8.3f} ms, ratio {with_ / without:.3f}")
    print(f"Metrics.answered, after it      {appended * 1e3:8.1f} µs")
    print(f"on the metrics' thread, each    {folded * 1e3:8.1f} µs, {folded / without:.2%} of a request")
    print(f"a scrape of /metrics            {scrape:8.1f} ms")
    print(f"/v1/status                      {status:8.1f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 300)
