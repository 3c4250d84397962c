"""``karec lab``: studies of models. Loads karec.lab when called."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from karec.cli.datasets import build_world, load_data
from karec.cli.options import DataChoice, Report, TrainingSettings, WorldChoice
from karec.cli.output import ProgressReport, make_console, print_tables, require_extra
from karec.errors import DataError

Days = Annotated[Literal["validation", "test"], typer.Option(help="Days to measure on.")]


def ablation(
    choice: DataChoice,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for cells, models, logs and the table.")],
    settings: TrainingSettings = None,
    seeds: Annotated[
        list[int] | None, typer.Option(help="Training seed. Repeatable (default: 0, 1 and 2).")
    ] = None,
    on: Days = "test",
    rows: Annotated[
        list[str] | None, typer.Option(metavar="ROW", help="Row of the table. Repeatable (default: all).")
    ] = None,
    pools: Annotated[int, typer.Option(min=1, help="Pools, one per user.")] = 500,
    size: Annotated[int, typer.Option(min=1, help="Items in a pool.")] = 500,
    whole: Annotated[int, typer.Option(min=0, help="Users whose order of 100,000 items is compared.")] = 40,
) -> None:
    """Train every combination of the towers' losses and compare them on the same rows and pools.

    Run the same command again after a kill: finished cells are kept.
    """
    require_extra("lab", "karec lab ablation")
    require_extra("train", "karec lab ablation")
    console = make_console()
    from karec.lab.studies.ablation.report import ablation_tables, write_ablation
    from karec.lab.studies.ablation.study import run_ablation
    from karec.learn.settings.settings import TrainSettings

    training = TrainSettings() if settings is None else TrainSettings.from_toml(settings)
    with ProgressReport() as progress, load_data(choice, progress) as loaded:
        report = run_ablation(
            loaded.dataset,
            training if choice.seed is None else training.replace(seed=choice.seed),
            out,
            seeds=seeds or [0, 1, 2],
            on=on,
            only=rows or [],
            n_pools=pools,
            pool_size=size,
            whole=whole,
            truth_of=None if loaded.world is None else loaded.world.task_probabilities,
            progress=progress,
        )
    print_tables(console, ablation_tables(report))
    print(f"tables: {write_ablation(report, out)[1]}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratedScores:
    """Sizes of generated scores. Items of a group are alike, and users like some groups more."""

    users: Annotated[int, typer.Option(min=1, metavar="N", help="Users of generated scores.")] = 1_645
    items: Annotated[int, typer.Option(min=1, metavar="N", help="Items of generated scores.")] = 1_238
    groups: Annotated[int, typer.Option(min=1, metavar="N", help="Groups of these items.")] = 43
    skew: Annotated[
        float, typer.Option(min=0.0, help="Group g has items in proportion to 1/g^SKEW; 0: equal groups.")
    ] = 1.0
    seed: Annotated[int, typer.Option(help="Seed of generated scores, orders and drift.")] = 0


def exposure_bound(
    generated: GeneratedScores,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="NPZ",
            help="Own scores: float32 array scores (users, items), integer array groups (items,) from 0 on.",
        ),
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Items of a page; each user gets one page.")] = 10,
    guarantee: Annotated[
        list[float] | None,
        typer.Option(
            min=0.01,
            help="Least exposure of each group, as a fraction of an equal share: 0.5 with 40 groups is 1/80 "
            "of the impressions. Repeatable (default: 0.25, 0.5 and 0.9).",
        ),
    ] = None,
    rate: Annotated[float, typer.Option(help="Key rate of the exposure control, in (0, 1].")] = 0.005,
    out: Annotated[Path | None, typer.Option(metavar="JSON", help="Also write the rows there.")] = None,
) -> None:
    """Compare what exposure control loses with a proven lower bound and with simple policies.

    Loss is the fraction of the sum of scores that pages lack against plain top-k pages. No pages that keep
    the guarantees lose less than the bound, even if all scores are known before the first page.
    """
    require_extra("lab", "karec lab exposure-bound")
    from karec.files import check_writable_file, write_text_aside
    from karec.lab.studies.exposure_bound import generate_scores, read_scores
    from karec.lab.studies.exposure_replay import exposure_table, measure_exposure

    if out is not None:
        check_writable_file(out)
    sizes = generated.users, generated.items, generated.groups
    with ProgressReport() as progress:
        scores, groups = (
            generate_scores(*sizes, skew=generated.skew, seed=generated.seed)
            if file is None
            else read_scores(file)
        )
        rows = measure_exposure(
            scores,
            groups,
            guarantee or [0.25, 0.5, 0.9],
            k=k,
            rate=rate,
            seed=generated.seed,
            progress=progress,
        )
    print_tables(make_console(), [exposure_table(rows)])
    if out is not None:
        write_text_aside(out, json.dumps(rows, indent=1))
        print(f"report: {out}")


def final_fit(
    choice: DataChoice,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Run folder to write.")],
    settings: TrainingSettings = None,
) -> None:
    """Train, fit again with the validation days, and compare both models on the test days."""
    require_extra("lab", "karec lab final-fit")
    require_extra("train", "karec lab final-fit")
    console = make_console()
    from karec.lab.studies.final_fit import compare_final_fit, final_fit_table
    from karec.learn.settings.settings import TrainSettings

    if (out / "run.json").exists():
        raise DataError(f"--out {out}: a training finished here. Name another folder.")
    training = TrainSettings() if settings is None else TrainSettings.from_toml(settings)
    with ProgressReport() as progress, load_data(choice, progress) as loaded:
        gains = compare_final_fit(loaded.dataset, training, out, progress)
    print_tables(console, [final_fit_table(gains)])


def inputs(
    choice: DataChoice,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for runs and the report.")],
    settings: TrainingSettings = None,
    seeds: Annotated[
        list[int] | None, typer.Option(help="Training seed. Repeatable (default: 0 and 1).")
    ] = None,
) -> None:
    """Train with inputs of the moment and of the last midnight, and measure both with both inputs.

    Run the same command again after a kill: finished runs are kept.
    """
    require_extra("lab", "karec lab inputs")
    require_extra("train", "karec lab inputs")
    console = make_console()
    from karec.files import write_text_aside
    from karec.lab.studies.input_times import input_times_tables, measure_input_times
    from karec.learn.settings.settings import TrainSettings

    training = TrainSettings() if settings is None else TrainSettings.from_toml(settings)
    with ProgressReport() as progress, load_data(choice, progress) as loaded:
        report = measure_input_times(
            loaded.dataset,
            training,
            out,
            seeds=seeds or [0, 1],
            truth_of=None if loaded.world is None else loaded.world.task_probabilities,
            progress=progress,
        )
    print_tables(console, input_times_tables(report))
    write_text_aside(out / "inputs.json", json.dumps(report, indent=1))
    print(f"report: {out / 'inputs.json'}")


def content(
    choice: WorldChoice,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for runs and the report.")],
    settings: TrainingSettings = None,
    seeds: Annotated[
        list[int] | None, typer.Option(help="Training seed. Repeatable (default: 0, 1 and 2).")
    ] = None,
    width: Annotated[int, typer.Option(min=1, max=1024, help="Numbers of a vector.")] = 256,
    pages: Annotated[int, typer.Option(min=1, help="Users whose pages are measured.")] = 300,
) -> None:
    """Train with and without content vectors of a world's works, and compare pages of new works.

    Run the same command again after a kill: finished runs are kept.
    """
    require_extra("lab", "karec lab content")
    require_extra("train", "karec lab content")
    console = make_console()
    from karec.files import write_text_aside
    from karec.lab.studies.content import content_table, measure_content
    from karec.learn.settings.settings import TrainSettings

    training = TrainSettings() if settings is None else TrainSettings.from_toml(settings)
    with ProgressReport() as progress:
        world = build_world(choice, progress)
        report = measure_content(
            world,
            training,
            out,
            width=width,
            seeds=seeds or [0, 1, 2],
            n_users=pages,
            progress=progress,
        )
    print_tables(console, [content_table(report)])
    write_text_aside(out / "content.json", json.dumps(report, indent=1))
    print(f"report: {out / 'content.json'}")


def sessions(
    choice: DataChoice,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the run, the bundle and karec.toml.")],
    settings: TrainingSettings = None,
) -> None:
    """Compare pages for sessions of unknown users with popularity, item-kNN and ALS.

    If DIR has a karec.toml, its bundle is measured again, for example after a change of the scene.
    """
    require_extra("lab", "karec lab sessions")
    require_extra("train", "karec lab sessions")
    from karec.lab.studies.sessions import compare_sessions
    from karec.learn.settings.settings import TrainSettings

    training = TrainSettings() if settings is None else TrainSettings.from_toml(settings)
    training = training if choice.seed is None else training.replace(seed=choice.seed)
    with ProgressReport() as progress, load_data(choice, progress) as loaded:
        table = compare_sessions(loaded.dataset, training, out, progress)
    print_tables(make_console(), [table])


def satiation(
    root: Annotated[Path, typer.Option(metavar="DIR", help="Folder with the files of KuaiRand-Pure.")],
    seed: Annotated[int, typer.Option(help="Seed of the resamples and of the world.")] = 0,
) -> None:
    """Measure what recent impressions of the same tag or creator change, on KuaiRand and on a known world."""
    require_extra("lab", "karec lab satiation")
    from karec.lab.studies.satiation import measure_planted, measure_satiation, satiation_table

    with ProgressReport() as progress, load_data(DataChoice(data="kuairand", root=root), progress) as loaded:
        log = measure_satiation(loaded.dataset, seed)
    print_tables(make_console(), [satiation_table(log, measure_planted(seed))])


def similar(choice: DataChoice) -> None:
    """Compare similar items with item-kNN, by what users enjoy together on the later days."""
    require_extra("lab", "karec lab similar")
    require_extra("train", "karec lab similar")
    from karec.lab.studies.similar_items import compare_similar_items, similar_items_table

    with ProgressReport() as progress, load_data(choice, progress) as loaded:
        measured = compare_similar_items(loaded.dataset, choice.seed or 0)
    print_tables(make_console(), [similar_items_table(measured)])


def retrieval(
    choice: DataChoice,
    settings: TrainingSettings = None,
    minutes: Annotated[
        float, typer.Option(min=0.0, help="Minutes to search the settings of each simple method.")
    ] = 10.0,
    report: Report = None,
) -> None:
    """Train towers and compare their retrieval with EASE^R, ALS, BPR and LightGCN."""
    require_extra("lab", "karec lab retrieval")
    require_extra("train", "karec lab retrieval")
    console = make_console()
    from karec.files import check_writable_folder
    from karec.lab.studies.retrieval import retrieval_sentence, retrieval_tables, study, write_retrieval
    from karec.learn.settings.settings import TrainSettings

    training = None if settings is None else TrainSettings.from_toml(settings)
    if report is not None:
        check_writable_folder(report)
    with ProgressReport() as progress, load_data(choice, progress) as loaded:
        seeds = (0, 1, 2) if choice.seed is None else (choice.seed,)
        content = study(loaded.dataset, progress, training=training, seeds=seeds, minutes=minutes)
    console.print(retrieval_sentence(content))
    print_tables(console, retrieval_tables(content))
    if report is not None:
        print(f"report: {write_retrieval(content, report)[1]}")
