"""Off-policy estimates: unbiased over all random orders, joined from rank log and events, and the command."""

import json
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_bundle import TEXT
from small_bundle import publish_small_bundle

import karec
from karec.aggregates.events import Events, Head
from karec.cli import main
from karec.config import open_bundle
from karec.errors import DataError
from karec.experiments.off_policy import (
    METHODS,
    RandomPages,
    estimate_policy,
    find_random_pages,
    mean_over_requests,
)
from karec.logs.read import read_rank_log
from karec.logs.write import RankLogWriter
from karec.times import HOUR_MS

HEAD = Head(("click", "like"))


def pages_of(orders, outcome, k=2, users=None, logits=None):
    """``orders``: of each request, its candidates 0 … n − 1 as shown."""
    n = np.array([len(order) for order in orders])
    starts = np.r_[0, np.cumsum(n)]
    shown = np.array([starts[r] + np.array(order[:k]) for r, order in enumerate(orders)])
    outcomes = [[[outcome(r, order[p], p)] for p in range(k)] for r, order in enumerate(orders)]
    logits = np.zeros((starts[-1], 1), np.float32) if logits is None else logits
    user_id = np.arange(len(orders)) if users is None else np.array(users)
    fused = np.zeros(starts[-1], np.float32)
    outcomes = np.array(outcomes, np.float64)
    return RandomPages(user_id, starts, logits, ("click",), fused, shown, outcomes, ("click",))


def drawn_pages(seed, n_requests=400, n=4, k=3, per_user=2):
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(n) for _ in range(n_requests)]
    logits = rng.normal(size=(n_requests * n, 1)).astype(np.float32)
    p = 1 / (1 + np.exp(-logits.reshape(n_requests, n)))
    coins = rng.random((n_requests, n))
    users = np.arange(n_requests) // per_user
    return pages_of(orders, lambda r, i, _: float(coins[r, i] < p[r, i]), k, users, logits)


@pytest.mark.parametrize("method", ["ips", "dr"])
def test_estimate_is_unbiased_over_all_random_orders(method):
    value = np.array([[[0.2, 0.1], [0.9, 0.3], [0.5, 0.7]], [[1.0, 0.8], [0.1, 0.0], [0.4, 0.6]]])
    scores = np.array([0.3, 0.1, 0.2, -1.0, 5.0, 2.0])  # pages 0, 2 and 1, 2
    logits = np.array([[1], [-1], [0.5], [0.2], [2], [0]], np.float32)
    estimates = [
        estimate_policy(pages_of(orders, lambda r, i, p: value[r, i, p], logits=logits), scores).values[
            method
        ]
        for orders in product([*permutations(range(3))], repeat=2)
    ]
    expected = [[value[0, 0, 0], value[0, 2, 1]], [value[1, 1, 0], value[1, 2, 1]]]
    assert np.mean(estimates, axis=0)[..., 0] == pytest.approx(np.array(expected), abs=1e-12)


def test_policy_of_the_shown_order_gets_the_shown_outcomes():
    pages = drawn_pages(0)
    scores = np.zeros(pages.fused.shape)
    scores[pages.shown] = 10.0 - np.arange(3)
    policy = estimate_policy(pages, scores)
    assert (policy.n_matches == len(pages.user_id)).all()
    assert policy.values["snips"] == pytest.approx(pages.outcomes)


@given(seed=st.integers(0, 50), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_estimates_depend_only_on_the_order_of_scores(seed, scale, shift):
    pages = drawn_pages(seed, n_requests=60)
    scores = np.random.default_rng(seed).permutation(len(pages.fused)).astype(np.float64)
    one, other = estimate_policy(pages, scores), estimate_policy(pages, scale * scores + shift)
    for method in METHODS:
        np.testing.assert_array_equal(one.values[method], other.values[method])
    snips = one.values["snips"].mean(axis=0)
    assert ((snips > -1e-9) & (snips < 1 + 1e-9) | np.isnan(snips)).all()


def test_intervals_count_users_and_not_their_repeated_requests():
    one = drawn_pages(3, per_user=1)
    twice = pages_of(
        [order for order in (one.shown - one.starts[:-1, None]).tolist() for _ in range(2)],
        lambda r, i, p: one.outcomes[r // 2, p, 0],
        k=3,
        users=one.user_id.repeat(2),
    )
    positives = np.full((3, 1), 100)
    first, second = (mean_over_requests(pages, pages.outcomes, positives) for pages in (one, twice))
    assert second.value == pytest.approx(first.value)
    assert second.high == pytest.approx(first.high)
    n, y = len(one.user_id), one.outcomes.sum(axis=1)[:, 0]
    assert first.high[-1, 0] - first.value[-1, 0] == pytest.approx(1.959964 * y.std(ddof=1) / n**0.5)


def test_few_positives_or_one_user_give_no_interval():
    pages = drawn_pages(1)
    positives = np.array([[19.0], [20.0], [0.0]])
    estimates = mean_over_requests(pages, pages.outcomes, positives)
    assert np.isnan(estimates.low[:, 0]).tolist() == [True, False, True, False]
    alone = replace(pages, user_id=np.zeros_like(pages.user_id))
    assert np.isnan(mean_over_requests(alone, pages.outcomes, positives + 99).low).all()


def test_snips_is_nan_and_ips_0_at_a_position_without_a_match():
    pages = pages_of([(0, 1), (1, 0)], lambda r, i, p: 1.0)
    policy = estimate_policy(pages, np.array([0.0, 1.0, 1.0, 0.0]))  # the reverse of each
    assert np.isnan(policy.values["snips"]).all() and (policy.values["ips"] == 0).all()
    assert policy.n_matches.tolist() == [0, 0]


@pytest.mark.parametrize("scores", [np.zeros(3), np.array([0.0, np.nan, 0.0, 0.0])])
def test_estimate_policy_refuses_scores_of_another_shape_or_nan(scores):
    pages = pages_of([(0, 1), (1, 0)], lambda r, i, p: 1.0)
    with pytest.raises(ValueError, match=r"^scores: shape .*expected \(4,\) finite numbers"):
        estimate_policy(pages, scores)


def write_log(folder, rows):
    """``rows``: (request, user, ranked items, page, random items)."""
    with RankLogWriter(folder, ("click",)) as writer:
        for at, (request, user, items, page, random_ids) in enumerate(rows):
            scores = np.linspace(1, 0, len(items), dtype=np.float32)
            writer.append(
                request_id=request,
                user_id=user,
                item_ids=np.array(items),
                scene="home",
                time_ms=1000 + at,
                model_version=1,
                logits=scores[:, None],
                fused=scores,
                page_ids=np.array(page),
                random_ids=random_ids,
            )
    return read_rank_log(folder, ("click",))


def events_of(rows):
    """``rows``: (kind, user, item, bits of labels, request)."""
    users, items, bits, requests = (np.array(column) for column in list(zip(*rows, strict=True))[1:])
    events = [
        Events.from_columns(
            row[0],
            source=np.array([1], np.uint64),
            number=np.array([i], np.uint64),
            time_ms=np.array([2000 + i]),
            user_id=users[i : i + 1],
            item_id=items[i : i + 1],
            labels=bits[i : i + 1].astype(np.uint64),
            request_id=requests[i : i + 1].astype(object),
        )
        for i, row in enumerate(rows)
    ]
    return Events.concatenate(events)


LOG = [
    ("a", 5, [1, 2, 3, 4], [3, 1], [1, 2, 3]),  # 2 did not reach the page
    ("b", 6, [1, 2, 3], [2, 3], [2, 3, 9]),  # 9 was not ranked
    ("c", 5, [4, 5], [4, 5], []),  # not random
    ("d", 7, [6, 7, 8], [8, 6], [6, 7, 8]),  # never reported
    ("e", 7, [6, 7, 8], [8], [6, 7, 8]),  # a short page
    ("f", 8, [1, 2, 3], [2, 1, 3], [1, 2]),
]
EVENTS = [
    ("impression", 5, 3, 0b00, "a"),
    ("label", 5, 3, 0b11, ""),  # belongs to the impression before it
    ("impression", 7, 8, 0b01, "e"),
    ("impression", 8, 2, 0b01, "f"),
    ("impression", 8, 1, 0b00, "f"),
    ("label", 8, 2, 0b10, ""),
    ("impression", 6, 2, 0b01, "b"),
]


def test_random_pages_join_log_and_events_and_count_what_is_left_out(tmp_path):
    pages = find_random_pages(write_log(tmp_path, LOG), HEAD, events_of(EVENTS), ["like", "click"])
    assert pages.user_id.tolist() == [5, 8] and pages.starts.tolist() == [0, 3, 5]
    assert pages.shown.tolist() == [[2, 0], [4, 3]]
    assert pages.outcomes.tolist() == [[[1, 1], [0, 0]], [[1, 1], [0, 0]]]
    assert pages.logits[:, 0] == pytest.approx([1, 2 / 3, 1 / 3, 1, 0.5])
    assert pages.notes == (
        "1 of 5 random requests without some of their random candidates in the log, left out",
        "1 of 5 random requests with fewer than 2 random positions, left out",
        "1 of 5 random requests without a reported impression, left out",
    )
    short = find_random_pages(write_log(tmp_path, []), HEAD, events_of(EVENTS), ["click"], n_positions=1)
    assert short.user_id.tolist() == [5, 7, 8] and short.outcomes[:, 0, 0].tolist() == [1, 1, 1]


def test_random_pages_refuse_a_log_without_random_positions(tmp_path):
    with pytest.raises(DataError, match=r"no random positions\. Add .*random_position"):
        find_random_pages(write_log(tmp_path, LOG[2:3]), HEAD, events_of(EVENTS), ["click"])


def test_random_pages_refuse_unknown_labels_and_pages_without_events(tmp_path):
    log = write_log(tmp_path, LOG)
    with pytest.raises(ValueError, match=r"no \['buy'\], only \['click', 'like'\]"):
        find_random_pages(log, HEAD, events_of(EVENTS), ["buy"])
    with pytest.raises(DataError, match=r"without a reported impression, left out\. Report impressions"):
        find_random_pages(log, HEAD, Events.empty(), ["click"])
    with pytest.raises(DataError, match="fewer than 3 random positions"):
        find_random_pages(log, HEAD, events_of(EVENTS), ["click"], n_positions=3)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A service whose pages are all in random order, and the clicks of users on even items."""
    folder = tmp_path_factory.mktemp("random")
    publish_small_bundle(folder)
    path = folder / "karec.toml"
    steps = '{{ use = "top_k", k = 8 }}, {{ use = "random_position", share = 1.0, n = 8 }}'
    text = TEXT.replace('{{ use = "top_k" }}', steps).replace(
        "limits =",
        'show_again = true\nside_effects = [{{ use = "rank_log", folder = "rank_log" }}]\nlimits =',
    )
    path.write_text(text.format(url="sqlite:online.db", more=""))
    start = open_bundle(path).snapshot.time_ms
    with karec.open(path, scene=None, reload=True) as swap:
        pages = [
            swap.run(karec.Request(user, 5, "home", start + moment * HOUR_MS))
            for moment, user in product(range(4), range(1, 13))
        ]
        rows = [
            {
                "event": "impression",
                "user_id": page.request.user_id,
                "item_id": item.item_id,
                "request_id": page.request.request_id,
                "time_ms": page.request.time_ms,
                "labels": ["click"] if item.item_id % 2 == 0 else [],
            }
            for page in pages
            for item in page
        ]
        assert swap.record(rows, now_ms=start + 4 * HOUR_MS).refused == {}
    return path


def test_command_estimates_the_clicks_of_other_fusion_weights(config, capsys):
    command = ["evaluate", "off-policy", str(config), "--weight", "like=1"]
    assert main([*command, "--label", "click", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["requests"] == 48 and report["notes"] == []
    *positions, page = report["labels"]["click"]
    assert [row["position"] for row in positions] == [0, 1, 2, 3, 4] and page["position"] == "page"
    log = read_rank_log(config.parent / "rank_log", ("like",))
    clicks = []
    for rows in log.requests():
        best = rows.take(np.isfinite(rows.propensity))
        order = np.argsort(-best.logits[:, 0], kind="stable")
        at = best.page_position[order]  # where the page has the p-th best
        clicks.append([8 * (at[p] == p and best.item_id[order[p]] % 2 == 0) for p in range(5)])
    for row, expected in zip(positions, np.mean(clicks, axis=0), strict=True):
        assert row["ips"]["value"] == pytest.approx(expected)
    shown = log.take(log.page_position >= 0)
    assert page["random"]["value"] == pytest.approx((shown.item_id % 2 == 0).sum() / 48)
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "click of 100 requests: 48 random pages, 12 users" in output
    low, _ = page["random"]["ci"]
    assert f"{100 * page['random']['value']:.2f} [{100 * low:.2f}," in output
    assert main([*command, "--positions", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["labels"]["click"]) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weight", "like"], "'like', expected TASK=NUMBER"),
        (["--weight", "buy=1"], "does not predict"),
        (["--weight", "like=-1"], "must be ≥ 0"),
        (["--weight", "like=1", "--scene", "city", "--days", "1"], "no random positions"),
        (["--weight", "like=1", "--label", "buy"], "no ['buy']"),
    ],
)
def test_command_refuses_wrong_weights_and_scenes(config, words, message, capsys):
    assert main(["evaluate", "off-policy", str(config), *words]) != 0
    assert message in capsys.readouterr().err
