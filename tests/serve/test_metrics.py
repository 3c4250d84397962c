"""Metrics of workers: sums over processes, killed workers, names, and the rules and panels that use them."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from counting_worker import run_worker
from living_scenes import TEXT, make_config, publish_works
from prometheus_client.parser import text_string_to_metric_families
from running_service import RunningService
from tried_scene import tried_config

import karec
from karec.aggregates.events import Events, Head
from karec.config import open_hot_swap
from karec.evaluate.metrics.exposure import gini
from karec.online.event_files import EventFiles
from karec.pipeline.trace import FallbackReason, Shortfall, StepTrace, Trace
from karec.serve.metrics import COUNTERS, GAUGES, HISTOGRAMS, SHARED_MEMORY, Metrics, metrics_folder
from karec.times import DAY_MS

ROOT = Path(__file__).parents[2]
HOME = (("scene", "home"),)


def samples(metrics, name):
    """Returns {labels: value} of the samples with this name."""
    return samples_in(metrics.exposition().decode(), name)


def samples_in(text, name):
    families = text_string_to_metric_families(text)
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


@pytest.fixture
def config(tmp_path, platform):
    return make_config(tmp_path, platform)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "metrics"
    path.mkdir()
    return path


@pytest.fixture
def workers(folder, config):
    """Starts a worker that serves ``n`` pages; returns its process, its pid and its pipe."""
    started = []

    def start(n):
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        arguments = (folder, config, n, theirs)
        process = multiprocessing.get_context("spawn").Process(target=run_worker, args=arguments)
        process.start()
        started.append(process)
        assert ours.poll(60)
        return process, ours.recv(), ours

    yield start
    for process in started:
        process.kill()
        process.join()


def test_exposition_sums_all_workers_and_keeps_counts_of_a_killed_one(folder, workers):
    process, pid, _ = workers(3)
    workers(5)
    metrics = Metrics(folder)
    metrics.add_response("/v1/recommend", 200, 0.02)
    assert samples(metrics, "karec_page_seconds_count") == {HOME: 8}
    assert samples(metrics, "karec_refusals_total") == {(("reason", "too many"),): 2}
    assert samples(metrics, "karec_requests_in_flight") == {(("route", "/v1/recommend"),): 2}
    assert samples(metrics, "karec_workers") == {(): 3}
    os.kill(pid, signal.SIGKILL)
    process.join()
    for _ in range(2):  # its counts are merged once
        assert samples(metrics, "karec_page_seconds_count") == {HOME: 8}
        (responses,) = samples(metrics, "karec_response_seconds_count").values()
        assert responses == 9
        assert samples(metrics, "karec_requests_in_flight") == {(("route", "/v1/recommend"),): 1}
        assert samples(metrics, "karec_workers") == {(): 2}
        assert samples(metrics, "karec_worker_deaths_total") == {(): 1}
        assert (("pid", str(pid)),) not in samples(metrics, "karec_worker_proportional_bytes")
    assert samples(metrics, "karec_worker_starts_total") == {(): 3}
    metrics.count_death(pid)
    assert samples(metrics, "karec_worker_deaths_total") == {(): 1}


def test_files_of_ended_workers_are_merged_into_one_per_type(folder, workers):
    metrics = Metrics(folder)
    n_files = []
    for n_ended in range(1, 4):
        process, pid, pipe = workers(1)
        if n_ended == 2:
            pipe.send("close")
        else:
            os.kill(pid, signal.SIGKILL)
        process.join()
        assert samples(metrics, "karec_page_seconds_count") == {HOME: n_ended}
        n_files.append(len(list(folder.glob("*.db"))))
    assert len(set(n_files)) == 1
    # a worker that closed is not a death
    assert samples(metrics, "karec_worker_deaths_total") == {(): 2}


def test_file_of_a_worker_killed_while_it_made_it_is_skipped(folder, caplog):
    metrics = Metrics(folder)
    ended = subprocess.Popen(["true"])
    ended.wait()
    (folder / f"counter_{ended.pid}.db").touch()
    assert samples(metrics, "karec_worker_starts_total") == {(): 1}
    assert "counts of a worker are lost" in caplog.text
    assert not (folder / f"counter_{ended.pid}.db").exists()


def test_page_counts_steps_fallbacks_and_degradations(folder):
    reason = FallbackReason("rank", 2.0, 8.0)
    steps = (
        StepTrace("recall", "popular", "source", -1, 8, 0.5, failure="late"),
        StepTrace("rank", "as_city", "filter", 6, 5, 0.5, fallback=reason),
        StepTrace("rank", "top_k", "selector", 5, 3, 4.0, fallback=reason),
    )
    page = SimpleNamespace(
        request=karec.Request(1, scene="home"),
        trace=Trace(steps),
        degraded=("rank: fallback", "recall.popular"),
        shortfall=Shortfall(10, 3, "rank.top_k", "selected", ""),
        is_cold_start=True,
    )
    metrics = Metrics(folder)
    metrics.count_page(page, 0.005)

    def of_step(stage, step):
        return (("scene", "home"), ("stage", stage), ("step", step))

    assert samples(metrics, "karec_step_input_items_total")[of_step("recall", "popular")] == 0
    assert samples(metrics, "karec_step_output_items_total")[of_step("rank", "as_city")] == 5
    assert samples(metrics, "karec_step_seconds_sum")[of_step("rank", "top_k")] == 0.004
    assert samples(metrics, "karec_step_failures_total") == {of_step("recall", "popular"): 1}
    assert samples(metrics, "karec_step_fallbacks_total") == {(("scene", "home"), ("stage", "rank")): 1}
    assert len(samples(metrics, "karec_page_degradations_total")) == 2
    for name in ("degraded", "underfilled", "cold_start"):
        assert samples(metrics, f"karec_pages_{name}_total") == {HOME: 1}


def test_observe_counts_swaps_and_side_effects_of_replaced_versions(folder, config):
    metrics = Metrics(folder)
    with open_hot_swap(config, None) as hot_swap:
        for n_requests, recall in ((3, 8), (2, 7), (4, 6)):
            for _ in range(n_requests):
                hot_swap.run(karec.Request(1, k=3))
            config.write_text(TEXT.replace("recall = 8", f"recall = {recall}"))
            hot_swap.reload()
            metrics.observe(hot_swap)
        config.write_text("bundle = ")
        with pytest.raises(karec.KarecError):
            hot_swap.reload()
        metrics.observe(hot_swap)
        metrics.observe(hot_swap)
    key = (("scene", "home"), ("side_effect", "PageRecorder"))
    assert samples(metrics, "karec_side_effect_pages_total")[key] == 9
    swaps = samples(metrics, "karec_bundle_swaps_total")
    assert swaps == {(("result", "done"),): 2, (("result", "refused"),): 1}
    bundle = (("bundle", "v0000000007"), ("model_version", "7"))
    assert samples(metrics, "karec_bundle_workers") == {bundle: 1}


def test_bundle_that_is_replaced_has_no_workers(folder, config, platform):
    metrics = Metrics(folder)
    with open_hot_swap(config, None) as hot_swap:
        metrics.observe(hot_swap)
        publish_works(config.parent / "bundles", platform, 8)
        assert hot_swap.reload()
        metrics.observe(hot_swap)
    n_workers = {dict(key)["bundle"]: n for key, n in samples(metrics, "karec_bundle_workers").items()}
    assert n_workers == {"v0000000007": 0, "v0000000008": 1}


def test_service_counts_waits_and_replaces_a_killed_worker(tmp_path):
    config = tried_config(tmp_path, "\n[serve]\nworkers = 2\nmax_queue_ms = 60_000\n")
    with RunningService(config) as service, ThreadPoolExecutor(16) as pool:

        def read(name, **labels):
            """Returns the sum of the samples that have these labels."""
            found = samples_in(service.client.get("/metrics").text, f"karec_{name}")
            return sum(value for key, value in found.items() if labels.items() <= dict(key).items())

        service.wait_until(lambda: read("workers") == 2)
        answers = pool.map(lambda user: service.post("/v1/recommend", {"user_id": user}), range(100))
        assert {answer.status_code for answer in answers} == {200}
        of_route = {"route": "/v1/recommend", "status": "200"}
        # a response is counted after its last byte
        service.wait_until(lambda: read("response_seconds_count", **of_route) == 100)
        assert read("page_seconds_count") == 100
        assert read("queue_wait_seconds_count", queue="recommend") == 100
        # 16 clients share the threads of two workers: some wait, and the response includes the wait
        wait_s = read("queue_wait_seconds_sum", queue="recommend")
        assert wait_s > 0 and read("response_seconds_sum", **of_route) >= wait_s + read("page_seconds_sum")
        assert read("requests_in_flight", route="/v1/recommend") == 0
        memory = samples_in(service.client.get("/metrics").text, "karec_worker_proportional_bytes")
        os.kill(int(dict(next(iter(memory)))["pid"]), signal.SIGKILL)
        service.wait_until(lambda: read("worker_deaths_total") == 1 and read("workers") == 2)
        assert read("page_seconds_count") == 100 and read("worker_starts_total") == 3


def test_folder_is_removed_at_the_end_and_after_a_kill_by_the_next_service():
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = SHARED_MEMORY / f"karec-metrics-{ended.pid}-test"
    left.mkdir()
    with metrics_folder() as folder, metrics_folder() as other:
        assert folder.is_dir() and other.is_dir() and folder != other
        assert not left.exists() and os.environ["PROMETHEUS_MULTIPROC_DIR"] == str(other)
    assert not folder.exists() and not other.exists()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_exposition(folder, workers):
    workers(2)
    metrics = Metrics(folder)
    metrics.count_events(3, {"no user": 1})
    metrics.add_queue_wait("events", 0.001)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics.exposition(), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def queries():
    """Returns the PromQL expressions of the dashboard and of the alert rules."""
    dashboard = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    rules = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text())["groups"][0]["rules"]
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return [*panels, *(rule["expr"] for rule in rules)]


def labels_by_sample():
    """Returns {name of a sample: its labels} of every metric."""
    histograms = {
        f"{name}_{end}": (*labels, "le")
        for name, (_, _, labels) in HISTOGRAMS.items()
        for end in ("bucket", "count", "sum")
    }
    gauges = {name: (*labels, "pid") for name, (_, _, labels) in GAUGES.items()}
    return {f"{name}_total": labels for name, (_, labels) in COUNTERS.items()} | gauges | histograms


def test_exposition_has_every_metric_of_dashboard_and_alerts(folder, workers):
    workers(1)
    exposition = Metrics(folder).exposition().decode()
    described = set(re.findall(r"# TYPE (\w+) ", exposition))
    used = set(re.findall(r"karec_\w+", " ".join(queries())))
    assert len(used) > 30 and used <= labels_by_sample().keys(), used - labels_by_sample().keys()
    for metric in (*(f"{name}_total" for name in COUNTERS), *GAUGES, *HISTOGRAMS):
        assert any(name.startswith(metric) for name in used), f"{metric} is in no panel and no alert"
    # what the worker did is described: pages, steps, responses, bundle, memory
    assert {"karec_page_seconds", "karec_step_seconds", "karec_response_seconds"} <= described
    assert {"karec_bundle_workers", "karec_worker_proportional_bytes", "karec_workers"} <= described


def test_queries_group_by_labels_of_their_metric():
    grouped = [match for query in queries() for match in re.findall(r"by \(([^)]*)\) \((.*)", query)]
    assert len(grouped) > 20
    for names, rest in grouped:
        metric = re.search(r"karec_\w+", rest).group()
        assert set(names.split(", ")) <= {*labels_by_sample()[metric], "instance"}, (names, metric)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_alert_rules():
    subprocess.run(["promtool", "check", "rules", "--lint-fatal", ROOT / "deploy" / "alerts.yml"], check=True)


def test_documented_query_returns_gini_and_reach_of_creators(tmp_path):
    times_ms = np.array([20_000] * 5 + [19_999, 20_000]) * DAY_MS + 1
    kinds = np.array([0] * 6 + [1])  # the last event is a label
    events = Events.from_columns(
        kinds,
        time_ms=times_ms,
        source=1,
        number=np.arange(len(kinds)),
        user_id=7,
        item_id=[10, 10, 10, 11, 20, 30, 30],
    )
    files = EventFiles(str(tmp_path / "events"))
    for day in (19_999, 20_000):
        files.write(day, iter([events.take(times_ms // DAY_MS == day)]), Head(("click",)))
    creators = {10: 1, 11: 1, 20: 2, 30: 3, 40: 4}
    pq.write_table(
        pa.table({"item_id": [*creators], "creator_id": [*creators.values()]}), tmp_path / "items.parquet"
    )
    text = (ROOT / "docs" / "online-features.md").read_text(encoding="utf-8")
    (query,) = re.findall(r"```sql[^\n]*\n(.*?)```", text, re.DOTALL)
    query = query.replace("'events/", f"'{tmp_path}/events/").replace("'items.", f"'{tmp_path}/items.")
    n_creators, reach, found = duckdb.sql(query).fetchall()[0]
    assert (n_creators, reach) == (4, 0.75)
    assert found == pytest.approx(gini(np.array([4, 1, 1, 0])))
