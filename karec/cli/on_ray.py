"""Runs a training in the ranks of Ray Train, which places them and connects them."""

from __future__ import annotations

import os
import runpy
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from karec.errors import KarecError, MissingExtra, one_line


def train_on_ray(arguments: Sequence[str], out: Path, n_workers: int, address: str | None) -> int:
    """Runs ``karec ARGUMENTS`` in ``n_workers`` ranks, as torchrun does. Returns the exit code of rank 0.

    Each machine of the cluster needs karec and the same files at the same paths. ``out``: the folder of the
    training; Ray has its own files in ``out/ray`` meanwhile. ``address``: as in ``ray.init``; None: that of
    RAY_ADDRESS, or a cluster on this machine that ends with the call.

    Raises MissingExtra without Ray Train, and KarecError if a rank was killed.
    """
    try:
        import ray
        from ray.train import RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise MissingExtra("ray", "ray", "--engine ray") from error
    storage, run = out.absolute() / "ray", uuid4().hex
    ray.init(address=address, include_dashboard=False)
    try:
        trainer = cast(Any, TorchTrainer)(  # its types lack the result of a rank
            _run_rank,
            train_loop_config={"arguments": list(arguments), "folder": str(Path.cwd()), "run": run},
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ScalingConfig(num_workers=n_workers),
            run_config=RunConfig(name=run, storage_path=str(storage)),
        )
        return int(trainer.fit().return_value)
    except TrainingFailedError as error:
        ranks = ", ".join(map(str, sorted(getattr(error, "worker_failures", ()))))
        reason = f"rank {ranks} was killed or failed" if ranks else one_line(str(error))
        raise KarecError(f"{reason}. Continue with --resume") from error
    finally:
        ray.shutdown()
        shutil.rmtree(storage, ignore_errors=True)


def _run_rank(settings: dict[str, Any]) -> int:
    os.chdir(settings["folder"])
    os.environ["TORCHELASTIC_RUN_ID"] = settings["run"]  # this process is a rank, and starts no others
    sys.argv = ["karec", *settings["arguments"]]
    try:
        runpy.run_module("karec.cli", run_name="__main__")  # as torchrun -m karec.cli
    except SystemExit as end:
        return int(end.code or 0)
    return 0
