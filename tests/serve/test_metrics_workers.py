"""Any worker tells what all workers counted, also those that were killed."""

import json
import math
import multiprocessing
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from counting_worker import work
from hypothesis import given, settings
from hypothesis import strategies as st
from living_scenes import TEXT, begun_in
from prometheus_client.parser import text_string_to_metric_families

import karec
from karec.config import open_hot_swap
from karec.pipeline.trace import FallbackReason, StepTrace
from karec.serve.metrics import Metrics
from karec.serve.metrics.between_workers import Summed, Told, Workers
from karec.serve.metrics.counted import HISTOGRAM, MOST_NAMES, WIDTH, Counted, Seen
from karec.serve.metrics.folder import metrics_folder
from karec.serve.metrics.histogram import BINS, EDGES_MS, bins_of, cumulated, quantiles
from karec.serve.metrics.names import (
    ANSWER_SECONDS,
    ANSWERS,
    ECOSYSTEM,
    NAMED,
    READ,
    STAGE_SECONDS,
    STAGES,
    STEP_SECONDS,
    STEPS,
)
from karec.serve.metrics.standing import Standing

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana.json"
HISTOGRAMS = (ANSWER_SECONDS, STAGE_SECONDS, STEP_SECONDS)


def seen(scene="home", ms=5.0, degraded=(), failure=None):
    steps = (
        StepTrace("recall", "popular", "source", 0, 8, 1.0),
        StepTrace("recall", "merge", "merger", 8, 6, 0.5),
        StepTrace("rank", "top_k", "selector", 6, 3, ms, failure=failure),
    )
    return Seen(scene, steps, ms, 10, 3, degraded, False, True)


def values(text, name, **labels):
    """{labels: value} of the samples called ``name``."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                found[tuple(sorted(sample.labels.items()))] = sample.value
    return found


@pytest.fixture
def config(tmp_path, platform):
    return begun_in(tmp_path, platform)


def test_every_worker_tells_the_sum_and_a_killed_one_leaves_its_counters_and_takes_its_gauges(
    tmp_path, config
):
    spawned = multiprocessing.get_context("spawn")
    folder, workers = tmp_path / "metrics", []
    for worker, n in ((1, 3), (2, 5)):
        ours, theirs = spawned.Pipe()
        process = spawned.Process(target=work, args=(folder, worker, config, n, theirs), daemon=True)
        process.start()
        workers.append((process, ours))
    pids = [ours.recv() for _, ours in workers]
    with open_hot_swap(config, None) as live:
        metrics = Metrics(folder, 0)
        metrics.begin(live)
        metrics.answered(live.run(karec.Request(1, k=3)), 7.0)
        text = metrics.text()
        assert values(text, "karec_answers_total") == {(("scene", "home"),): 9}
        assert values(text, "karec_requests_total", status="200").popitem()[1] == 8
        assert values(text, "karec_refused_total").popitem()[1] == 2
        assert len(values(text, "karec_worker_rss_bytes")) == 3
        assert values(text, "karec_bundle").popitem()[1] == 3
        os.kill(pids[0], signal.SIGKILL)
        workers[0][0].join()
        for _ in range(2):  # it is added to those that ended once
            text = metrics.text()
            assert values(text, "karec_answers_total") == {(("scene", "home"),): 9}
            assert values(text, "karec_bundle").popitem()[1] == 2
            told = set(values(text, "karec_worker_rss_bytes"))
            assert told == {(("worker", "0"),), (("worker", "2"),)}
        workers[1][1].send(None)
        workers[1][0].join()
        status = metrics.status()
        assert [each["worker"] for each in status["processes"]] == ["0"]
        assert status["funnel"]["home"]["answers"] == 9
        json.dumps(status, allow_nan=False)
        metrics.close()
        assert Workers(folder, "9").all()[0] == [] and len(list((folder / "workers").iterdir())) == 1


def test_what_observers_saw_adds_up_over_versions_that_are_gone(config):
    counted = Counted()
    with open_hot_swap(config, None) as live:
        standing = Standing(live, "0")
        for asked, recall in ((3, 8), (2, 7), (4, 6)):
            for _ in range(asked):
                live.run(karec.Request(1, k=3))
            if recall == 7:  # what nobody read before the version went counts too
                standing.readings(counted)
            config.write_text(TEXT.replace("recall = 8", f"recall = {recall}"))
            live.reload()
        standing.readings(counted)
        standing.readings(counted)
    assert counted.named["karec_observer_seen"]["home", "Told"] == 9


def test_the_dashboard_asks_for_metrics_that_are_told_and_for_all_of_them(tmp_path, config):
    with open_hot_swap(config, None) as live:
        metrics = Metrics(tmp_path / "metrics")
        metrics.begin(live)
        metrics.answered(live.run(karec.Request(1, k=3)), 7.0)
        text = metrics.text().decode()
        metrics.close()
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    told |= {f"{metric.name}_{end}" for metric in HISTOGRAMS for end in ("bucket", "sum", "count")}
    told |= {f"{name}_bucket" for name in told if name.endswith("seconds")}
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    asked = set(re.findall(r"karec_\w+", " ".join(queries)))
    assert len(queries) > 30 and asked <= told, asked - told
    declared = {f"{name}_total" for group in (STEPS, STAGES, ANSWERS, NAMED) for name in group}
    declared |= {*READ, *ECOSYSTEM} | {f"{metric.name}_bucket" for metric in HISTOGRAMS}
    assert declared <= asked, declared - asked


def test_labels_that_a_query_groups_by_are_labels_of_the_metric():
    labels = {
        f"{name}_total": m.labels for group in (STEPS, STAGES, ANSWERS, NAMED) for name, m in group.items()
    }
    labels |= {name: m.labels for name, m in (READ | ECOSYSTEM).items()}
    labels |= {f"{m.name}_{end}": (*m.labels, "le") for m in HISTOGRAMS for end in ("bucket", "count")}
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            for by, inner in re.findall(r"sum by \(([^)]*)\) \((?:\w+\()?(karec_\w+)", target["expr"]):
                assert set(by.split(", ")) <= set(labels[inner]), target["expr"]


Times = st.lists(st.floats(0.001, 20_000), min_size=1, max_size=200)


@given(Times, st.floats(0.01, 0.99))
def test_quantiles_are_within_a_bin_of_those_of_the_times(ms, share):
    found = quantiles(np.bincount(bins_of(np.array(ms)), minlength=BINS), [share])[0]
    exact = float(np.quantile(ms, share, method="inverted_cdf"))
    assert math.isclose(found, np.clip(exact, EDGES_MS[0], EDGES_MS[-1]), rel_tol=2**0.25 - 1 + 1e-9)


@settings(max_examples=30)
@given(Times)
def test_what_prometheus_reads_counts_the_times_up_to_each_edge(ms):
    for edge, n in cumulated(np.bincount(bins_of(np.array(ms)), minlength=BINS), 4):
        bound = math.inf if edge == "+Inf" else float(edge) * 1e3
        near = [each for each in ms if not math.isclose(each, bound, rel_tol=1e-5)]
        assert (
            sum(each <= bound for each in near)
            <= n
            <= sum(each <= bound for each in near) + len(ms) - len(near)
        )


Answers = st.lists(st.tuples(st.sampled_from(["home", "city"]), st.floats(0.1, 100)), max_size=12)


def told_by(answers):
    counted = Counted()
    counted.fold([seen(scene, ms, ("rank.top_k",)) for scene, ms in answers], 1.0)
    total, recent = counted.total.tobytes(), counted.recent.tobytes()
    return Told(keys=counted.keys, total=total, recent=recent, named=counted.named)


@settings(max_examples=30)
@given(st.lists(Answers, min_size=1, max_size=4))
def test_workers_added_up_are_one_worker_that_answered_all(parts):
    summed, one = Summed(map(told_by, parts)), Summed([told_by([each for part in parts for each in part])])
    assert summed.named == one.named and summed.total.keys() == one.total.keys()
    for key, row in one.total.items():
        np.testing.assert_allclose(summed.total[key], row, rtol=1e-12)


def test_a_stage_has_what_its_first_step_had_and_leaves_what_its_last_step_left():
    counted = Counted()
    counted.fold([seen(failure="late")], 0.0)
    rows = {key: row.tolist()[:HISTOGRAM] for key, row in zip(counted.keys, counted.total, strict=True)}
    assert rows["home", "recall", "", ""] == [1, 8, 6, 0, 1.5]
    assert rows["home", "rank", "", ""] == rows["home", "rank", "top_k", "selector"] == [1, 6, 3, 1, 5.0]
    assert rows["home", "", "", ""] == [1, 10, 3, 0, 5.0]


def test_fallbacks_are_counted_by_stage():
    reason = FallbackReason("rank", 2.0, 8.0)
    steps = (
        StepTrace("recall", "merge", "merger", 8, 6, 0.5),
        StepTrace("rank", "as_city", "filter", 6, 5, 0.5, fallback=reason),
        StepTrace("rank", "top_k", "selector", 5, 3, 0.5, fallback=reason),
    )
    counted = Counted()
    counted.fold([Seen("home", steps, 2.0, 3, 3, ("rank: fallback",), False, False)] * 2, 0.0)
    assert counted.named["karec_no_time"] == {("home", "rank"): 2}
    calls = {key[1:3]: row[0] for key, row in zip(counted.keys, counted.total, strict=True) if key[2]}
    assert calls == {("recall", "merge"): 2, ("rank", "as_city"): 2, ("rank", "top_k"): 2}
    rows = {key: row.tolist()[:HISTOGRAM] for key, row in zip(counted.keys, counted.total, strict=True)}
    assert rows["home", "recall", "", ""] == [2, 16, 12, 0, 1.0]


def test_what_is_recent_fades_and_what_is_counted_stays():
    counted = Counted()
    counted.fold([seen()] * 4, 0.0)
    counted.fold([], 60.0)
    assert counted.total[:, 0].tolist() == [4.0] * len(counted.keys)
    np.testing.assert_allclose(counted.recent[:, 0], 4 / math.e)


def test_names_that_never_end_are_counted_together():
    counted = Counted()
    for number in range(10 * MOST_NAMES):
        counted.count("karec_degraded", ("home", f"step {number}"))
    names = counted.named["karec_degraded"]
    assert len(names) == MOST_NAMES + 1 and names["other", "other"] == 9 * MOST_NAMES
    with pytest.raises(ValueError, match="labels"):
        counted.count("karec_degraded", ("home",))


def test_a_file_of_another_version_or_a_damaged_one_is_left_out(tmp_path):
    workers = Workers(tmp_path, "0")
    workers.tell(told_by([("home", 1.0)]))
    for name, data in (("1-1-x", b"\x00 no"), ("2-2-x", b"")):
        (tmp_path / "workers" / f"{name}.told").write_bytes(data)
    living, ended = workers.all()
    assert len(living) == 1 and Summed([ended]).total == {} and WIDTH == HISTOGRAM + BINS


def test_the_folder_goes_with_the_service_and_that_of_a_killed_one_with_the_next(monkeypatch, tmp_path):
    monkeypatch.setattr("karec.serve.metrics.folder.IN_MEMORY", tmp_path)
    left = tmp_path / "karec-metrics-left"
    left.mkdir()
    (left / "service.lock").touch()
    with metrics_folder() as folder, metrics_folder() as other:
        assert folder.is_dir() and other.is_dir() and not left.exists()
    assert [*tmp_path.iterdir()] == []
