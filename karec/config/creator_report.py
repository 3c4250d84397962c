"""Reports on the works of one creator, from the logs of a service: `karec inspect CONFIG --creator ID`.

Events      impressions, outcomes, follows; blocks, deletions and mutes
Rank log    ranked and shown works, their positions and sources
Counters    current effect of exposure control on the works; the store has no earlier values

Works that filters and quotas drop before the logged stage are in no log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import (
    BLOCK,
    DELETE,
    FOLLOW,
    IMPRESSION,
    LABEL,
    MUTE,
    NONE,
    PLAY,
    UNFOLLOW,
    UPLOAD,
    WORK,
    Events,
    Head,
)
from karec.bundle import Bundle
from karec.catalog.schema import CREATOR
from karec.config.erase import parse_ids
from karec.config.online_store import read_event_source, read_online_config
from karec.config.scenes import Config
from karec.errors import DataError
from karec.exposure.constraints import ExposureSettings
from karec.exposure.effects import constraint_effects
from karec.exposure.shared_counters import read_counters
from karec.logs.parts import SOURCES, LogFolder, arrow_parquet, read_part, to_log_folder
from karec.logs.read import find_parts
from karec.object_store import is_url
from karec.online.lifecycle import ItemLifecycle, select_lifecycle_events
from karec.online.read_log import read_log
from karec.online.store.open import open_store
from karec.samples.outcomes import add_feedback, find_exposures
from karec.times import DAY_MS
from karec.toml import convert

Row = dict[str, str | int | float]


@dataclass(frozen=True)
class CreatorReport:
    """Tables about the works of a creator. A row is {column: cell}.

    facts        numbers by name
    impressions  from events, for each scene: impressions, users, mean position, counts of labels, play time
    ranks        from rank logs, for each scene: requests that ranked works; ranked and shown works; mean
                 positions of shown works by the logged score and on the page; `left out`: works that the
                 score puts on the page and later steps removed; `raised`: works that only later steps put
                 on the page
    sources      shown works that each source found
    exposure     current effect of each constraint on scores, in standard deviations of a request's scores
    """

    facts: Mapping[str, int | str]
    impressions: list[Row]
    ranks: list[Row]
    sources: list[Row]
    exposure: list[Row]


def report_creator(path: Path, creator_id: str, *, days: float) -> CreatorReport:
    """Returns the report on a creator of the karec.toml at `path`, from the newest `days` of its logs.

    Raises ConfigError without an online store, DataError for a creator without works, ValueError for an id
    that is not of the platform's kind.
    """
    config = read_online_config(path)
    assert config.online is not None
    bundle = Bundle.open(config.follow_bundle(), verify=False)
    creator = int(parse_ids(bundle, "creator", [creator_id])[1][0])
    head, events = read_log(read_event_source(path))
    uploads = events.take(
        (events.kind == UPLOAD) & (events.creator_id == creator) & (events.item_type == WORK)
    )
    works = bundle.snapshot.works
    ids = np.union1d(works.ids[works.columns[CREATOR] == creator], uploads.item_id)
    if not len(ids):
        raise DataError(f"{path}: no work of the creator {creator_id} in the bundle or in the events")
    since_ms = int(events.time_ms.max(initial=0) - days * DAY_MS)
    recent = events.take(events.time_ms > since_ms)
    tables = [table for log in _rank_logs(config) for table in _rows_of(log, ids, since_ms)]
    return CreatorReport(
        {
            "creator": creator_id,
            "from": f"{np.datetime64(since_ms, 'ms')} UTC" if len(events) else "",
            "works": len(ids),
            "works since the bundle": int((~np.isin(ids, works.ids)).sum()),
            **_lifecycle_facts(events, creator, ids),
            **{
                name: int(((recent.kind == kind) & (recent.creator_id == creator)).sum())
                for name, kind in (("follows", FOLLOW), ("unfollows", UNFOLLOW), ("users who muted", MUTE))
            },
        },
        [*_impressions(head, recent, ids)],
        *_ranks_and_sources(tables),
        [*_exposure(config, bundle, ids)],
    )


def _lifecycle_facts(events: Events, creator: int, ids: NDArray[Any]) -> dict[str, int | str]:
    own = select_lifecycle_events(events)
    is_own = np.isin(own.item_id, ids) | ((own.item_id == NONE) & (own.creator_id == creator))
    lives = ItemLifecycle().apply(own.take(is_own), Counter())
    block = lives.creator_blocks.get(creator)
    blocked = [life for life in lives.items.values() if life.block is not None and life.block[1] == BLOCK]
    return {
        "creator is blocked": "yes" if block is not None and block[1] == BLOCK else "no",
        "blocked works": len(blocked),
        "deleted works": sum(
            life.presence is not None and life.presence[1] == DELETE for life in lives.items.values()
        ),
    }


def _impressions(head: Head, events: Events, ids: NDArray[Any]) -> Iterator[Row]:
    own = events.take((events.item_type == WORK) & np.isin(events.item_id, ids))
    shown = own.take(own.kind == IMPRESSION)
    feedback = own.take((own.kind == LABEL) | (own.kind == PLAY))
    bits, play_ms = add_feedback(shown, feedback, find_exposures(shown, feedback))
    for scene in np.unique(shown.scene).tolist():
        rows = shown.scene == scene
        yield {
            "scene": head.scenes[scene] if 0 <= scene < len(head.scenes) else "unknown",
            "impressions": int(rows.sum()),
            "users": len(np.unique(shown.user_id[rows])),
            "mean position": _mean(shown.position[rows & (shown.position >= 0)]),
            **{
                label: int((bits[rows] >> np.uint64(bit) & np.uint64(1)).sum())
                for bit, label in enumerate(head.labels)
            },
            "play, s": float(play_ms[rows].sum() / 1000),
        }


def _ranks_and_sources(tables: Sequence[Any]) -> tuple[list[Row], list[Row]]:
    ranks, sources = list[Row](), list[Row]()
    if not tables:
        return ranks, sources
    table = arrow_parquet().concat_tables(tables)
    request, scenes, rank, page = (
        table[name].to_numpy() for name in ("request_id", "scene", "position", "page")
    )
    place = table["page_position"].fill_null(-1).to_numpy()
    for scene in np.unique(scenes).tolist():
        rows = scenes == scene
        shown = rows & (place >= 0)
        row: Row = {"scene": scene, "requests": len({*request[rows]}), "ranked": int(rows.sum())}
        row |= {"shown": int(shown.sum()), "by score": _mean(rank[shown]), "on the page": _mean(place[shown])}
        row["left out"] = int((rows & (rank < page) & (place < 0)).sum())
        row["raised"] = int((shown & (rank >= page)).sum())
        ranks.append(row)
        texts = table[SOURCES].to_numpy()[shown]
        counts = Counter(name for text in texts for name in text.split(";") if name)
        sources += [{"scene": scene, "source": name, "shown": n} for name, n in counts.most_common()]
    return ranks, sources


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _rank_logs(config: Config) -> list[LogFolder]:
    """Returns the rank logs of all scenes: the URL that collects those of all hosts, or the folder."""
    steps = [step for name in config.scenes for step in config.scene(name).side_effects]
    places = [step.get("url", step["folder"]) for step in steps if step["use"] == "rank_log"]
    folder = config.path.absolute().parent
    return [to_log_folder(one if is_url(one) else str(folder / one)) for one in dict.fromkeys(places)]


def _rows_of(folder: LogFolder, ids: NDArray[Any], since_ms: int) -> Iterator[Any]:
    """Yields the rows of ``ids`` of each part, with the length of their page as column `page`."""
    compute = arrow_parquet().compute
    for part in find_parts(folder):
        table = read_part(part, ())
        is_recent = compute.and_(compute.greater(table["time_ms"], since_ms), compute.invert(table["shadow"]))
        table = table.filter(compute.and_(is_recent, compute.equal(table["item_type"], WORK)))
        own = table.filter(compute.is_in(table["item_id"], arrow_parquet().array(ids)))
        last = table.group_by("request_id").aggregate([("page_position", "max")])
        last = dict(zip(*(column.to_pylist() for column in last.itercolumns()), strict=True))
        page = [0 if last[one] is None else last[one] + 1 for one in own["request_id"].to_pylist()]
        yield own.append_column("page", arrow_parquet().array(page, arrow_parquet().int64()))


def _exposure(config: Config, bundle: Bundle, ids: NDArray[Any]) -> Iterator[Row]:
    with bundle.index.pinned() as view:
        rows = np.asarray(view.lookup(ids))
        known = ids[rows >= 0]
        columns = {name: view.gather(name, rows[rows >= 0]) for name in bundle.index.columns}
    with closing(open_store(read_event_source(config.path).url, Path())) as store:
        for name in config.scenes:
            scene = config.scene(name)
            if scene.exposure is None or scene.item_type is not None:
                continue
            settings = convert(ExposureSettings, scene.exposure, scene.place["exposure"])
            counters = read_counters(store, name, settings)
            effects = constraint_effects(counters, settings, known, columns) if counters.n_pages else []
            for one in effects:
                change: Row = {"lowest change": -one.highest, "highest change": -one.lowest}
                yield {
                    "scene": name,
                    "constraint": one.constraint,
                    "works": one.n_items,
                    **change,
                    "state": one.state,
                }
