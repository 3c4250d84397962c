"""Three services behind haproxy share one Valkey server and one bundle URL, and nothing else."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import httpx
import numpy as np
import pytest
from small_bundle import write_next_run
from three_hosts import ServiceHost, make_impression, make_text, wait_until

from karec.bundle import Bundle
from karec.catalog.table import Table
from karec.client import Client, Problem, Unreachable
from karec.object_store import ObjectFolder
from karec.refresh.publish_run import publish

USERS = range(1, 13)


@contextmanager
def traffic(hosts):
    """Posts impressions through haproxy until the block ends. Yields the rows that were acknowledged."""
    acknowledged, is_over = [], threading.Event()

    def post(user_id):
        with Client(hosts.proxy.url, timeout_s=60, retries=100) as client:
            for item_id in hosts.snapshot.works.ids.tolist() * 1000:
                if is_over.is_set():
                    return
                row = make_impression(user_id, item_id)
                if client.record([row]).events == 1:
                    acknowledged.append(row)

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(post, user_id) for user_id in USERS[:4]]
        try:
            wait_until(lambda: len(acknowledged) >= 20)
            yield acknowledged
            n = len(acknowledged)
            wait_until(lambda: len(acknowledged) >= n + 20)
        finally:
            is_over.set()
        for result in results:
            result.result()


def publish_bundle_with_label(hosts, label, root):
    """Publishes the bundle of the hosts with counters of one more label."""
    bundle = Bundle.open(hosts.folder / "bundles", verify=False)
    users = bundle.snapshot.users
    columns = {**users.columns, f"count_{label}": np.zeros(len(users))}
    snapshot = replace(bundle.snapshot, users=Table(users.ids, columns))
    publish(write_next_run(bundle, root.parent / "run", bundle.model_version), snapshot, root)


def assert_each_event_is_stored_once(hosts, rows):
    with Client(hosts.proxy.url, timeout_s=60, retries=100) as client:
        client.record(rows[:100])  # a second call with the same ids changes nothing
    ids = hosts.stored_event_ids()
    assert len(ids) == len(set(ids))
    assert {row["event_id"] for row in rows} <= set(ids)


def test_event_on_one_host_is_in_the_next_page_of_another(hosts):
    a, b, _ = hosts.services
    item_id = b.get_items(1)[0]
    assert a.post("/v1/events", make_impression(1, item_id)).json()["events"] == 1
    wait_until(lambda: item_id not in b.get_items(1))


def test_block_on_one_host_acts_on_all(hosts):
    a, *others = hosts.services
    item_id = others[0].get_items(2)[0]
    assert a.post("/v1/items", {"event": "block", "item_id": item_id}).json()["events"] == 1
    for service in others:
        wait_until(lambda service=service: item_id not in service.get_items(2))
    pages = [service.get_items(user_id) for service in hosts.services for user_id in USERS]
    assert not any(item_id in page for page in pages)


def test_killed_host_loses_and_repeats_no_event(hosts):
    with traffic(hosts) as rows:
        hosts.services[0].stop()
        n = len(rows)
        wait_until(lambda: len(rows) >= n + 20)
        hosts.services[0].start()
    hosts.services[0].wait_until_ready()
    assert_each_event_is_stored_once(hosts, rows)


def test_haproxy_answers_while_a_host_is_paused(hosts):
    hosts.services[1].signal(signal.SIGSTOP)
    with Client(hosts.proxy.url, timeout_s=60, retries=100) as client:
        for user_id in USERS:
            assert client.recommend(user_id=user_id).items


def test_store_restart_loses_and_repeats_no_event(hosts):
    with traffic(hosts) as rows:
        hosts.valkey.restart()
    assert_each_event_is_stored_once(hosts, rows)


def test_paused_store_degrades_pages_by_name_and_refuses_events(hosts):
    a = hosts.services[0]
    hosts.valkey.pause()
    wait_until(lambda: "request.online_store" in a.get_page(3)["degraded"])
    assert a.get_page(3)["items"]
    with Client(f"http://{a.address}", retries=0) as client, pytest.raises((Problem, Unreachable)):
        client.record([make_impression(3, 1)])
    hosts.valkey.resume()
    wait_until(lambda: not a.get_page(3)["degraded"])


def test_bundle_rolls_through_all_hosts_without_a_mixed_page(hosts):
    old = hosts.services[0].get_page(4)["versions"]
    new_name = hosts.publish_next_version()
    seen = {old["bundle"]: old["model"], new_name: old["model"] + 1}
    pages = []

    def have_all_rolled():
        pages.extend(service.get_page(4)["versions"] for service in hosts.services)
        pages.append(httpx.post(f"{hosts.proxy.url}/v1/recommend", json={"user_id": 4}).json()["versions"])
        return all(page["bundle"] == new_name for page in pages[-4:])

    wait_until(have_all_rolled)
    assert {(page["bundle"], page["model"]) for page in pages} <= set(seen.items())


def test_rank_logs_of_all_hosts_reach_the_url(hosts):
    def ship_parts():
        for service in hosts.services:
            service.get_page(5)
        parts = ObjectFolder(hosts.rank_log_url).names(".parquet")
        return len({part.split("-")[1] for part in parts}) >= len(hosts.services)

    wait_until(ship_parts)


def test_host_is_not_ready_before_the_store_answers(hosts, tmp_path):
    hosts.valkey.pause()
    late = ServiceHost(tmp_path / "late", make_text(hosts.bundle_url, hosts.valkey.url))
    late.start()
    try:
        wait_until(lambda: late.client.get("/readyz").status_code == 503, late.read_log)
        wait_until(lambda: "valkey://" in late.read_log(), late.read_log)
        assert late.client.post("/v1/recommend", json={"user_id": 1}).status_code == 503
        hosts.valkey.resume()
        late.wait_until_ready()
    finally:
        late.stop()


def test_service_with_another_label_is_rejected_with_the_reason(hosts, tmp_path):
    publish_bundle_with_label(hosts, "gift", tmp_path / "bundles")
    text = make_text(str(tmp_path / "bundles"), hosts.valkey.url)
    other = ServiceHost(tmp_path / "other", text)
    other.start()
    try:
        wait_until(lambda: "cannot be served: the online store has" in other.read_log(), other.read_log)
        wait_until(lambda: other.process.poll() is not None or not other.is_ready(), other.read_log)
    finally:
        other.stop()
    assert hosts.services[0].is_ready()


@pytest.mark.long
def test_repeated_failures_lose_and_repeat_no_event(hosts):
    """Kills and pauses of hosts, pauses and restarts of the store, in a fixed order under traffic."""

    def pause(target_pause, resume):
        target_pause()
        time.sleep(2.0)  # longer than every timeout of the store's client
        resume()

    with traffic(hosts) as rows:
        for i in range(12):
            service = hosts.services[i % 3]
            n = len(rows)
            match i % 4:
                case 0:
                    service.restart()
                case 1:
                    pause(
                        lambda s=service: s.signal(signal.SIGSTOP), lambda s=service: s.signal(signal.SIGCONT)
                    )
                case 2:
                    hosts.valkey.restart()
                case 3:
                    pause(hosts.valkey.pause, hosts.valkey.resume)
            wait_until(lambda n=n: len(rows) >= n + 20)
    print(f"12 failures, {len(rows)} acknowledged events")  # noqa: T201
    assert_each_event_is_stored_once(hosts, rows)


@pytest.mark.long
def test_events_reach_the_next_page_of_another_host(hosts):
    a, b, _ = hosts.services
    delays_ms = []
    for user_id in USERS[4:]:  # the traffic of other tests shows all items to the first four
        for _ in range(3):
            item_id = b.get_items(user_id)[0]
            assert a.post("/v1/events", make_impression(user_id, item_id)).json()["events"] == 1
            seconds = wait_until(lambda u=user_id, i=item_id: i not in b.get_items(u))
            delays_ms.append(seconds * 1e3)
    delays_ms.sort()
    median_ms = delays_ms[len(delays_ms) // 2]
    print(f"in the next page of another host: median {median_ms:.0f}, max {delays_ms[-1]:.0f} ms")  # noqa: T201
