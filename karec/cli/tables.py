"""Tables for the terminal: what the command line shows people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from karec.catalog.schema import CREATOR, PUBLISHED, SONG, TYPE
from karec.catalog.snapshot import Snapshot
from karec.evaluate.tables import (
    COLUMNS,
    FUNNEL_HEAD,
    FUNNEL_TITLE,
    consistency_rows,
    consistency_sentence,
    format_measure,
    funnel_rows,
    history_rows,
    quality_rows,
)
from karec.pipeline.trace import Trace
from karec.pipeline.types import Page
from karec.times import HOUR_MS

# of a work in a feed: heading
SHOWN_ROLES = {CREATOR: "creator", SONG: "song", TYPE: "type", PUBLISHED: "age"}


def text_table(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1
) -> Table:
    """A table for the terminal; the first ``text_columns`` stand to the left."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i < text_columns else "right", no_wrap=i < text_columns)
    for row in rows:
        table.add_row(*row)
    return table


def facts_table(title: str, facts: Mapping[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def quality_tables(
    quality: Mapping[str, Any], tasks: Sequence[str], what: str = "", behind: str = COLUMNS["auc_behind"]
) -> Iterator[Table]:
    """A table for each task; ``what`` stands before its title, ``behind`` says which model is the last."""
    for task in tasks:
        head, rows = quality_rows(quality, task, {**COLUMNS, "auc_behind": behind})
        yield text_table(
            f"{what}{task} on the test days (95 % intervals over users; differences are paired)", head, rows
        )


def run_tables(quality: Mapping[str, Any], tasks: Sequence[str]) -> Iterator[Table]:
    """The tables of what ``evaluate_run`` returns: each task over all rows, then by how much is known of the
    user, where that differs.
    """
    yield from quality_tables(quality["models"], tasks)
    if sum(group["exposures"] > 0 for group in quality["by_history"].values()) < 2:
        return
    for task in tasks:
        head, rows = history_rows(quality["by_history"], task)
        yield text_table(
            f"{task} by exposures of the user that were known before: AUC [95 %]; GAUC", head, rows
        )


def compared_table(compared: Mapping[str, Any]) -> Table:
    """What ``compare_versions`` returns."""
    new, old = compared["versions"]
    day = f"{compared['exposures']:,} exposures, {compared['users']:,} users"
    rows = [
        (
            name,
            f"{each['new']:.4f}",
            f"{each['in_service']:.4f}",
            format_measure(each["gain"], each["gain_ci"]),
        )
        for name, each in compared["models"].items()
    ]
    title = f"Mean AUC of {', '.join(compared['tasks'])} on the newest day ({day})"
    return text_table(title, ("", f"version {new}", f"{old}, in service", "gain [95 %]"), rows)


def choice_table(choice: Mapping[str, Any]) -> Table:
    """What ``karec train --choose`` tried; * stands at what was kept."""
    tasks = next(list(row["by_task"]) for row in choice["tried"] if row["by_task"])
    rows = []
    for row in choice["tried"]:
        scores = [f"{row['by_task'][task]:.4f}" if row["by_task"] else "–" for task in tasks]
        gain = "" if row["gain"] is None else format_measure(row["gain"], row["gain_ci"])
        mean = row["why_not"] if row["score"] is None else f"{row['score']:.4f}"
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.0f}"
        rows.append((row["part"], row["name"] + (" *" if row["kept"] else ""), mean, gain, *scores, seconds))
    head = ("part", "tried", "mean AUC", "gain over the best before, paired", *tasks, "s")
    return text_table(f"Chosen (*) by the {choice['criterion']}", head, rows, text_columns=2)


def consistency_table(source: str, measured: Mapping[str, Any]) -> Table:
    title = f"{source}: {consistency_sentence(measured)}"
    head = ("measure", "mean [95 % over users]", "pools")
    return text_table(title, head, list(consistency_rows(measured)))


def funnel_loss_table(loss: Mapping[str, Any], source: str = "") -> Table:
    title = f"{source}: {FUNNEL_TITLE[0].lower()}{FUNNEL_TITLE[1:]}" if source else FUNNEL_TITLE
    return text_table(f"{title} (95 % over users)", FUNNEL_HEAD, list(funnel_rows(loss)))


def feed_table(feed: Page, snapshot: Snapshot, kind: str = "work") -> Table:
    """``kind``: what its items are."""
    rows = []
    roles = {
        role: name for role, name in SHOWN_ROLES.items() if role in snapshot.works.columns and name != kind
    }
    for item in feed:
        at = int(snapshot.works.lookup(feed.candidates.ids[item.position : item.position + 1])[0])
        about = ["–" if at < 0 else _told(snapshot, role, at) for role in roles]
        rows.append(
            (str(item.position + 1), str(item.item_id), *about, f"{item.score:.4f}", ", ".join(item.sources))
        )
    title = f"Feed for user {feed.request.user_id}, scene {feed.request.scene}, {feed.trace.total_ms:.1f} ms"
    table = text_table(title, ("place", kind, *roles.values(), "score", "found by"), rows, 0)
    table.caption = None if feed.shortfall is None else str(feed.shortfall)
    return table


def _told(snapshot: Snapshot, column: str, row: int) -> str:
    """The value of a work, by its name where it has one; of a moment, how long ago it was."""
    value = int(snapshot.works[column][row])
    if column == PUBLISHED:
        return f"{max(snapshot.time_ms - value, 0) / HOUR_MS:,.0f} h"
    names = snapshot.labels.get(column, [])
    return names[value] if 0 <= value < len(names) else str(value)


def trace_table(trace: Trace) -> Table:
    rows = [
        (
            step.stage,
            step.step,
            step.role,
            "" if step.n_in < 0 else f"{step.n_in:,}",
            "" if step.n_out < 0 else f"{step.n_out:,}",
            f"{step.n_removed:,} {step.reason}".strip() if step.n_removed else "",
            f"{step.ms:.2f}",
            step.failure
            or (f"fallback: {step.fallback}" if step.fallback else "")
            or ", ".join(
                f"{name}={_short(value)}" for name, value in step.notes.items() if name != "explanation"
            )
            or (step.reason if step.role == "source" else ""),
        )
        for step in trace.steps
    ]
    return text_table("Trace", ("stage", "step", "role", "in", "out", "removed", "ms", "notes"), rows, 3)


def explanation_tables(feed: Page) -> Iterator[Table]:
    """Of each step that explained its choice: the works of the feed as that step saw them. ``place`` is in
    its list."""
    for step in feed.trace.steps:
        if "explanation" not in step.notes:
            continue
        if "arranged" in step.notes["explanation"]:
            yield _arranged_table(f"{step.stage}.{step.step}", step.notes["explanation"])
            continue
        works, top_k = step.notes["explanation"]["works"], step.notes["explanation"]["top_k"]
        places = {work["id"]: place for place, work in enumerate(works)}
        rows = []
        for item in feed:
            if item.item_id not in places:
                continue
            place = places[item.item_id]
            work = works[place]
            near: tuple[str, ...] = ("–", "–", "–", "")
            if work["closest"] is not None:
                alike = (f"{work[name]:.3f}" for name in ("similarity", "cosine"))
                near = (str(work["closest"]), *alike, ", ".join(work["same"]))
            known = "yes" if item.item_id in top_k else "no"
            numbers = (f"{work['relevance']:.4f}", f"{work['gain']:.3g}")
            rows.append(
                (
                    str(item.position + 1),
                    str(item.item_id),
                    str(place + 1),
                    *numbers,
                    *near,
                    known,
                    str(top_k[place]),
                )
            )
        instead = len(set(places) - set(top_k))
        title = (
            f"{step.stage}.{step.step}: {instead} of its {len(works)} works are not among the plain top "
            f"{len(works)}"
        )
        head = (
            "in feed",
            "work",
            "place",
            "relevance",
            "gain",
            "closest before",
            "similarity",
            "cosine",
            "same",
            "in top-k",
            "top-k has here",
        )
        yield text_table(title, head, rows, 0)


def _arranged_table(step: str, told: Mapping[str, Any]) -> Table:
    """A list before and after rules: a row for each of its places."""
    rows = [
        (
            str(work["place"]),
            str(work["id"]),
            str(work["was"]),
            str(work["lifted"] or ""),
            work["owner"] or "",
            str(before),
        )
        for work, before in zip(told["arranged"], told["before"], strict=True)
    ]
    moved = sum(work["place"] != work["was"] for work in told["arranged"])
    table = text_table(
        f"{step}: {moved} of its {len(rows)} works moved",
        ("place", "work", "was", "boosted by", "the place's owner", "without rules here"),
        rows,
        0,
    )
    table.caption = "\n".join(told["broken"]) or None
    return table


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
