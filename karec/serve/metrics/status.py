"""What the page shows of a service, as plain values: of all workers, latencies and funnels of about the last
minute."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from karec.pipeline.types import Array
from karec.serve.metrics.between_workers import Summed, Told
from karec.serve.metrics.counted import CALLS, FAILED, HISTOGRAM, N_IN, N_OUT, RECENT_S
from karec.serve.metrics.exposition import over_workers
from karec.serve.metrics.histogram import quantiles
from karec.serve.metrics.names import NAMED, READ

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LEAST = 1e-3  # recent calls; of fewer nothing is told


def status_of(living: Sequence[Told], ended: Told, ecosystem: Mapping[str, Any]) -> dict[str, Any]:
    """Times in ms, ages in seconds. ``n_in``, ``n_out`` are means of a call; None: none of late.

    processes    [{worker, pid, begun_s, rss, pss, cpu_s}]
    funnel       {scene: {answers, per_second, degraded, n_in (wanted), n_out, p50, p95, p99,
                  stages: [{stage, n_in, n_out, failed, p50, …, steps: [{step, role, …}]}]}}, in the cascade's
                  order
    counted      {name: [{labels…, "n"}]} of counters by name since the service began
    read         {name: [{labels…, "value"}]} of gauges
    ecosystem    as ``Windows.told``, by what counts as an exposure
    """
    summed = Summed([ended, *living])
    begun = min((told.begun_s for told in living), default=time.time())
    weight = RECENT_S * (1 - math.exp(-max(time.time() - begun, 1.0) / RECENT_S))
    read = over_workers(living)
    return {
        "at_s": time.time(),
        "processes": [_worker(told, read) for told in living],
        "funnel": _scenes(summed, weight),
        "counted": {
            name: [_labelled(name, labels, "n", n) for labels, n in of.items()]
            for name, of in summed.named.items()
        },
        "read": {
            name: [_labelled(name, labels, "value", v) for labels, v in of.items()]
            for name, of in read.items()
        },
        "ecosystem": dict(ecosystem),
    }


def _labelled(name: str, labels: tuple[str, ...], key: str, value: float) -> dict[str, Any]:
    return {**dict(zip((NAMED | READ)[name].labels, labels, strict=True)), key: value}


def _worker(told: Told, read: Mapping[str, Mapping[tuple[str, ...], float]]) -> dict[str, Any]:
    own = {
        name: told.read.get(f"karec_worker_{of}", {}).get((told.worker,))
        for name, of in (("rss", "rss_bytes"), ("pss", "pss_bytes"), ("cpu_s", "cpu_seconds"))
    }
    return {"worker": told.worker, "pid": told.pid, "begun_s": told.begun_s, **own}


def _scenes(summed: Summed, weight: float) -> dict[str, Any]:
    scenes: dict[str, Any] = {}
    stages: dict[tuple[str, str], dict[str, Any]] = {}
    for (scene, stage, step, _), recent in summed.recent.items():
        if not stage:
            total = summed.total[scene, "", "", ""]
            per_second = float(recent[CALLS]) / weight
            share = float(recent[FAILED] / recent[CALLS]) if recent[CALLS] > LEAST else None
            of: dict[str, Any] = {
                "answers": int(total[CALLS]),
                "per_second": per_second,
                "degraded": share,
                **_calls(recent),
            }
            scenes.setdefault(scene, {}).update(of)
        elif not step:
            stages.setdefault((scene, stage), {}).update({"stage": stage, **_calls(recent)})
    for (scene, stage, step, role), recent in summed.recent.items():
        if stage and step:
            stages.setdefault((scene, stage), {"stage": stage}).setdefault("steps", []).append(
                {"step": step, "role": role, **_calls(recent)}
            )
    for (scene, _), told in stages.items():
        scenes.setdefault(scene, {}).setdefault("stages", []).append(told)
    return scenes


def _calls(recent: Array) -> dict[str, float | None]:
    calls = float(recent[CALLS])
    if calls <= LEAST:
        return dict.fromkeys(("n_in", "n_out", "failed", *QUANTILES))
    means = {
        name: float(recent[at]) / calls for name, at in (("n_in", N_IN), ("n_out", N_OUT), ("failed", FAILED))
    }
    return {
        **means,
        **dict(zip(QUANTILES, quantiles(recent[HISTOGRAM:], [*QUANTILES.values()]), strict=True)),
    }
