"""Runs the workers of a refresh as Ray tasks. Ray places them, and starts killed ones again."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from karec.bundle import Bundle
from karec.config.refresh_round import refresh_round
from karec.config.scenes import Config
from karec.errors import KarecError, MissingExtra, one_line
from karec.refresh.cpu_limit import CpuLimit
from karec.refresh.shards import library_folder, unfinished_job
from karec.refresh.workers import Worker

MAX_RETRIES = 3  # of a task whose process or machine died


def refresh_on_ray(
    config: Path, n_workers: int, *, job: str = "", share: float = 1.0, address: str | None = None
) -> None:
    """Refreshes the library of ``config`` once, by ``n_workers`` tasks of one core each.

    Each machine of the cluster needs karec and the same files at the same paths. ``job``: see
    ``Refresh.start_round``; "": that of the unfinished round, if it has as many workers, else a new name.
    ``address``: as in ``ray.init``; None: that of the environment variable RAY_ADDRESS, or a cluster on this
    machine that ends with the call.

    Raises MissingExtra without Ray, the exception of the first worker that failed, and KarecError if one was
    killed more than MAX_RETRIES times.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("ray", "ray", "--engine ray") from error
    library = library_folder(Bundle.open(Config.read(config).follow_bundle(), verify=False).path)
    name = job or unfinished_job(library, n_workers) or uuid4().hex
    ray.init(address=address, include_dashboard=False, log_to_driver=False)
    try:
        task = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_refresh_part)
        workers = [Worker(number, n_workers) for number in range(n_workers)]
        ray.get([task.remote(config.absolute(), worker, share, name) for worker in workers])
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        reason = one_line(str(error))
        raise KarecError(f"a worker ended without a result ({reason}). Start the command again") from error
    finally:
        ray.shutdown()


def _refresh_part(config: Path, worker: Worker, share: float, job: str) -> None:
    settings = Config.read(config)
    bundle = Bundle.open(settings.follow_bundle())
    refresh_round(settings, bundle, worker, job=job, cpu_limit=CpuLimit(share))
