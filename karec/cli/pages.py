"""``karec evaluate pages``: pages of simple methods, models and the cascade on the test days."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec.cli.datasets import load_data
from karec.cli.options import DataChoice, Json, RunFolder
from karec.cli.output import ProgressReport, make_console, print_json, require_extra, text_table

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.table import Table

    from karec.catalog.dataset import Dataset
    from karec.evaluate.pages import PageRequests
    from karec.times import Progress

PAGES_FORMAT = 1  # of pages.json; docs/formats.md has its keys
PAGE = "whole page"
COLUMNS = {
    "recall": "recall@20",
    "ndcg": "NDCG@20",
    "hit_rate": "hit rate",
    "coverage": "coverage",
    "owned": "owned",
}
POPULAR_PIPELINE = (
    "let karec.toml have only the source popular, one stage with the steps index_rows, not_consumed and "
    "top_k, and no side_effects"
)
ALS_ORDER = (
    'in karec.toml, put { use = "als_score" } before top_k in the stage rank; in prerank, let inner_product '
    'have k = "recall", and put als_score and { use = "top_k", k = "prerank" } after it'
)
SHOWN = (
    "The log has impressions: all held-out items were shown, which favours methods that learn what is shown. "
    "Compare both orders with users first."
)
IS_ALS = (
    "The page is ordered by ALS factors of the training days; the row also learned from the validation days. "
    "The final fit learns from all days."
)
CLOSEST_ORDER = f"no step does the same; the closest: {ALS_ORDER}"
ADVICE = {
    "popularity": POPULAR_PIPELINE,
    "recent popularity": f"no step does the same; the closest: {POPULAR_PIPELINE}",
    "attribute rates": 'unless the ranker is lr, train with [ranker] kind = "lr", which reads these rates',
    "item-kNN": CLOSEST_ORDER,
    "EASE^R": CLOSEST_ORDER,
    "ALS": ALS_ORDER,
    "towers alone": (
        'in karec.toml, replace { use = "top_k", k = "rank" } of the stage rank and of its fallback by '
        '{ use = "inner_product", k = "rank", only_warm = true }'
    ),
    "ALS factors alone": ALS_ORDER,
    "ranker alone": "in karec.toml, rerank with consumed_last and top_k only, and remove dpp from prerank",
    "crossed logistic regression": 'train with [ranker] kind = "lr"',
}


def pages(choice: DataChoice, run: RunFolder, as_json: Json = False) -> None:
    """Print recall, NDCG, hit rate and coverage of pages on the test days, with 95 % intervals over users.

    Simple methods, tuned on the validation days, are compared with the towers, the ranker and the whole page.
    """
    require_extra("train", "karec evaluate pages")
    with ProgressReport() as progress, load_data(choice, progress) as loaded:
        measured = measure_pages(loaded.dataset, run, progress)
    if as_json:
        print_json(measured)
        return
    print_pages(measured)


def measure_pages(dataset: Dataset, run: Path, progress: Progress) -> dict[str, Any]:
    """Returns the content of pages.json and writes it into the run folder ``run``.

    The cascade is that of the karec.toml next to ``run``, or of a new project if there is none. If models
    learned from test days, pages are made for later days only.
    """
    from karec.evaluate.model_pages import model_pages
    from karec.evaluate.pages import K, PageRequests, best_ahead, compare_rows, page_table, simple_pages
    from karec.evaluate.quality import read_run, tested_folder
    from karec.files import write_text_aside

    tested = tested_folder(run)
    facts = read_run(tested)
    start_ms = max(dataset.valid_until_ms, facts.get("trained_until_ms", 0))
    seed, resamples = facts["settings"]["seed"], facts["settings"]["evaluation"]["resamples"]
    requests = PageRequests.from_dataset(dataset, start_ms, seed=seed)
    measured: dict[str, Any] = {"k": K, "users": {}, "rows": {}, "simple": {}, "compared": {}, "ahead": None}
    measured |= {"has_impressions": dataset.has_impressions, "ranked_by": facts["ranked_by"]}
    if len(requests):
        pages, simple = simple_pages(dataset, requests, progress, seed)
        pages |= model_pages(dataset, requests, tested, facts["settings"], progress)
        pages[PAGE] = cascade_pages(dataset, requests, tested, facts["settings"], run.parent, progress)
        compared = compare_rows(requests, pages, PAGE, resamples, seed)
        measured |= {
            "users": {group: len(places) for group, (_, places) in requests.groups().items()},
            "rows": page_table(requests, pages, resamples, seed),
            "simple": simple,
            "compared": compared,
            "ahead": best_ahead(compared),
        }
    write_text_aside(run / "pages.json", json.dumps({"format": PAGES_FORMAT, **measured}, indent=1))
    return measured


def print_pages(measured: Mapping[str, Any]) -> None:
    """Prints the tables of a result of ``measure_pages``, and the best row as the last line."""
    console = make_console()
    for table in page_tables(measured) if measured["rows"] else ():
        console.print(table)
    console.print(describe_best_row(measured), soft_wrap=True)


def page_tables(measured: Mapping[str, Any]) -> Iterator[Table]:
    """Yields the table for all users, and one for the groups of ``PageRequests.groups``."""
    rows, n_users = measured["rows"], measured["users"]
    yield text_table(
        f"Pages of {measured['k']} items for {n_users['all']:,} users of the test days (95 % intervals)",
        ("row", *COLUMNS.values()),
        [(row, *_cells(groups["all"], COLUMNS)) for row, groups in rows.items()],
    )
    groups = [group for group in n_users if group != "all"]
    if len(groups) > 1:
        yield text_table(
            "NDCG@20 for users with (warm) and without (cold) earlier positives, and of new items",
            ("row", *(f"{group} (n = {n_users[group]:,})" for group in groups)),
            [
                (row, *(cell for group in groups for cell in _cells(by_group[group], ("ndcg",))))
                for row, by_group in rows.items()
            ],
        )


def _cells(measures: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    from karec.evaluate.tables import format_measure

    return [format_measure(measures[name]["value"], measures[name]["ci"], 3) for name in names]


def describe_best_row(measured: Mapping[str, Any]) -> str:
    """Returns the sentence on the best row in comparison with the whole page."""
    if not measured["rows"]:
        return "no page was measured: no user enjoyed a new item on the test days that no model learned from"
    compared = measured["compared"]
    if measured["ahead"] is None:
        gaps = compared["ndcg"]
        closest = max(measured["simple"], key=lambda row: float(gaps[row]["value"]))
        text = f"no row is ahead of the whole page by more than its interval; {closest} comes closest:"
        return f"{text} {_gain(gaps[closest])} {COLUMNS['ndcg']}"
    name, best = measured["ahead"]
    text = f"{best} is ahead of the whole page: {_gain(compared[name][best])} {COLUMNS[name]}."
    if measured["ranked_by"] == "als" and ALS_ORDER in ADVICE[best]:
        return f"{text} {IS_ALS}"
    text = f"{text} To serve it: {ADVICE[best]}"
    return f"{text}. {SHOWN}" if measured["has_impressions"] else text


def _gain(measured: Mapping[str, Any]) -> str:
    from karec.evaluate.tables import format_measure

    return format_measure(measured["value"], measured["ci"], signed=True)


def cascade_pages(
    dataset: Dataset,
    requests: PageRequests,
    run: Path,
    settings: Mapping[str, Any],
    project: Path,
    progress: Progress,
) -> NDArray[Any]:
    """Returns pages (U, K) of the cascade, published from ``run`` as of the start of the test days."""
    from karec.bundle import Bundle
    from karec.config import load_cascade, scene_names
    from karec.config.project import main_scene, set_up
    from karec.evaluate.pages import K, page_rows
    from karec.pipeline.deadline import usable_cores
    from karec.pipeline.types import Request

    user_ids = dataset.snapshot.users.ids[requests.users].tolist()
    with tempfile.TemporaryDirectory(prefix="karec-pages-") as folder:
        out = Path(folder)
        if (project / "karec.toml").exists():
            shutil.copyfile(project / "karec.toml", out / "karec.toml")
        config = set_up(dataset, run, settings, out, progress, until_ms=requests.start_ms)
        scenes, scene = scene_names(config), main_scene(dataset)
        scene = scene if scene in scenes else scenes[0]
        cascade = load_cascade(config, scene, Bundle.open(out / "bundles"))
        cascade = dataclasses.replace(cascade, side_effects=(), naming=None)

        def make_page(place: int) -> list[Any]:
            time_ms = int(requests.time_ms[place])
            request = Request(user_ids[place], K, scene, time_ms, request_id=f"page-{place}")
            return [item.item_id for item in cascade.run(request)]

        made: list[list[Any]] = []
        with ThreadPoolExecutor(usable_cores()) as pool:
            for page in pool.map(make_page, range(len(requests))):
                made.append(page)
                progress(len(made), len(requests), "pages of the cascade")
    return page_rows(dataset.snapshot.works, made)
