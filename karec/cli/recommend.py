"""``karec recommend``: one page for one user, or a page for each user of a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from karec.cli.options import Config, Json, Scene
from karec.cli.output import ProgressReport, make_console, print_json, text_table

if TYPE_CHECKING:
    from rich.table import Table

    from karec.bundle import Bundle
    from karec.bundle.ids import BundleIds
    from karec.bundle.item_types import ItemTypeBundle
    from karec.catalog.snapshot import Snapshot
    from karec.pipeline.cascade import Cascade
    from karec.pipeline.trace import Trace
    from karec.pipeline.types import Page

MAX_CATEGORIES = 3  # columns of other categories in a printed page


def recommend(
    config: Config,
    user: Annotated[
        str | None, typer.Option(metavar="ID", help="User id; an unknown one gets a page for a new user.")
    ] = None,
    batch: Annotated[
        Path | None,
        typer.Option(metavar="USERS", help="Make a page for each user of this Parquet or CSV file."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PAGES.parquet", help="File for the pages of --batch.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help='Column of user ids of --batch (default: "user_id", or its first one).')
    ] = None,
    scene: Scene = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Items on a page.")] = 10,
    shown: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Item that this session has seen. Repeatable.")
    ] = None,
    time_ms: Annotated[
        int | None, typer.Option(help="Time of the request, Unix milliseconds (default: the bundle's).")
    ] = None,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Print each step: items in and out, removed and why, milliseconds."),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print why each item was selected: gain, most similar item.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make one page for one user, or a page for each user of a file. Side effects and experiments do not run.

    A killed --batch continues where it stopped.
    """
    from karec.config import open_bundle, scene_names
    from karec.config.batch import BatchJob
    from karec.pipeline.types import Request

    if (user is None) == (batch is None):
        raise ValueError("give one of --user and --batch")
    if (batch is None) != (out is None):
        raise ValueError("--batch and --out need each other")
    bundle = open_bundle(config)
    name = scene or scene_names(config)[0]
    if time_ms is None:
        time_ms = bundle.snapshot.time_ms
    if batch is not None and out is not None:
        identity = f"{config.read_text(encoding='utf-8')}\n{name}\n{bundle.path.name}"
        job = BatchJob(batch, column, out, k, time_ms, identity)
        with ProgressReport() as progress, _open_cascade(config, name, bundle) as cascade:
            n_users = job.run(cascade, progress)
        if as_json:
            print_json({"out": str(out), "users": n_users})
        else:
            print(f"{out}: pages of {n_users:,} users")
        return
    assert user is not None
    ids = bundle.naming
    user_id = _parse_id(user, is_text=ids is not None and ids.users.kind == "string")
    is_text = ids is not None and ids.items.kind == "string"
    request = Request(
        user_id,
        k=k,
        scene=name,
        time_ms=time_ms,
        shown=tuple(_parse_id(item, is_text=is_text) for item in shown or ()),
        request_id=f"recommend-{user}",
        explain=explain,
        arms={},
    )
    with _open_cascade(config, name, bundle) as cascade:
        page = cascade.run(request)
    if as_json:
        print_json(page.to_dict())
    else:
        _print_page(page, cascade, has_trace=trace)


@contextmanager
def _open_cascade(config: Path, scene: str, bundle: Bundle) -> Iterator[Cascade]:
    """Yields the cascade of ``scene`` without side effects. The online store, if any, hides blocked items."""
    from karec.config import load_cascade, open_hot_swap
    from karec.config.scenes import Config

    if Config.read(config).online is None:
        yield load_cascade(config, scene, bundle).without_side_effects()
        return
    with open_hot_swap(config, scene) as swap:
        yield swap.cascades[scene].without_side_effects()


def _parse_id(text: str, *, is_text: bool) -> int | str:
    """Returns an id as the bundle has it. ValueError: its ids are integers and ``text`` is not one."""
    if is_text:
        return text
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an id of this bundle: its ids are integers") from None


def _print_page(page: Page, cascade: Cascade, *, has_trace: bool) -> None:
    from karec.bundle.item_types import ItemTypeBundle

    console = make_console()
    bundle = cascade.bundle
    assert bundle is not None
    item_type = bundle.name if isinstance(bundle, ItemTypeBundle) else "item"
    console.print(page_table(page, bundle, item_type))
    for table in explanation_tables(page):
        console.print(table)
    if has_trace:
        console.print(trace_table(page.trace))
    if page.is_cold_start:
        console.print(f"user {page.request.user_id} has no events: this is a page for a new user")
    if page.degraded:
        console.print(
            f"degraded (steps that failed or had no time, and relaxed rules): {', '.join(page.degraded)}"
        )


def page_table(page: Page, bundle: Bundle | ItemTypeBundle, item_type: str = "item") -> Table:
    from karec.bundle.item_types import MAPS, ItemTypeBundle
    from karec.catalog.schema import CREATOR, PUBLISHED, SONG, TYPE

    snapshot = bundle.snapshot
    maps = bundle.bundle if isinstance(bundle, ItemTypeBundle) else bundle
    names = {CREATOR: "creator", SONG: "song", TYPE: "type", PUBLISHED: "age"}
    categories = [name for name in snapshot.labels if name not in names and name in snapshot.works.columns]
    names |= {name: name for name in categories[:MAX_CATEGORIES]}
    columns = {
        column: name
        for column, name in names.items()
        if column in snapshot.works.columns and name != item_type
    }
    ids = {column: maps.naming_of(MAPS[name]) for column, name in columns.items() if name in MAPS}
    rows = []
    for item in page:
        row = -1  # other item types have their own snapshots, in which the same ids are other items
        if item.item_type == page.item_type:
            row = int(snapshot.works.lookup(page.candidates.ids[item.position : item.position + 1])[0])
        cells = [
            "–" if row < 0 else _describe_cell(snapshot, column, row, ids.get(column)) for column in columns
        ]
        types = (item.item_type,) if page.parts else ()
        end = f"{item.score:.4f}", ", ".join(item.sources)
        rows.append((str(item.position + 1), str(item.item_id), *types, *cells, *end))
    title = f"Page for user {page.request.user_id}, scene {page.request.scene}, {page.trace.total_ms:.1f} ms"
    types = ("item type",) if page.parts else ()
    table = text_table(title, ("position", item_type, *types, *columns.values(), "score", "sources"), rows, 0)
    table.caption = None if page.shortfall is None else str(page.shortfall)
    return table


def _describe_cell(snapshot: Snapshot, column: str, row: int, ids: BundleIds | None) -> str:
    """Returns the value of an item, as its name or id if it has one; a time as hours before the snapshot."""
    from karec.catalog.schema import PUBLISHED
    from karec.times import HOUR_MS

    value = int(snapshot.works[column][row])
    if column == PUBLISHED:
        return f"{max(snapshot.time_ms - value, 0) / HOUR_MS:,.0f} h"
    if ids is not None:
        (name,) = ids.items.names([value], missing="none")
        return str(value) if name is None else str(name)
    names = snapshot.labels.get(column, [])
    return names[value] if 0 <= value < len(names) else str(value)


def trace_table(trace: Trace) -> Table:
    rows = []
    for step in trace.steps:
        notes = ", ".join(
            f"{name}={_short(value)}" for name, value in step.notes.items() if name != "explanation"
        )
        fallback = f"fallback: {step.fallback}" if step.fallback else ""
        reason = step.reason if step.role == "source" else ""
        rows.append(
            (
                step.stage,
                step.step,
                step.role,
                "" if step.n_in < 0 else f"{step.n_in:,}",
                "" if step.n_out < 0 else f"{step.n_out:,}",
                f"{step.n_removed:,} {step.reason}".strip() if step.n_removed else "",
                f"{step.ms:.2f}",
                step.failure or fallback or notes or reason,
            )
        )
    return text_table("Trace", ("stage", "step", "role", "in", "out", "removed", "ms", "notes"), rows, 3)


def explanation_tables(page: Page) -> Iterator[Table]:
    """Yields a table for each step that explained its selection: its items of the page, in its order.

    The last column has the item that the plain top k, or the list before page rules, has in this position.
    """
    ids = {item.item_id for item in page}
    for step in page.trace.steps:
        explanation = step.notes.get("explanation")
        if explanation is None:
            continue
        is_arranged = "arranged" in explanation
        items = explanation["arranged" if is_arranged else "works"]
        others = explanation["before" if is_arranged else "top_k"]
        rows = [
            (*map(_short, item.values()), str(other))
            for item, other in zip(items, others, strict=True)
            if item["id"] in ids
        ]
        head = (*(items[0] if items else ()), "before rules" if is_arranged else "top k")
        table = text_table(f"{step.stage}.{step.step}", head, rows, 0)
        table.caption = "\n".join(explanation.get("broken", ())) or None
        yield table


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
