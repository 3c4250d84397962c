"""One round of a refresh, or a worker's part of it, with the online store of a karec.toml."""

from __future__ import annotations

import time

from karec.bundle import Bundle, identity_of
from karec.config.online import open_counters
from karec.config.scenes import Config
from karec.errors import DataError
from karec.refresh.cpu_limit import CpuLimit
from karec.refresh.library_state import library_state
from karec.refresh.rolling import open_refresh, remove_retired_libraries
from karec.refresh.workers import ONLY, Worker
from karec.times import Progress


def refresh_round(
    settings: Config,
    bundle: Bundle,
    worker: Worker = ONLY,
    *,
    job: str = "",
    cpu_limit: CpuLimit | None = None,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Computes the shards of ``worker`` in one round over ``bundle``'s library.

    Returns the library's state as text, {"round": "NUMBER, unfinished"} if shards are missing.

    ``job``: see ``Refresh.start_round``. Raises DataError if another bundle becomes current meanwhile and the
    round has several workers: those of the job would refresh different bundles.
    """
    identity = identity_of(bundle.path)

    def is_current() -> bool:
        return identity_of(settings.bundle) == identity

    with open_counters(settings, bundle) as counters, open_refresh(bundle, counters, worker) as refresh:
        current = refresh.start_round(time.time_ns() // 1_000_000, job=job)
        is_whole = refresh.run(current, cpu_limit, progress, is_current)
    if worker != ONLY and not is_current():
        raise DataError(f"{settings.bundle}: no longer {bundle.path.name}. Start all workers again.")
    remove_retired_libraries(bundle.path.parent)
    return state_text(bundle) if is_whole else {"round": f"{current.number}, unfinished"}


def state_text(bundle: Bundle) -> dict[str, str]:
    """Returns the present state of ``bundle``'s library."""
    return library_state(bundle, time.time_ns() // 1_000_000).to_text()
