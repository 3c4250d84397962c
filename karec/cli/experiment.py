"""``karec experiment``: plans an experiment, prints its result while it runs, and reports it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from karec.cli.options import DAY_FORMATS, Config, Json
from karec.cli.output import make_console, print_json, print_notes, print_tables

if TYPE_CHECKING:
    from karec.experiments.results import Look
    from karec.experiments.settings import Experiments
    from karec.experiments.units import ExperimentLog
    from karec.lab.report import Part

Name = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Name in experiments.toml.")]
AssignedByCaller = Annotated[
    bool,
    typer.Option(
        "--assigned-by-caller", help="Do not check the arms against the assignment: callers sent them."
    ),
]
STOP = 3  # exit code: an arm is beyond a guardrail, or the sample ratio is wrong


@dataclass(frozen=True, kw_only=True)
class Source:
    """Requests and events of an experiment, read as of one time."""

    log: Annotated[Path, typer.Option(metavar="DIR", help="Rank log: folder of its Parquet parts.")]
    events: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Exported events (default: the online store of CONFIG)."),
    ] = None
    until: Annotated[
        datetime | None,
        typer.Option(
            metavar="YYYY-MM-DD",
            formats=DAY_FORMATS,
            help="Read logs as of the start of this day, UTC (default: now).",
        ),
    ] = None

    @property
    def now_ms(self) -> int:
        if self.until is not None:
            return round(self.until.replace(tzinfo=UTC).timestamp() * 1e3)
        return time.time_ns() // 1_000_000

    def read_events(self, config: Path) -> Any:
        """Returns the folder of exported events, or a table of those in the store of `config`."""
        if self.events is not None:
            return self.events
        from karec.config.online_store import read_event_source
        from karec.online.event_files import to_table
        from karec.online.read_log import read_log

        head, events = read_log(read_event_source(config))
        return to_table(events, head)


def plan(
    config: Config,
    experiment: Name,
    source: Source,
    effect: Annotated[
        float, typer.Option(min=0.0001, metavar="F", help="Smallest relative effect to detect; 0.02 is 2 %.")
    ] = 0.02,
    power: Annotated[
        float, typer.Option(min=0.5, max=0.999, metavar="P", help="Probability of detecting it.")
    ] = 0.8,
    history: Annotated[
        int, typer.Option(min=1, metavar="DAYS", help="Days in which units have their first request.")
    ] = 14,
    as_json: Json = False,
) -> None:
    """Print how many units and days an EXPERIMENT of CONFIG needs to detect an effect.

    Reads past requests of its scenes, and events, for the mean and variance of each metric, the units that
    CUPED saves, and the new units of a day. For an experiment by session it counts users.
    """
    from karec.experiments.design import Design
    from karec.experiments.experiment_log import read_experiment_log
    from karec.experiments.power import plan_metrics
    from karec.experiments.results import require_metrics
    from karec.lab.experiment_report import plan_table
    from karec.times import DAY_MS

    experiments = _read(config, experiment)
    settings = experiments.experiments[experiment]
    days = history + require_metrics(experiment, settings).days
    design = Design.from_scenes(experiments, experiment, source.now_ms - days * DAY_MS, source.now_ms)
    log = read_experiment_log(design, source.log, source.read_events(config), source.now_ms)
    plans = list(plan_metrics(log.units, experiment, settings, effect, power))
    if as_json:
        print_json(msgspec.to_builtins(plans))
        return
    title = f"{experiment}: {effect:.2%} of each metric, with power {power:g}, from {len(log.units):,} units"
    print_tables(make_console(), [plan_table(title, plans, history)])


def status(
    config: Config,
    experiment: Name,
    source: Source,
    assigned_by_caller: AssignedByCaller = False,
    stop: Annotated[
        bool,
        typer.Option("--stop", help="If an arm is beyond a guardrail, set end in experiments.toml to now."),
    ] = False,
    as_json: Json = False,
) -> int:
    """Print the result of EXPERIMENT so far. Exit code 3: stop it.

    Run it as often as you like: guardrails and the column "all looks" hold at all looks together.
    """
    from karec.lab.experiment_report import look_notes, look_tables

    _, look = _read_look(config, experiment, source, assigned_by_caller)
    if as_json:
        print_json(msgspec.to_builtins(look))
    else:
        console = make_console()
        print_tables(console, look_tables(look))
        print_notes(console, look_notes(look))
    if stop and look.stops:
        from karec.config.scenes import Config as SceneConfig
        from karec.experiments.settings import end_experiment

        path = SceneConfig.read(config).experiments
        assert path is not None
        print(end_experiment(path, experiment, datetime.now(UTC)))
    return STOP if look.stops or look.has_mismatch else 0


def report(
    config: Config,
    experiment: Name,
    source: Source,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for EXPERIMENT.html and EXPERIMENT.json.")],
    assigned_by_caller: AssignedByCaller = False,
) -> None:
    """Write the result of EXPERIMENT as one HTML page and as JSON."""
    from karec.lab.experiment_report import look_chart, look_notes, look_tables
    from karec.lab.report import note, write_report

    log, look = _read_look(config, experiment, source, assigned_by_caller)
    parts: list[Part] = [*map(note, look_notes(look)), *look_tables(look), *look_chart(log, look)]
    title = f"Experiment {experiment}, version {look.version}"
    data, page = write_report(msgspec.to_builtins(look), out, experiment, title, parts)
    print(f"written: {page}, {data}")


def preference(
    config: Config,
    experiment: Name,
    log: Annotated[Path, typer.Option(metavar="DIR", help="Rank log: folder of its Parquet parts.")],
    as_json: Json = False,
) -> None:
    """Print which arm of an interleaved EXPERIMENT users prefer: the second arm's share of each label.

    0.5 is no preference. Intervals are 95 %, over users. Reads the rank log and the online store of CONFIG.
    """
    from karec.config.online_store import read_event_source
    from karec.experiments.interleaving import measure_label_preferences
    from karec.lab.experiment_report import preference_table
    from karec.logs.read import read_rank_log
    from karec.online.read_log import read_log

    settings = _read(config, experiment).experiments[experiment]
    if not settings.interleave:
        raise ValueError(f"{experiment!r} is not interleaved. Use: karec experiment status")
    first, second = settings.arms
    head, events = read_log(read_event_source(config))
    shares = measure_label_preferences(read_rank_log(log, ()), head, events, experiment, (first, second))
    if as_json:
        print_json({label: msgspec.to_builtins(share) for label, share in shares.items()})
        return
    print_tables(make_console(), [preference_table(experiment, second, first, shares)])


def _read(config: Path, name: str) -> Experiments:
    from karec.config.arms import load_experiments
    from karec.config.scenes import Config as SceneConfig
    from karec.errors import DataError, nearest

    experiments = load_experiments(SceneConfig.read(config))
    known = [] if experiments is None else [*experiments.experiments]
    if experiments is None or name not in known:
        raise DataError(f"{config}: no experiment {name!r}{nearest(name, known)}, expected one of {known}")
    return experiments


def _read_look(
    config: Path, name: str, source: Source, assigned_by_caller: bool
) -> tuple[ExperimentLog, Look]:
    from karec.bundle import Bundle
    from karec.catalog.schema import CREATOR
    from karec.config.scenes import Config as SceneConfig
    from karec.experiments.design import Design
    from karec.experiments.experiment_log import read_experiment_log
    from karec.experiments.results import take_look
    from karec.experiments.units import check_assignment

    experiments = _read(config, name)
    design = Design.from_experiment(experiments, name)
    bundle = Bundle.open(SceneConfig.read(config).follow_bundle(), verify=False)
    works = {"item_id": bundle.snapshot.works.ids, "creator_id": bundle.snapshot.works.columns[CREATOR]}
    log = read_experiment_log(design, source.log, source.read_events(config), source.now_ms, works)
    if not assigned_by_caller:
        naming = bundle.naming  # users newer than the bundle have no known id
        ids_of = None if naming is None else partial(naming.users.names, missing="none")
        check_assignment(log.units, experiments, name, ids_of or (lambda users: users))
    return log, take_look(log, name, experiments.experiments[name])
