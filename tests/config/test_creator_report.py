"""The report for a creator, against a count over the pages and events that a service logged."""

import json
from itertools import product

import numpy as np
import pytest
from live_bundle import TEXT
from small_bundle import publish_small_bundle

import karec
from karec.cli import main
from karec.config import open_bundle
from karec.config.creator_report import report_creator
from karec.errors import ConfigError, DataError
from karec.times import DAY_MS, HOUR_MS

EXPOSURE = """
[scenes.home.exposure]
caps = [{ column = "creator_id", share = 0.05 }]
fairness = [{ weight = 2.0 }]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A karec.toml with logs, its pages, the creator with most works on them, and these works."""
    folder = tmp_path_factory.mktemp("creator")
    publish_small_bundle(folder)
    path = folder / "karec.toml"
    log = 'show_again = true\nside_effects = [{{ use = "rank_log", folder = "rank_log" }}]\nlimits ='
    rerank = (
        '{{ use = "top_k", k = 20 }},\n] }},\n{{ name = "rerank", steps = [{{ use = "dpp", diversity = 0.9 }}'
    )
    text = TEXT.replace("limits =", log).replace('{{ use = "top_k" }}', rerank)
    path.write_text(text.format(url="sqlite:online.db", more="") + EXPOSURE)
    works = open_bundle(path).snapshot.works
    creator_of = dict(zip(works.ids.tolist(), works.columns["creator_id"].tolist(), strict=True))
    start = open_bundle(path).snapshot.time_ms
    with karec.open(path, scene=None, reload=True) as swap:
        pages = [
            swap.run(karec.Request(user, 5, "home", start + moment * HOUR_MS))
            for moment, user in product(range(4), range(1, 13))
        ]
        creators = [creator_of[item.item_id] for page in pages for item in page]
        creator = max({*creators}, key=creators.count)
        own = [item for item, name in creator_of.items() if name == creator]
        rows = [
            {
                "event": "impression",
                "user_id": page.request.user_id,
                "item_id": item.item_id,
                "request_id": page.request.request_id,
                "time_ms": page.request.time_ms,
                "scene": "home",
                "position": item.position,
                "labels": ["click"] if item.position == 0 else [],
            }
            for page in pages
            for item in page
        ]
        first = next(row for row in rows if row["item_id"] in own)
        about = {"user_id": first["user_id"], "item_id": first["item_id"], "time_ms": first["time_ms"] + 1}
        rows += [
            {**about, "event": "label", "labels": ["like"]},
            {**about, "event": "play", "play_ms": 2_500},
            {"event": "follow", "user_id": 3, "creator_id": creator, "time_ms": start + HOUR_MS},
            {"event": "block", "item_id": own[-1], "time_ms": start + HOUR_MS},
        ]
        assert swap.record(rows, now_ms=start + 5 * HOUR_MS).refused == {}
    return path, pages, creator, own


def test_report_counts_impressions_positions_sources_and_outcomes(service):
    path, pages, creator, own = service
    report = report_creator(path, str(creator), days=2)
    shown = [(page, item) for page in pages for item in page if item.item_id in own]
    (home,) = report.impressions
    assert (home["scene"], home["impressions"]) == ("home", len(shown))
    assert home["users"] == len({page.request.user_id for page, _ in shown})
    assert home["mean position"] == pytest.approx(np.mean([item.position for _, item in shown]))
    assert home["click"] == sum(item.position == 0 for _, item in shown)
    assert home["like"] == 1 and home["play, s"] == 2.5
    (ranks,) = report.ranks
    ranked = [
        (page, rank, int(number))
        for page in pages
        for rank, number in enumerate(
            page.scored["rank"].ids[np.argsort(-page.scored["rank"].scores, kind="stable")]
        )
        if number in own
    ]
    on_page = [(page, rank) for page, rank, item in ranked if item in page.candidates.ids]
    assert (ranks["ranked"], ranks["shown"]) == (len(ranked), len(shown)) == (len(ranked), len(on_page))
    assert ranks["requests"] == len({page.request.request_id for page, *_ in ranked})
    assert ranks["by score"] == pytest.approx(np.mean([rank for _, rank in on_page]))
    assert ranks["on the page"] == home["mean position"]
    assert ranks["raised"] == sum(rank >= len(page) for page, rank in on_page)
    assert ranks["left out"] == (
        sum(rank < len(page) for page, rank, _ in ranked) - len(on_page) + ranks["raised"]
    )
    assert ranks["left out"] > 0 and ranks["raised"] > 0
    names = [name for _, item in shown for name in item.sources]
    counts = {row["source"]: row["shown"] for row in report.sources}
    assert counts == {name: names.count(name) for name in names}


def test_report_names_follows_blocks_and_exposure_control(service):
    path, _, creator, own = service
    report = report_creator(path, str(creator), days=2)
    assert report.facts["works"] == len(own) and report.facts["works since the bundle"] == 0
    assert (report.facts["follows"], report.facts["unfollows"]) == (1, 0)
    names = ("creator is blocked", "blocked works", "deleted works")
    assert [report.facts[name] for name in names] == ["no", 1, 0]
    cap, fairness = report.exposure
    assert (cap["constraint"], cap["works"]) == ("cap creator_id", len(own)) and cap["highest change"] < 0
    assert fairness["constraint"] == "fairness of items" and 0 < fairness["works"] <= len(own)
    assert fairness["lowest change"] >= -2.0


def test_report_of_fewer_days_counts_less(service):
    path, _, creator, _ = service
    recent = report_creator(path, str(creator), days=HOUR_MS * 1.5 / DAY_MS)
    (all_days,) = report_creator(path, str(creator), days=2).ranks
    assert 0 < recent.ranks[0]["ranked"] < all_days["ranked"]
    assert recent.impressions[0]["impressions"] == recent.ranks[0]["shown"]


def test_inspect_prints_the_report(service, capsys):
    path, _, creator, _ = service
    words = ["inspect", str(path), "--creator", str(creator), "--days", "2"]
    assert main([*words, "--json"]) == 0
    sections = json.loads(capsys.readouterr().out)
    report = report_creator(path, str(creator), days=2)
    assert sections[0]["facts"]["creator"] == str(creator)
    assert sections[1]["rows"][0]["impressions"] == report.impressions[0]["impressions"]
    assert sections[3]["rows"][0]["source"] == report.sources[0]["source"]
    assert sections[4]["rows"][0]["constraint"] == "cap creator_id"
    assert main(words) == 0
    assert "cap creator_id" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("creator", "message"),
    [("99999999", "no work of the creator 99999999"), ("me", "--creator is me, expected integers")],
)
def test_report_refuses_a_creator_without_works_or_of_another_kind(service, creator, message):
    with pytest.raises((DataError, ValueError), match=message):
        report_creator(service[0], creator, days=2)


def test_report_refuses_a_platform_without_an_online_store(service, tmp_path):
    path = tmp_path / "karec.toml"
    text = service[0].read_text().replace('url = "sqlite:online.db"', "").replace("[online]", "")
    path.write_text(text.replace('"bundles"', f'"{service[0].parent}/bundles"'))
    with pytest.raises(ConfigError, match=r"no table \[online\]"):
        report_creator(path, "1", days=2)
