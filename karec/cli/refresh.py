"""``karec refresh``: computes the item vectors of a library again while it is served."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer

from karec.cli.options import Config
from karec.cli.output import ProgressReport, facts_table, make_console

NICENESS = 10  # a refresh without end runs at lower priority than a service on the same core


def refresh(
    config: Config,
    share: Annotated[
        float, typer.Option(help="Fraction of one core to use, above 0 and at most 1; 1: no limit.")
    ] = 0.25,
    once: Annotated[bool, typer.Option("--once", help="End after one round over the library.")] = False,
    worker: Annotated[
        str | None,
        typer.Option(
            metavar="s/S", help="Compute part s of S of one round, and end. Parts are 0/S to S-1/S."
        ),
    ] = None,
    job: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Name of the round that workers with the same NAME share (default with --engine ray: the "
            "unfinished round of S workers, else a new one).",
        ),
    ] = "",
    engine: Annotated[
        Literal["ray"] | None, typer.Option(help="Run all workers of one round as Ray tasks (extra ray).")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, metavar="S", help="Number of workers, for --engine ray.")
    ] = 1,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster, for --engine ray: auto, or ray://HOST:PORT (default: this machine)."),
    ] = None,
) -> None:
    """Compute the item vectors of the bundle of CONFIG again, in repeated rounds over the library.

    A service may serve the bundle meanwhile. Features are those at the start of a round, with the counters of
    the online store if CONFIG has one. A killed refresh continues at the first missing shard.

    Processes with --worker 0/S to S-1/S share a round, on one machine or on several with the same folder of
    bundles. The vectors are the same for each S. The round ends when the last worker ends. Give each run of
    the workers another --job: then a worker that is started again after its end does nothing.
    """
    from karec.bundle import Bundle, identity_of
    from karec.config.on_ray import refresh_on_ray
    from karec.config.refresh_round import refresh_round, state_text
    from karec.config.scenes import Config as SceneConfig
    from karec.refresh.cpu_limit import CpuLimit
    from karec.refresh.workers import ONLY, Worker

    console = make_console()
    if engine is None and (workers > 1 or address is not None):
        raise ValueError("--workers and --address need --engine ray")
    if engine is not None and worker is not None:
        raise ValueError(
            "--worker is one of several processes, but --engine ray starts them all: leave one out"
        )
    limit = CpuLimit(share)
    part = ONLY if worker is None else Worker.from_text(worker)
    settings = SceneConfig.read(config)
    root = settings.follow_bundle()
    if engine == "ray":
        refresh_on_ray(config, workers, job=job, share=share, address=address)
        console.print(facts_table(f"Library of {root}", state_text(Bundle.open(root, verify=False))))
        return
    is_endless = not once and worker is None and not job
    if is_endless:
        os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), NICENESS))
    bundle = Bundle.open(root)
    while True:
        if identity_of(root) != identity_of(bundle.path):
            bundle = Bundle.open(root)
        with ProgressReport() as progress:
            state = refresh_round(settings, bundle, part, job=job, cpu_limit=limit, progress=progress)
        console.print(facts_table(f"Library of {bundle.path}", state))
        if not is_endless:
            return
        limit.rest()
