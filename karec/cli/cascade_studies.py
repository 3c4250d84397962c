"""``karec lab``: studies of cascades. Loads karec.lab when called."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from karec.cli.datasets import build_world
from karec.cli.options import Config, Scene, TrainingSettings, WorldChoice
from karec.cli.output import ProgressReport, make_console, print_tables, require_extra


def scenes(
    choice: WorldChoice,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for runs and the report.")],
    settings: TrainingSettings = None,
    seeds: Annotated[
        list[int] | None,
        typer.Option(help="Seed of a world and its training. Repeatable (default: 0, 1, 2)."),
    ] = None,
    requests: Annotated[int, typer.Option(min=1, metavar="N", help="Requests of a scene and seed.")] = 300,
) -> None:
    """Train with and without impressions of other item types, and compare the pages of all scenes.

    Run the same command again after a kill: finished runs are kept.
    """
    require_extra("lab", "karec lab scenes")
    require_extra("train", "karec lab scenes")
    from karec.cli.demo import training_settings
    from karec.config.templates import HOME, OTHERS
    from karec.files import write_text_aside
    from karec.lab.demo.scene_orders import NO_TRUTH, compare_scene_orders, scene_orders_table

    with ProgressReport() as progress:
        report = compare_scene_orders(
            lambda seed: build_world(replace(choice, seed=seed), progress),
            training_settings(settings, None, is_world=True).replace(evaluation={"baselines": ()}),
            out,
            seeds=seeds or [0, 1, 2],
            scenes=[name for name in (HOME, *OTHERS) if name != NO_TRUTH],
            n_requests=requests,
            progress=progress,
        )
    print_tables(make_console(), [scene_orders_table(report)])
    write_text_aside(out / "scenes.json", json.dumps(report, indent=1))
    print(f"report: {out / 'scenes.json'}")


def first_impressions(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for models and bundles.")],
    users: Annotated[int, typer.Option(min=1, help="Users.")] = 4_000,
    works: Annotated[int, typer.Option(min=1, help="Works on the first day.")] = 3_000,
    days: Annotated[int, typer.Option(min=2, help="Days; uploads of the first one are played.")] = 3,
    seeds: Annotated[
        list[int] | None, typer.Option(help="Seed of a world. Repeatable (default: 1, 2 and 3).")
    ] = None,
    vectors: Annotated[
        int,
        typer.Option(min=0, max=1024, help="Compare content vectors with this many numbers (0: indicators)."),
    ] = 0,
) -> None:
    """Measure the hours until hits have 1,000 impressions, with and without live indicators.

    With --vectors: the hours until uploads have 100, with and without content vectors.
    """
    require_extra("lab", "karec lab first-impressions")
    require_extra("train", "karec lab first-impressions")
    from karec.lab.simulate.population import Sizes
    from karec.lab.studies.content_impressions import play_uploads, uploads_table
    from karec.lab.studies.first_impressions import PAST_IMPRESSIONS as PAST
    from karec.lab.studies.first_impressions import first_impressions_table, play_world

    seeds = seeds or [1, 2, 3]
    worlds = {out / str(seed): Sizes(works, users, PAST * users, days, seed) for seed in seeds}
    with ProgressReport() as progress:
        if vectors:
            table = uploads_table([play_uploads(worlds[at], vectors, at, progress) for at in worlds])
        else:
            table = first_impressions_table([play_world(worlds[at], at, progress) for at in worlds])
    print_tables(make_console(), [table])


def prerank_cause(
    choice: WorldChoice,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for models and bundles.")],
    arms: Annotated[
        str, typer.Option(metavar="FILE|SET", help="Cascades to compare, as for karec lab simulate.")
    ] = "prerank",
    only: Annotated[
        list[str] | None, typer.Option(metavar="ARM", help="Only this arm. Repeatable (default: all).")
    ] = None,
    requests: Annotated[int, typer.Option(min=1, metavar="N", help="Requests whose pools are ranked.")] = 300,
    parts: Annotated[
        bool,
        typer.Option("--parts", help="Also rank all works, and split scores into item and personal parts."),
    ] = False,
) -> None:
    """Measure the fraction of the ranker's best items that pre-ranking keeps, for several arms.

    Run the same command again after a kill: finished trainings are kept.
    """
    require_extra("lab", "karec lab prerank-cause")
    require_extra("train", "karec lab prerank-cause")
    from karec.files import write_text_aside
    from karec.lab.simulate.arms import read_arms
    from karec.lab.studies.prerank_cause import cut_table, measure_cut, parts_tables

    cascades, seed, folder = read_arms(arms), choice.seed or 0, Path(arms).parent
    cascades = cascades.only(only) if only else cascades
    with ProgressReport() as progress:
        world = build_world(choice, progress)
        losses = measure_cut(
            world, cascades, folder, out, seed=seed, n_requests=requests, parts=parts, progress=progress
        )
    tables = [cut_table(losses, seed), *(parts_tables(losses, seed) if parts else ())]
    print_tables(make_console(), tables)
    write_text_aside(out / "cut.json", json.dumps(losses, indent=1))
    print(f"report: {out / 'cut.json'}")


def list_ceiling(
    choice: WorldChoice,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for models and bundles.")],
    seeds: Annotated[
        list[int] | None, typer.Option(help="Seed of a world. At least two (default: 31, 32, 33 and 34).")
    ] = None,
    requests: Annotated[int, typer.Option(min=1, metavar="N", help="Requests of a world.")] = 300,
) -> None:
    """Measure the most that a list evaluator can gain: the best of 30 lists, by several values of a page."""
    require_extra("lab", "karec lab list-ceiling")
    require_extra("train", "karec lab list-ceiling")
    from karec.files import write_text_aside
    from karec.lab.simulate.compare_worlds import MAX_WORLDS
    from karec.lab.studies.list_ceiling import list_ceiling_table, measure_list_ceiling

    seeds = seeds or [31, 32, 33, 34]
    if not 2 <= len(set(seeds)) == len(seeds) <= MAX_WORLDS:
        raise ValueError(f"--seeds: {seeds}, expected 2 to {MAX_WORLDS} different seeds")
    with ProgressReport() as progress:
        worlds = [
            measure_list_ceiling(
                build_world(replace(choice, seed=seed), progress),
                out / str(seed),
                seed=seed,
                n_requests=requests,
                progress=progress,
            )
            for seed in seeds
        ]
    print_tables(make_console(), [list_ceiling_table(worlds)])
    write_text_aside(out / "list_ceiling.json", json.dumps(dict(zip(seeds, worlds, strict=True)), indent=1))
    print(f"report: {out / 'list_ceiling.json'}")


def rules(
    config: Config,
    out: Annotated[Path, typer.Option(metavar="PAGES.jsonl", help="File for the pages and their reserve.")],
    scene: Scene = None,
    users: Annotated[int, typer.Option(min=1, help="Random users; each gets two pages.")] = 1_000,
    seed: Annotated[int, typer.Option(help="Seed of the choice of users.")] = 0,
) -> None:
    """Make two pages for each of many users, and count those that break a rule of page_rules."""
    require_extra("lab", "karec lab rules")
    import numpy as np

    from karec.config import load_cascade, open_bundle, scene_names
    from karec.lab.studies.page_rules import check_page_rules, page_rules_table

    bundle = open_bundle(config)
    cascade = load_cascade(config, scene or scene_names(config)[0], bundle)
    ids = np.asarray(bundle.snapshot.users.ids)
    with ProgressReport() as progress:
        report = check_page_rules(
            replace(cascade, side_effects=(), naming=None),
            np.random.default_rng(seed).choice(ids, min(users, len(ids)), replace=False).tolist(),
            out,
            time_ms=bundle.snapshot.time_ms,
            progress=progress,
        )
    print_tables(make_console(), [page_rules_table(report)])
    print(f"pages: {out}")


def mixed_pages(
    config: Config,
    choice: WorldChoice,
    days: Annotated[
        int, typer.Option(min=2, help="Days of pages of one item type, before those of mixed pages.")
    ] = 3,
    pages: Annotated[int, typer.Option(min=1, metavar="N", help="Mixed pages, one per user.")] = 2_000,
) -> None:
    """Calibrate pages of works, live rooms and songs in the world of a demo, and count broken constraints.

    CONFIG is from karec demo --scene all with the same world. The pages are written beside it.
    """
    require_extra("lab", "karec lab mixed-pages")
    from karec.lab.studies.mixed_pages import PAGES, mixed_pages_tables, study_mixed_pages

    seed = choice.seed or 0
    with ProgressReport() as progress:
        calibrated, rows = study_mixed_pages(
            build_world(choice, progress),
            config,
            n_days=days,
            n_pages=pages,
            k=10,
            seed=seed,
            progress=progress,
        )
    print_tables(make_console(), mixed_pages_tables(calibrated, rows, seed))
    print(f"pages: {config.parent / PAGES}")


def interleaving(
    config: Config,
    choice: WorldChoice,
    pages: Annotated[int, typer.Option(min=10, metavar="N", help="Users; each gets three pages.")] = 1_200,
    k: Annotated[int, typer.Option(min=1, help="Items of a page.")] = 10,
) -> None:
    """Measure how many users an interleaved experiment saves against an A/B test of the same two pipelines.

    CONFIG is from karec demo with the same world, whose truth gives the outcomes of the pages.
    """
    require_extra("lab", "karec lab interleaving")
    from karec.lab.studies.interleaving import compare, interleaving_table, study_interleaving

    seed = choice.seed or 0
    with ProgressReport() as progress:
        world = build_world(choice, progress)
        study = study_interleaving(world, config, n_users=pages, k=k, seed=seed, progress=progress)
        results = [(patch, outcome, compare(shown, seed)) for patch, outcome, shown in study]
    print_tables(make_console(), [interleaving_table(results, pages)])


def creator_side(
    config: Config,
    choice: WorldChoice,
    pages: Annotated[
        int, typer.Option(min=10, metavar="N", help="Users; one page per condition each.")
    ] = 600,
    assignments: Annotated[int, typer.Option(min=2, help="Assignments of creators to arms.")] = 6,
    plain: Annotated[bool, typer.Option("--plain", help="Pages without DPP and page rules.")] = False,
    k: Annotated[int, typer.Option(min=1, help="Items of a page.")] = 10,
) -> None:
    """Compare a simple creator-side difference and the merge of orders with the truth.

    CONFIG is from karec demo with the same world, whose truth gives the outcomes of the pages.
    """
    require_extra("lab", "karec lab creator-side")
    from karec.catalog.schema import CREATOR
    from karec.lab.studies.creator_side import creator_side_table, study_creator_side

    seed = choice.seed or 0
    with ProgressReport() as progress:
        world = build_world(choice, progress)
        results = list(
            study_creator_side(
                world,
                config,
                n_users=pages,
                n_assignments=assignments,
                k=k,
                is_plain=plain,
                seed=seed,
                progress=progress,
            )
        )
    n_creators = len(set(world.dataset.snapshot.works.columns[CREATOR].tolist()))
    print_tables(make_console(), [creator_side_table(results, pages, n_creators)])
