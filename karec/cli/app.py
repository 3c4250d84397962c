"""The commands of ``karec``, with the examples of their help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from karec.cli import (
    check,
    data,
    demo,
    evaluate,
    export,
    ingest,
    inspect,
    lab,
    recommend,
    refresh,
    schedule,
    screen,
    serve,
    train,
)

app = typer.Typer(name="karec", rich_markup_mode="rich", pretty_exceptions_enable=False)


def run(words: Sequence[str]) -> int:
    """Runs a command and returns its exit code. Raises ValueError for a wrong command, argument or option."""
    try:
        status = typer.main.get_command(app)(list(words), prog_name="karec", standalone_mode=False)
    except typer.TyperException as error:
        raise ValueError(f"{error.format_message().rstrip('.')}. See --help.") from None
    return int(status or 0)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        import karec

        print(f"karec {karec.__version__}")
        raise typer.Exit


@app.callback()
def karec(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version of karec."),
    ] = False,
) -> None:
    """Recommendation cascade: train, publish, serve and measure."""


def _add(group: typer.Typer, name: str, command: Callable[..., object], *examples: str) -> None:
    group.command(name, epilog="\n\n".join(["Examples:", *examples]))(command)


def _add_group(name: str, help_text: str) -> typer.Typer:
    group = typer.Typer(name=name, help=help_text, rich_markup_mode="rich")
    app.add_typer(group)
    return group


_add(
    app,
    "demo",
    demo.demo,
    "karec demo",
    "karec demo --report out --scene all",
    "karec demo kuairand --root KuaiRand-Pure/data",
    "karec demo --works 20000 --users 2000 --exposures 50000 --requests 20",
)
_data = _add_group("data", "Describe and check files.")
_add(
    _data,
    "init",
    data.init,
    "karec data init shop",
    "karec data init log.csv items.parquet --out shop",
    "karec data init KuaiRand-Pure/data --preset kuairand",
)
_add(_data, "check", data.check, "karec data check shop", "karec data check shop --skip-bad --json")
_add(
    app,
    "train",
    train.train,
    "karec train shop --out run",
    "karec train shop --out run --settings train.toml --resume",
    "karec train shop --out run --log run/rank_log",
    "karec train shop --out run --log run/rank_log --events run/karec.toml --publish-if-no-worse 0.005",
)
_add(app, "publish", train.publish, "karec publish shop --run run/run --out run")
_add(
    app,
    "refresh",
    refresh.refresh,
    "karec refresh run/karec.toml",
    "karec refresh run/karec.toml --once --share 1",
)
_add(
    app,
    "schedule",
    schedule.schedule,
    "karec schedule run/karec.toml",
    "karec schedule run/karec.toml --status",
)
_add(
    app,
    "serve",
    serve.serve,
    "karec serve run/karec.toml",
    "karec serve run/karec.toml --workers 2 --port 9000",
)
_add(
    app,
    "recommend",
    recommend.recommend,
    "karec recommend run/karec.toml --user 712",
    "karec recommend run/karec.toml --user 712 --k 20 --trace --explain",
    "karec recommend run/karec.toml --user 712 --shown 1093 --shown 77 --json",
    "karec recommend run/karec.toml --batch users.parquet --out pages.parquet",
)
_add(
    app,
    "ingest",
    ingest.ingest,
    "karec ingest run/karec.toml events.jsonl",
    """echo '{"event": "block", "item_id": 712}' | karec ingest run/karec.toml""",
    "karec ingest run/karec.toml --from-backup",
)
_add(
    app,
    "check",
    check.check,
    "karec check run/karec.toml",
    "karec check run/karec.toml --scene live --show",
    "karec check --schema > karec.schema.json",
)
_add(
    app,
    "inspect",
    inspect.inspect,
    "karec inspect run/bundles",
    "karec inspect run/rank_log --json",
)
_evaluate = _add_group("evaluate", "Measure models, or the agreement of prerank and rank.")
_add(_evaluate, "models", evaluate.models, "karec evaluate models shop --run run/run")
_add(
    _evaluate,
    "consistency",
    evaluate.consistency,
    "karec evaluate consistency run/karec.toml",
    "karec evaluate consistency --log run/rank_log --report out",
)
_add(
    app,
    "screen",
    screen.screen,
    "karec screen library/screen.toml --train --out screened --report screened/report",
    "karec screen library/screen.toml --out screened",
)
_export = _add_group("export", "Export events, or parts of a cascade for hosts in other languages.")
_add(
    _export,
    "events",
    export.events,
    "karec export events run/karec.toml",
    "karec export events run/karec.toml --before 2026-11-28",
)
_add(
    _export,
    "stage",
    export.stage,
    "karec export stage run/karec.toml --out prerank-home.txt",
    "karec export stage run/karec.toml --out prerank-home.txt --check",
)
_add(_export, "trees", export.trees, "karec export trees ranker.onnx")
_lab = _add_group("lab", "Simulate days, study a cascade, write synthetic data. Needs the extra lab.")
_add(
    _lab,
    "simulate",
    lab.simulate,
    "karec lab simulate --arms prerank --out loop",
    "karec lab simulate --arms arms.toml --only plain --out loop --resume",
    "karec lab simulate --arms diversity --out loop --days 5 --users 5000 --report loop/report",
)
_add(
    _lab,
    "ablation",
    lab.ablation,
    "karec lab ablation shop --out ablation",
    "karec lab ablation world --out ablation --on validation --seeds 0 --rows hard --rows list",
)
_add(_lab, "retrieval", lab.retrieval, "karec lab retrieval lastfm --root hetrec2011-lastfm-2k --run run/run")
_add(_lab, "export-world", lab.export_world, "karec lab export-world karaoke --works 20000 --users 2000")
_add(_lab, "export-library", lab.export_library, "karec lab export-library library --works 100000")
