"""The commands of ``karec``, with the examples of their help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from karec.cli import (
    calibrate,
    cascade_studies,
    check,
    data,
    demo,
    erase,
    evaluate,
    experiment,
    experiment_studies,
    export,
    ingest,
    inspect,
    lab,
    off_policy,
    pages,
    recommend,
    refresh,
    schedule,
    screen,
    serve,
    studies,
    train,
)
from karec.cli.options import flatten

EXAMPLES = """\
karec demo
karec demo --scene all --report out
karec demo kuairand --root KuaiRand-Pure/data
karec demo --works 20000 --users 2000 --exposures 50000 --requests 20
karec data init shop
karec data init log.csv items.parquet --out shop
karec data init KuaiRand-Pure/data --preset kuairand
karec data check shop
karec data check shop --skip-bad --json
karec train shop --out run
karec train shop --out run --settings train.toml --resume
karec train shop --out run --log run/rank_log
karec train shop --out run --workers 4
karec train shop --out run --events run/karec.toml --publish-if-no-worse 0.005
karec train shop --out run --events run/karec.toml --warm-start 3 --publish-if-no-worse 0.005
karec publish shop --run run/run --out run
karec publish shop --run run/run --out run --signing-key publisher.pem
karec refresh run/karec.toml
karec refresh run/karec.toml --once --share 1
karec refresh run/karec.toml --share 1 --worker 0/4 --job monday
karec refresh run/karec.toml --share 1 --engine ray --workers 4
karec schedule run/karec.toml
karec schedule run/karec.toml --status --json
karec serve run/karec.toml
karec serve run/karec.toml --workers 2 --port 9000
karec recommend run/karec.toml --user 712
karec recommend run/karec.toml --user 712 --k 20 --trace --explain
karec recommend run/karec.toml --user 712 --shown 1093 --shown 77 --json
karec recommend run/karec.toml --batch users.parquet --out pages.parquet
karec ingest run/karec.toml events.jsonl
karec ingest run/karec.toml < events.jsonl
karec ingest run/karec.toml --from-backup
karec erase run/karec.toml --user 712
karec check run/karec.toml
karec check run/karec.toml --scene live --show
karec check --schema > karec.schema.json
karec calibrate run/karec.toml --scene following
karec inspect run/bundles
karec inspect run/rank_log --json
karec inspect run/karec.toml --creator 10000001 --days 28
karec evaluate models shop --run run/run
karec evaluate models world --run karec-demo-world/run --json
karec evaluate pages shop --run run/run
karec evaluate consistency run/karec.toml
karec evaluate consistency --log run/rank_log --json
karec evaluate off-policy run/karec.toml --weight click=1 --weight like=8
karec evaluate off-policy run/karec.toml --weight like=1 --label like --positions 5 --json
karec experiment plan run/karec.toml dpp --log run/rank_log --effect 0.02
karec experiment status run/karec.toml dpp --log run/rank_log
karec experiment status run/karec.toml dpp --log run/rank_log --events run/events --until 2026-12-01
karec experiment report run/karec.toml dpp --log run/rank_log --out report
karec experiment preference run/karec.toml dpp --log run/rank_log
karec screen library/screen.toml --train --out screened --report screened/report
karec screen library/screen.toml --out screened
karec export events run/karec.toml
karec export events run/karec.toml --before 2026-11-28
karec export stage run/karec.toml --stage prerank --stage rank --out stages-home.json
karec export stage run/karec.toml --out stages-home.json --check
karec export trees ranker.onnx
karec lab simulate --arms prerank --out loop
karec lab simulate --arms prerank --out loop --seed 1 --seed 2 --against "everything ranked"
karec lab simulate --arms arms.toml --only plain --out loop --resume
karec lab ablation shop --out ablation
karec lab ablation world --out ablation --on validation --seeds 0 --rows hard --rows list
karec lab final-fit lastfm --root hetrec2011-lastfm-2k --out run
karec lab exposure-bound
karec lab exposure-bound --guarantee 0.5 --users 5000 --items 2000 --groups 100 --skew 0.5 --out bound.json
karec lab exposure-bound --file scores.npz --k 20
karec lab experiments --out experiments
karec lab first-impressions --out first
karec lab inputs kuairand --root KuaiRand-Pure/data --out inputs
karec lab content --works 10000 --users 1000 --exposures 80000 --out content
karec lab creator-side demo/karec.toml --works 20000 --users 4000 --exposures 200000
karec lab interleaving demo/karec.toml --works 20000 --users 4000 --exposures 200000
karec lab list-ceiling --works 15000 --users 500 --out lists
karec lab retrieval lastfm --root hetrec2011-lastfm-2k --seed 0
karec lab retrieval shop --report out
karec lab mixed-pages demo/karec.toml --works 20000 --users 2500 --exposures 150000
karec lab rules run/karec.toml --out pages.jsonl
karec lab satiation --root KuaiRand-Pure/data
karec lab scenes --works 4000 --users 1000 --exposures 80000 --out scenes
karec lab sessions lastfm --root hetrec2011-lastfm-2k --out sessions
karec lab similar lastfm --root hetrec2011-lastfm-2k
karec lab off-policy
karec lab pooled-learning --worlds 20 --days 30
karec lab prerank-cause --works 30000 --users 2000 --only "wide towers" --out cause
karec lab export-world karaoke --works 20000 --users 2000 --exposures 50000
karec lab export-library library --works 100000
""".splitlines()

app = typer.Typer(name="karec", rich_markup_mode="rich", pretty_exceptions_enable=False)


def run(words: Sequence[str]) -> int:
    """Runs a command and returns its exit code. Raises ValueError for a wrong command, argument or option."""
    try:
        status = typer.main.get_command(app)(list(words), prog_name="karec", standalone_mode=False)
    except typer.TyperException as error:
        raise ValueError(f"{error.format_message().rstrip('.')}. See --help.") from None
    return int(status or 0)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        import karec

        print(f"karec {karec.__version__}")
        raise typer.Exit


@app.callback()
def karec(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Recommendation cascade: train, publish, serve and measure."""


def _add(name: str, command: Callable[..., int | None], group: typer.Typer = app) -> None:
    prefix = f"karec {name} " if group is app else f"karec {group.info.name} {name} "
    examples = [line for line in EXAMPLES if f"{line} ".startswith(prefix)]
    paragraphs = [" ".join(text.split()) for text in (command.__doc__ or "").split("\n\n")]
    epilog = "\n\n".join(["Examples:", *examples])
    group.command(name, help="\n\n".join(paragraphs), epilog=epilog)(flatten(command))


def _add_group(name: str, help_text: str) -> typer.Typer:
    group = typer.Typer(name=name, help=help_text, rich_markup_mode="rich")
    app.add_typer(group)
    return group


_add("demo", demo.demo)
_data = _add_group("data", "Describe and check files.")
_add("init", data.init, _data)
_add("check", data.check, _data)
_add("train", train.train)
_add("publish", train.publish)
_add("refresh", refresh.refresh)
_add("schedule", schedule.schedule)
_add("serve", serve.serve)
_add("recommend", recommend.recommend)
_add("ingest", ingest.ingest)
_add("erase", erase.erase)
_add("check", check.check)
_add("calibrate", calibrate.calibrate)
_add("inspect", inspect.inspect)
_evaluate = _add_group(
    "evaluate", "Measure models, pages, other fusion weights, and the agreement of prerank and rank."
)
_add("models", evaluate.models, _evaluate)
_add("pages", pages.pages, _evaluate)
_add("consistency", evaluate.consistency, _evaluate)
_add("off-policy", off_policy.off_policy, _evaluate)
_experiment = _add_group(
    "experiment", "Plan experiments, print and report their results. Needs the extra experiments."
)
_add("plan", experiment.plan, _experiment)
_add("status", experiment.status, _experiment)
_add("report", experiment.report, _experiment)
_add("preference", experiment.preference, _experiment)
_add("screen", screen.screen)
_export = _add_group("export", "Export events, or parts of a cascade for hosts in other languages.")
_add("events", export.events, _export)
_add("stage", export.stage, _export)
_add("trees", export.trees, _export)
_lab = _add_group("lab", "Simulate days, study a cascade, write synthetic data. Needs the extra lab.")
_add("simulate", lab.simulate, _lab)
_add("ablation", studies.ablation, _lab)
_add("exposure-bound", studies.exposure_bound, _lab)
_add("final-fit", studies.final_fit, _lab)
_add("first-impressions", cascade_studies.first_impressions, _lab)
_add("inputs", studies.inputs, _lab)
_add("content", studies.content, _lab)
_add("retrieval", studies.retrieval, _lab)
_add("experiments", experiment_studies.experiments, _lab)
_add("off-policy", experiment_studies.off_policy, _lab)
_add("pooled-learning", experiment_studies.pooled_learning, _lab)
_add("list-ceiling", cascade_studies.list_ceiling, _lab)
_add("creator-side", cascade_studies.creator_side, _lab)
_add("interleaving", cascade_studies.interleaving, _lab)
_add("mixed-pages", cascade_studies.mixed_pages, _lab)
_add("rules", cascade_studies.rules, _lab)
_add("satiation", studies.satiation, _lab)
_add("scenes", cascade_studies.scenes, _lab)
_add("prerank-cause", cascade_studies.prerank_cause, _lab)
_add("sessions", studies.sessions, _lab)
_add("similar", studies.similar, _lab)
_add("export-world", lab.export_world, _lab)
_add("export-library", lab.export_library, _lab)
