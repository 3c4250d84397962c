"""``karec export``: events as Parquet files; stages and trees for hosts in other languages."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from karec.cli.options import DAY_FORMATS, Config, Scene
from karec.cli.output import ProgressReport
from karec.times import DAY_MS


def events(
    config: Config,
    before: Annotated[
        datetime | None,
        typer.Option(
            metavar="YYYY-MM-DD",
            formats=DAY_FORMATS,
            help="Export the days before this one, UTC (default: all that are complete).",
        ),
    ] = None,
) -> None:
    """Move days of events from the online store to the folder or URL in online.exported of CONFIG.

    A day is one Parquet file. Events are deleted from the store after their file was verified. Exported
    days older than online.exported_days are deleted. Run it once a day.
    """
    from karec.config.online_store import read_event_source, read_online_config
    from karec.online.event_files import EventFiles
    from karec.online.export import export_events, latest_before
    from karec.online.store.contents import read_head
    from karec.online.store.open import open_store

    source = read_event_source(config)
    assert source.exported is not None
    files = EventFiles(source.exported)
    store = open_store(source.url, config.absolute().parent)
    try:
        head = read_head(store)
        now_ms = time.time_ns() // 1_000_000
        end = latest_before(head, now_ms) if before is None else before.date()
        with ProgressReport() as progress:
            exported = export_events(
                store, head, files, end, now_ms, lambda day, n: progress.note(f"{day}: {n:,} events")
            )
    finally:
        store.close()
    print(f"{exported.n_events:,} events of {len(exported.days)} days moved to {files.display}")
    settings = read_online_config(config).online
    if settings is not None and settings.exported_days:
        n_days = files.delete_before(int(now_ms / DAY_MS - settings.exported_days))
        print(f"{n_days} days deleted: they are older than online.exported_days")


def stage(
    config: Config,
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write.")],
    scene: Scene = None,
    stage: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Stage to write; repeatable (default: all).")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail with the reason if FILE is stale.")
    ] = False,
) -> None:
    """Write stages of CONFIG with all defaults to a file that C and C++ hosts read.

    Write it again after each change of CONFIG: the host reads only this file.
    """
    from karec.config import scene_names
    from karec.config.host_stage import check_export, export_stages
    from karec.files import check_writable_file

    if not check:
        check_writable_file(out)
    name = scene or scene_names(config)[0]
    if check:
        check_export(config, name, out)
        print(f"{out} is up to date")
    else:
        export_stages(config, name, stage or (), out)
        print(f"written: {out}")


def trees(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Model that a karec.toml names.")],
) -> None:
    """Write the trees of MODEL.onnx to MODEL.trees.npz, from which karec scores them faster.

    The scores equal those of ONNX Runtime bit for bit. Run it again after each change of the model.
    """
    from karec.learn.export.trees import export_trees
    from karec.models.trees import trees_path

    exported = export_trees(model)
    for reason in exported.left:
        print(f"{model}: trees that stay with ONNX Runtime: {reason}")
    path = trees_path(model)
    if not exported.n_trees:
        outcome = f"{path} was removed" if exported.has_removed_file else "nothing was written"
        raise ValueError(f"{model} has no trees that karec's library scores: {outcome}")
    print(f"{path}: {exported.n_trees:,} trees")
