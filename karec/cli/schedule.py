"""``karec schedule``: refresh, training and publishing as child processes, in parallel to a service."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from karec.cli.options import Config, Json
from karec.cli.output import facts_table, make_console, print_json
from karec.cli.train import NOT_PUBLISHED
from karec.errors import ConfigError

if TYPE_CHECKING:
    from karec.config.scenes import Config as SceneConfig
    from karec.serve.children import Child

HOUR_S = 3600.0
STATUS_TEXTS = {
    0: "published",
    NOT_PUBLISHED: "trained, not published: it may be worse than the version in service",
}


def schedule(
    config: Config,
    status: Annotated[
        bool, typer.Option("--status", help="Print the current state, or the last one.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run refresh and trainings in parallel to a service, with the settings of the table online of CONFIG.

    Runs until SIGTERM or Ctrl-C, then stops the children. A child that fails starts again after 1, 2, 4 … 64
    seconds. Logs and the state are in the folder schedule/ next to CONFIG.
    """
    from karec.config.online_store import read_online_config
    from karec.serve.schedule import run_schedule

    if as_json and not status:
        raise ValueError("--json needs --status")
    folder = config.absolute().parent / "schedule"
    if status:
        if not config.is_file():
            raise FileNotFoundError(f"{config} is missing: name the karec.toml of the service")
        _print_status(folder, as_json=as_json)
    else:
        children = children_of(read_online_config(config), folder)
        run_schedule(children, folder, lambda line: print(line, file=sys.stderr, flush=True))


def children_of(config: SceneConfig, logs: Path) -> list[Child]:
    """Returns the children that the table ``online`` of ``config`` configures.

    Raises ConfigError if it configures none, or if trainings would publish into another folder than the one
    of its bundle.
    """
    from karec.serve.children import Child

    settings = config.online
    assert settings is not None
    path = config.path.absolute()
    folder = path.parent
    if not settings.refresh_share and not settings.train_every_hours:
        raise ConfigError(
            f"{config.path}: online: refresh_share and train_every_hours are 0, expected one above 0"
        )
    children = []
    if settings.refresh_share:
        command = ["refresh", str(path), "--share", str(settings.refresh_share)]
        children.append(Child("refresh", command, folder, logs))
    if settings.train_every_hours:
        if config.bundle.absolute() != folder / "bundles":
            raise ConfigError(
                f'{config.path}: bundle: trainings publish into {folder}/bundles. Write bundle = "bundles".'
            )
        command = ["train", "--out", ".", "--events", str(path)]
        command += ["--publish-if-no-worse", str(settings.margin), *settings.train]
        every_s = settings.train_every_hours * HOUR_S
        children.append(Child("train", command, folder, logs, STATUS_TEXTS, every_s))
    return children


def _print_status(folder: Path, *, as_json: bool) -> None:
    from karec.serve.schedule import describe, read_status

    state = read_status(folder)
    if as_json:
        print_json(state)
        return
    is_running = state["is_running"]
    facts = {"karec schedule": f"process {state['pid']}" if is_running else "does not run"}
    now = time.time()
    for name, child in state["children"].items():
        last = f"does not run; last: {child['last'] or 'nothing yet'}"
        facts[name] = describe(child, now) if is_running else last
    make_console().print(facts_table(f"karec schedule in {folder}", facts))
