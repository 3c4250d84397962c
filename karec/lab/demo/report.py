"""The demo's report: ``report.json`` with all numbers, ``report.html`` with a summary, a page and details.

Keys of report.json, format 6:
    data          name, items, users, impressions
    tasks         labels that were learned, the main one first
    requests      number of served requests
    funnel        [{stage, ms, items_in, items_out}], medians; the stage "request" has no items
    total_ms      median time of a request
    quality       {model: {task: measures}} on the test days, the ranker last
    funnel_loss   result of ``karec.evaluate.funnel.funnel_loss`` on whole pools
    second_round  prerank before and after one more epoch with a rank log: taught_requests, requests, pool,
                  kept {part: {top: before, after, change}}; null with too few users
    three_days    report of the simulated days (``karec.lab.simulate.report``); null without a world
    sources       {source: fractions of the pages' items that it found, and that only it found}
    scenes        {scene: value of its pages, of popular and of random items}; null without --scene
    page          user, scene, candidates of the ranker, and items: item_id, creator, song, tags, age_h,
                  sources, score, place_by_ranker
    side_effects  counts of each side effect
    versions      of model, bundle and index that made the pages
    notes         on the data and the training
    config        path of the karec.toml
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec.evaluate.tables import COLUMNS, quality_rows
from karec.lab.demo.policy import NO_BREAK, Effect, policy_effects
from karec.lab.demo.screen import compared_models, funnel_table, kept_table, policy_table, second_round_table
from karec.lab.report import BLUE, GREY, Chart, Details, Part, Table, note, to_html, write_report
from karec.lab.simulate.report import simulation_tables
from karec.lab.simulate.report_tables import format_change
from karec.lab.studies.page_sources import page_sources_table
from karec.lab.studies.scenes import scene_pages_table, scenes_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 1  # of report.json
MAX_HOURS = 72  # older items have their age in days
REASONS = {  # {source: why it returned an item}
    "follow": "by a creator that the user follows",
    "profile": "similar to items that the user enjoyed",
    "social": "made or liked by friends or family",
    "community": "enjoyed in the user's community",
    "city": "popular or new in the user's city",
    "model": "near the user's vector",
    "item_to_item": "similar to an item that the user liked",
    "popular": "among the most popular items",
    "fresh": "from the list of new items",
    "underexposed": "rarely shown so far",
}


def write_demo(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Writes report.json and report.html."""
    name = report["data"]["name"]
    title = f"karec demo: {'a synthetic platform' if name == 'world' else name}"
    return write_report({"format": FORMAT, **report}, folder, "report", title, report_parts(report))


def report_parts(report: Mapping[str, Any]) -> Iterator[Part]:
    """Yields summary, pictures, one page, and folded details."""
    data = report["data"]
    yield note(
        f"{data['items']:,} items, {data['users']:,} users, {data['impressions']:,} impressions. All models "
        "were trained on this machine; pages were served on the test days."
    )
    yield _figures(report)
    yield f"<div class=charts>{to_html(_pictures(report))}</div>"
    yield _page(report["page"])
    yield from _details(report)


def _figures(report: Mapping[str, Any]) -> str:
    items = "".join(
        f"<li><strong>{html.escape(value)}</strong> {html.escape(sentence)}</li>"
        for value, sentence in summary_figures(report)
    )
    return f"<ul class=figures>{items}</ul>"


def summary_figures(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields (figure, sentence): time, ranker, pre-ranking, creators and users."""
    n_items, page = report["data"]["items"], len(report["page"]["items"])
    yield (
        f"{report['total_ms']:.0f} ms",
        f"One processor core selects a page of {page} items from {n_items:,} in this time.",
    )
    task, models = report["tasks"][0], compared_models(report["quality"])
    aucs = {label: measures[task]["auc"] for label, measures in models.items()}
    ranker = aucs.pop("ranker (rank)")
    others = "".join(f", {label} {_percent(auc)}" for label, auc in aucs.items() if label.startswith("log"))
    yield (
        _percent(ranker),
        f"The ranker puts an item with “{task}” before an item without it in this fraction of pairs (chance "
        f"50 %{others}).",
    )
    loss = report["funnel_loss"]
    yield (
        _percent(loss["prerank"]["top10"]),
        f"Pre-ranking keeps this fraction of the 10 items that the ranker would select from all "
        f"{loss['pool']:,} candidates.",
    )
    effects = policy_effects(report)
    for effect in (effects[name] for name in ("creators_1_a_day", "play_s") if effects):
        before, after = effect.format_value(effect.before), effect.format_value(effect.after)
        yield (
            effect.format_change(has_interval=False),
            f"{effect.label[0].upper()}{effect.label[1:]}: {after} with the page policy, {before} in the "
            f"ranker's order{_certainty(effect)}.",
        )


def _certainty(effect: Effect) -> str:
    if effect.interval is None:
        return ""
    low, high = effect.interval
    digits, unit = (1, " %") if effect.is_percent else (effect.digits, "")
    bounds = f"{format_change(low, None, digits)} to {format_change(high, None, digits, unit)}"
    doubt = ", so there may be no change" if low <= 0 <= high else ""
    return f" (95 % interval {bounds.replace(' ', NO_BREAK)}{doubt})"


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.0f}{NO_BREAK}%"


def _pictures(report: Mapping[str, Any]) -> Iterator[Chart]:
    yield Chart("Items after each stage, and its time", lambda axes: _draw_funnel(axes, report), "", 5, 3.4)
    effects = [effect for effect in policy_effects(report).values() if effect.is_percent and effect.interval]
    if effects:
        title = "Changes by the page policy in three days"
        yield Chart(title, lambda axes: _draw_effects(axes, effects), "", 5, 3.4)


def _draw_funnel(axes: Axes, report: Mapping[str, Any]) -> None:
    stages = [row for row in report["funnel"] if "items_out" in row]
    sizes = [stages[0]["items_in"], *(row["items_out"] for row in stages)]
    labels = ["catalog", *(row["stage"] for row in stages)]
    texts = [f"{sizes[0]:,}", *(f"{row['items_out']:,} · {row['ms']:.1f} ms" for row in stages)]
    axes.barh(labels, sizes, color=[GREY, *[BLUE] * len(stages)], log=True)
    for place, (size, text) in enumerate(zip(sizes, texts, strict=True)):
        axes.annotate(text, (size, place), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_xlim(1, sizes[0] * 100)  # room for the texts
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.invert_yaxis()


def _draw_effects(axes: Axes, effects: list[Effect]) -> None:
    for place, effect in enumerate(effects):
        assert effect.interval is not None and effect.change is not None
        axes.plot(effect.interval, (place, place), color=BLUE, linewidth=2)
        axes.plot([effect.change], [place], "o", color=BLUE)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(effects)), [effect.label for effect in effects])
    axes.invert_yaxis()
    axes.locator_params(axis="x", integer=True, nbins=6)
    axes.xaxis.set_major_formatter(lambda tick, _: format_change(tick, None, 0) if tick else "0")
    axes.set_xlabel("change in %, with 95 % intervals")


def _page(page: Mapping[str, Any]) -> str:
    cards = []
    for position, item in enumerate(page["items"], 1):
        facts = {
            "creator": item["creator"],
            "song": item["song"],
            "tags": ", ".join(item["tags"]),
            "age": _age(item["age_h"]),
            "why": _why(item, page["candidates"]),
        }
        rows = "".join(f"<dt>{name}</dt><dd>{html.escape(fact)}</dd>" for name, fact in facts.items() if fact)
        cards.append(
            f"<li><strong>{position}. {html.escape(str(item['item_id']))}</strong><dl>{rows}</dl></li>"
        )
    title = f"The page for user {page['user']}, scene {page['scene']}"
    return f"<h2>{html.escape(title)}</h2><ol class=items>{''.join(cards)}</ol>"


def _age(hours: float | None) -> str | None:
    if hours is None:
        return None
    return f"{hours:.0f} hours" if hours < MAX_HOURS else f"{hours / 24:,.0f} days"


def _why(item: Mapping[str, Any], candidates: int) -> str:
    reasons = [REASONS.get(source, source) for source in item["sources"]]
    return f"{', '.join(reasons)}; place {item['place_by_ranker']} of {candidates:,} in the ranker's order"


def _details(report: Mapping[str, Any]) -> Iterator[Details]:
    yield Details("Funnel", [funnel_table(report), kept_table(report["funnel_loss"])])
    about = "95 % intervals over users; differences are paired, positive if the other model is better."
    quality = [
        Table(f"{task} on the test days", *quality_rows(report["quality"], task, COLUMNS), about)
        for task in report["tasks"]
    ]
    yield Details("Models", quality)
    if report["second_round"] is not None:
        yield Details("Second round", [second_round_table(report["second_round"])])
    if report["three_days"] is not None:
        yield Details("Page policy", [policy_table(report), *simulation_tables(report["three_days"])])
    yield Details("Sources", [page_sources_table(report["sources"], "Fractions of the items on the pages")])
    if report["scenes"] is not None:
        yield Details("Scenes", [scenes_table(report["scenes"]), scene_pages_table(report["scenes"])])
    counts = [
        (effect["name"], f"{effect['seen']:,}", f"{effect['done']:,}", f"{effect['dropped']:,}")
        for effect in report["side_effects"]
    ]
    side_effects = Table("Side effects", ("step", "requests", "done", "dropped"), counts)
    yield Details("Data, training and logs", [*map(note, report["notes"]), side_effects])
