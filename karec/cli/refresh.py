"""``karec refresh``: computes the item vectors of a library again while it is served."""

from __future__ import annotations

import os
import time
from typing import Annotated

import typer

from karec.cli.options import Config
from karec.cli.output import ProgressReport, facts_table, make_console

NICENESS = 10  # a refresh without end runs at lower priority than a service on the same core


def refresh(
    config: Config,
    share: Annotated[float, typer.Option(help="Fraction of one core to use, above 0 and at most 1.")] = 0.25,
    once: Annotated[bool, typer.Option("--once", help="End after one round over the library.")] = False,
) -> None:
    """Compute the item vectors of the bundle of CONFIG again, in repeated rounds over the library.

    A service may serve the bundle meanwhile. Features are those at the start of a round, with the counters of
    the online store if CONFIG has one. A killed refresh continues at the first missing shard.
    """
    from karec.bundle import Bundle, identity_of
    from karec.config.online import open_counters
    from karec.config.scenes import Config as SceneConfig
    from karec.refresh.library_state import library_state
    from karec.refresh.rolling import CpuLimit, open_refresh, remove_retired_libraries

    console = make_console()
    pace = CpuLimit(share)
    settings = SceneConfig.read(config)
    root = settings.follow_bundle()
    if not once:
        os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), NICENESS))
    bundle = Bundle.open(root)
    while True:
        if identity_of(root) != identity_of(bundle.path):
            bundle = Bundle.open(root)
        identity = identity_of(bundle.path)

        def is_current(identity: object = identity) -> bool:
            return identity_of(root) == identity

        with (
            open_counters(settings, bundle) as counters,
            open_refresh(bundle, counters) as run,
            ProgressReport() as progress,
        ):
            run.run(run.start_round(_now_ms()), pace, progress, is_current)
        remove_retired_libraries(bundle.path.parent)
        console.print(facts_table(f"Library of {bundle.path}", library_state(bundle, _now_ms()).to_text()))
        if once:
            return
        pace.rest()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
