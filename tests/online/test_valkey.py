"""The Valkey store when its server fails, restarts or comes back from a backup; credentials and TLS."""

from __future__ import annotations

import logging
import random
import re
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from event_platform import HEAD, USERS, WORKS, events, platform
from valkey_server import PROGRAMS, REASON, ValkeyServer

from karec.aggregates.events import FOLLOW, IMPRESSION, LABEL, UNFOLLOW, Events
from karec.errors import ConfigError, Unavailable
from karec.online.apply_events import EventApplier
from karec.online.item_counters import ItemCounters
from karec.online.store import records
from karec.online.store.contents import StoreContents
from karec.online.store.online_store import START, Read, StaleCursor, StateUpdate
from karec.online.store.sqlite import SqliteStore
from karec.online.store.valkey import MAX_EVENTS, ValkeyStore
from karec.online.store.valkey_client import CA_FILE_VARIABLE, PASSWORD_VARIABLE, USER_VARIABLE
from karec.online.store.valkey_partitions import N_PARTITIONS, key_name

pytest.importorskip("valkey")
pytestmark = pytest.mark.skipif(not PROGRAMS, reason=REASON)
TIMEOUT_S = 30.0  # for calls that must succeed on a busy machine
SHORT_S = 1.0


@pytest.fixture
def start_server(tmp_path):
    """Returns a function: options → a server with a folder of its own."""
    servers = []

    def start(**options: str) -> ValkeyServer:
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        servers.append(ValkeyServer(folder, **{name.replace("_", "-"): v for name, v in options.items()}))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def impressions(numbers: list[int], user_ids: list[int]) -> Events:
    return Events.from_columns(
        "impression", source=1, number=numbers, time_ms=1_700_000_000_000, user_id=user_ids, item_id=70
    )


def count(events: Events, read: Read) -> StateUpdate:
    """Counts the events of users and of items."""
    entries = dict[bytes, bytes | None]()
    for letter, column in ((records.USER_COUNTERS, events.user_id), (records.WORK_COUNTERS, events.item_id)):
        ids, counts = np.unique(column, return_counts=True)
        keys = records.keys_of(letter, ids)
        for key, value, n in zip(keys, read(keys), counts.tolist(), strict=True):
            entries[key] = b"%d" % (int(value or 0) + n)
    return StateUpdate(entries, {}, np.ones(len(events), bool))


def user_count(store: ValkeyStore, user_id: int) -> int:
    (value,) = store.read_user(user_id, records.keys_of(records.USER_COUNTERS, np.array([user_id])))
    return int(value or 0)


def item_count(store: ValkeyStore) -> int:
    return sum(int(value) for _, value in store.snapshot([records.WORK_COUNTERS])[1])


def poll_to_end(store: ValkeyStore) -> Events:
    parts = [Events.empty()]
    cursor = START
    while len((stored := store.poll(cursor, 5000)).events):
        parts.append(stored.events)
        cursor = stored.cursor
    return Events.concatenate(parts)


def check_state_equals_replay(store: ValkeyStore) -> set[int]:
    """Returns the numbers of all events, each of which is counted once."""
    events = poll_to_end(store)
    numbers = set(events.number.tolist())
    assert len(numbers) == len(events)
    users = Counter(events.user_id.tolist())
    assert {user: user_count(store, user) for user in users} == users
    assert item_count(store) == len(events)
    return numbers


# --- a server that fails


@pytest.mark.parametrize("n_kills", [20, pytest.param(200, marks=pytest.mark.long)])
def test_killed_server_loses_no_acknowledged_event_and_counts_none_twice(start_server, n_kills):
    """Two writers send posts again until they are acknowledged; every fifth post they send once."""
    server = start_server()
    done = threading.Event()
    acknowledged = [set[int](), set[int]()]

    def write(writer: int) -> None:
        store = ValkeyStore(server.url, TIMEOUT_S)
        post = 0
        while not done.is_set():
            first = 10_000_000 * (writer + 1) + 4 * post
            events = impressions([*range(first, first + 4)], [1, 2, 3, 4])
            while True:
                try:
                    store.append(events, count)
                    acknowledged[writer].update(events.number.tolist())
                    break
                except Unavailable:
                    if post % 5 == 0:
                        break
            post += 1
        store.close()

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(2)]
    for writer in writers:
        writer.start()
    jitter = random.Random(0)
    try:
        for _ in range(n_kills):
            n_before = sum(map(len, acknowledged))
            _wait_until(lambda n=n_before: sum(map(len, acknowledged)) > n + 8)
            time.sleep(jitter.random() * 0.01)  # The kill hits any moment of an append.
            server.restart()
    finally:
        done.set()
        for writer in writers:
            writer.join()
    store = ValkeyStore(server.url, TIMEOUT_S)
    numbers = check_state_equals_replay(store)
    assert acknowledged[0] | acknowledged[1] <= numbers
    store.close()


def test_store_is_unavailable_until_its_server_restarts(start_server):
    server = start_server()
    store = ValkeyStore(server.url, TIMEOUT_S)
    store.append(impressions([1], [1]), count)
    server.kill()
    for use in (
        lambda: store.append(impressions([2], [1]), count),
        lambda: user_count(store, 1),
        lambda: store.read_items([b"u"]),
        lambda: store.poll(START, 1),
        lambda: store.snapshot([b"u"]),
        lambda: store.delete_events(lambda events: events.time_ms < 1, START),
        lambda: store.append_records("a", [b"1"]),
        lambda: store.read_records("a", 0),
        lambda: store.trim_records("a", 1),
        lambda: store.read_document("d"),
        lambda: store.write_document("d", b"1", None),
        lambda: store.acquire_lease("l", "a", 1),
        lambda: ValkeyStore(server.url, TIMEOUT_S),
    ):
        with pytest.raises(Unavailable, match=f"valkey://127.0.0.1:{server.port}/0 cannot be used"):
            use()
    server.start()
    assert store.append(impressions([1, 2], [1, 1]), count).tolist() == [False, True]
    assert user_count(store, 1) == 2
    store.close()


def test_paused_server_is_unavailable_and_counts_a_resent_event_once(start_server):
    server = start_server()
    store = ValkeyStore(server.url, SHORT_S)

    def pause_before_commit(events: Events, read: Read) -> StateUpdate:
        change = count(events, read)
        server.pause()
        return change

    with pytest.raises(Unavailable, match="Timeout"):
        store.append(impressions([2], [1]), pause_before_commit)
    with pytest.raises(Unavailable, match="Timeout"):
        store.poll(START, 1)
    server.resume()  # It commits what it has received.
    store.close()
    store = ValkeyStore(server.url, TIMEOUT_S)
    _wait_until(lambda: len(poll_to_end(store)))
    store.append(impressions([1, 2], [1, 1]), count)
    assert check_state_equals_replay(store) == {1, 2}
    store.close()


def test_store_leaves_a_server_that_became_a_replica(start_server):
    import valkey

    server, other = start_server(), start_server()
    store = ValkeyStore(server.url, TIMEOUT_S)
    store.append(impressions([1], [1]), count)
    with valkey.Valkey.from_url(server.url, client_name="test") as client:
        client.replicaof("127.0.0.1", other.port)
        with pytest.raises(Unavailable, match=r"read only replica|loading"):
            store.append(impressions([2], [1]), count)
        _wait_until(lambda: all(c["name"] == "test" or "M" in c["flags"] for c in client.client_list()))
        client.replicaof("no", "one")
    store.append(impressions([2], [1]), count)
    store.close()


def test_restored_server_has_the_state_of_its_events_and_stale_cursors(start_server):
    server = start_server()
    store = ValkeyStore(server.url, TIMEOUT_S)
    store.append(impressions([1, 2], [1, 2]), count)
    server.kill()
    files, backup = server.folder / "appendonlydir", server.folder / "yesterday"
    shutil.copytree(files, backup)
    server.start()
    store.append(impressions([3, 4], [1, 2]), count)
    cursor = store.poll(START, 10).cursor
    later, _ = store.snapshot([records.WORK_COUNTERS])
    server.kill()
    shutil.rmtree(files)
    shutil.copytree(backup, files)
    server.start()
    assert check_state_equals_replay(store) == {1, 2}
    # The lost numbers are used again: only the server's run id shows that these cursors include other events.
    assert store.append(impressions([3, 5, 6], [1, 1, 2]), count).tolist() == [True] * 3
    for stale in (cursor, later):
        with pytest.raises(StaleCursor, match="new snapshot"):
            store.poll(stale, 10)
        with pytest.raises(StaleCursor, match="new snapshot"):
            store.delete_events(lambda events: events.time_ms < 1 << 60, stale)
    assert check_state_equals_replay(store) == {1, 2, 3, 5, 6}
    store.close()


def test_cut_append_only_file_holds_whole_commits(start_server):
    server = start_server()
    store = ValkeyStore(server.url, TIMEOUT_S)
    for number in range(20):
        store.append(impressions([2 * number, 2 * number + 1], [1, 1]), count)
    server.kill()
    (path,) = (server.folder / "appendonlydir").glob("*.incr.aof")
    data = path.read_bytes()
    for n_bytes in np.random.default_rng(0).integers(len(data) // 2, len(data), 8).tolist():
        path.write_bytes(data[:n_bytes])
        server.start()
        numbers = check_state_equals_replay(store)
        assert numbers == set(range(len(numbers))) and len(numbers) % 2 == 0
        server.kill()
    store.close()


def test_forked_child_uses_connections_of_its_own(start_server):
    import multiprocessing

    store = ValkeyStore(start_server().url, TIMEOUT_S)
    store.append(impressions([1], [1]), count)
    child = multiprocessing.get_context("fork").Process(
        target=store.append, args=(impressions([2], [1]), count)
    )
    child.start()
    store.append(impressions([3], [1]), count)
    child.join()
    assert child.exitcode == 0 and check_state_equals_replay(store) == {1, 2, 3}
    store.close()


def test_append_of_many_events_commits_in_parts(start_server):
    store = ValkeyStore(start_server().url, TIMEOUT_S)
    numbers = [*range(MAX_EVENTS + 10), 5]
    is_new = store.append(impressions(numbers, [number % 7 for number in numbers]), count)
    assert is_new.tolist() == [True] * (MAX_EVENTS + 10) + [False]
    assert len(check_state_equals_replay(store)) == MAX_EVENTS + 10
    store.close()


def test_deleted_events_take_no_memory(start_server):
    store = ValkeyStore(start_server().url, TIMEOUT_S)
    users = [*range(100)]
    store.append(impressions(users, users), count)
    assert store.delete_events(lambda events: events.time_ms < 1 << 60, store.poll(START, 1000).cursor) == 100
    sizes = [store._client.scard(key_name(p, "seen")) for p in range(N_PARTITIONS)]
    sizes += [store._client.xlen(key_name(p, "events")) for p in range(N_PARTITIONS)]
    assert not any(sizes)
    store.close()


def test_append_that_read_before_a_rewrite_does_not_restore_the_former_state(start_server):
    store = ValkeyStore(start_server().url, TIMEOUT_S)
    store.append(impressions([1], [7]), count)
    (key,) = records.keys_of(records.USER_COUNTERS, np.array([7]))
    n_calls = 0

    def erase_meanwhile(events: Events, read: Read) -> StateUpdate:
        nonlocal n_calls
        n_calls += 1
        update = count(events, read)
        if n_calls == 1:
            store.write_user(7, {key: None})
        return update

    store.append(impressions([2], [7]), erase_meanwhile)
    assert (n_calls, user_count(store, 7)) == (2, 1)
    store.close()


def test_poll_returns_lifecycle_events_before_others(start_server):
    store = ValkeyStore(start_server().url, TIMEOUT_S)
    store.append(impressions([*range(500)], [*range(500)]), count)
    block = Events.from_columns("block", source=1, number=[900], time_ms=1, item_id=4)
    store.append(block, lambda events, read: StateUpdate({}, {}, np.zeros(1, bool)))
    assert store.poll(START, 10).events.number[0] == 900
    store.close()


# --- the real update


def test_state_and_item_counters_equal_those_of_sqlite(start_server):
    stores = ValkeyStore(start_server().url, TIMEOUT_S), SqliteStore(None)
    contents = StoreContents(platform(), HEAD)
    happened = random_events(600)
    for store in stores:
        contents.check(store)
        applier = EventApplier(contents)
        for begin in range(0, 600, 40):
            assert store.append(happened.take(slice(begin, begin + 40)), applier).all()
            assert not store.append(happened.take(slice(max(0, begin - 20), begin)), applier).any()
    letters = (*records.USER_LISTS.values(), records.NEWEST_SHOWN, records.OLDER_SHOWN, records.USER_COUNTERS)
    for user in USERS.tolist():
        keys = [records.keys_of(letter, np.array([user]))[0] for letter in letters]
        of_valkey, of_sqlite = (store.read_user(user, keys) for store in stores)
        assert of_valkey == of_sqlite and any(of_valkey)
    counters = [ItemCounters(store, contents).read(WORKS) for store in stores]
    assert counters[0].tobytes() == counters[1].tobytes() and counters[0].any()
    stores[0].close()


def random_events(n: int) -> Events:
    """Returns ``n`` events of the kinds that aggregates read, on the platform of ``event_platform``."""
    rng = np.random.default_rng(0)
    kinds = rng.choice([IMPRESSION, IMPRESSION, LABEL, FOLLOW, UNFOLLOW], n)
    times = np.sort(rng.integers(0, 5000, n))
    columns = (rng.integers(0, 3, n), rng.integers(0, 4, n), times, rng.integers(0, 16, n))
    return events([*zip(kinds, *columns, rng.integers(-1, 3, n), strict=True)])


# --- configuration of the server


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"appendonly": "no"}, "appendonly is no, expected yes"),
        ({"maxmemory": "1gb", "maxmemory_policy": "allkeys-lru"}, "maxmemory-policy is allkeys-lru"),
    ],
)
def test_server_that_may_lose_events_is_refused(start_server, options, message):
    server = start_server(**options)
    with pytest.raises(ConfigError, match=message):
        ValkeyStore(server.url, TIMEOUT_S)


@pytest.mark.parametrize("program", PROGRAMS)
def test_append_of_an_unsynced_file_is_not_acknowledged(start_server, program):
    server = start_server(program=program, appendfsync="no")
    for _ in range(2):  # A repeated event waits for the sync of its first delivery by another process.
        store = ValkeyStore(server.url, SHORT_S)
        with pytest.raises(Unavailable, match="Set appendfsync always"):
            store.append(impressions([1], [1]), count)
        store.close()


def test_full_server_leaves_nothing_and_later_appends_succeed(start_server):
    import valkey

    server = start_server()
    store = ValkeyStore(server.url, TIMEOUT_S)
    store.append(impressions([1], [1]), count)
    with valkey.Valkey.from_url(server.url) as client:
        client.config_set("maxmemory", "1mb")
        with pytest.raises(Unavailable, match="used memory > 'maxmemory'"):
            store.append(impressions([2], [1]), count)
        client.config_set("maxmemory", "0")
    assert check_state_equals_replay(store) == {1}
    assert store.append(impressions([2], [1]), count).all()
    store.close()


# --- address, credentials, TLS

SECRETS = ("hunter2", "s3cret")
PERMISSIONS = "~karec:* ~{karec:* +@read +@write +@scripting +@transaction +@connection +info +waitaof"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("valkey://alice:hunter2@host:6379/0", "Remove it, and set the environment variable KAREC"),
        ("valkey://alice:hun#ter2@host", "cannot be read, expected valkey://HOST:PORT/DB"),
        ("valkey://host:port/0", "cannot be read"),
        ("valkey://host/events", "cannot be read"),
        ("valkey:///0", "another form"),
        ("redis://host/0", "another form, expected valkey://HOST:PORT/DB, or valkeys:// for TLS"),
        ("valkey://host/0?password=hunter2", "another form"),
    ],
)
def test_url_of_another_form_is_refused_without_repeating_it(url, message):
    with pytest.raises(ValueError, match=message) as raised:
        ValkeyStore(url)
    text = f"{raised.value} {raised.value.__cause__}"
    assert "hunter2" not in text and "hun" not in text


def test_credentials_of_the_environment_are_in_no_text(start_server, monkeypatch, caplog):
    """The user has no other permissions than those of docs/online-features.md."""
    text = (Path(__file__).parents[2] / "docs" / "online-features.md").read_text()
    rules = re.findall(r"^ACL SETUSER karec (.*)$", text, re.MULTILINE)
    assert " ".join(rules) == f"on >PASSWORD {PERMISSIONS}"
    caplog.set_level(logging.DEBUG)
    server = start_server(requirepass="s3cret", user=f"alice on >hunter2 {PERMISSIONS}")
    texts = []
    for user, password in ((None, None), (None, "hunter2"), ("alice", "s3cret"), ("bob", "hunter2")):
        _set_credentials(monkeypatch, user, password)
        with pytest.raises(Unavailable) as raised:
            ValkeyStore(server.url, TIMEOUT_S)
        texts += [str(raised.value), repr(raised.value.__cause__)]
    _set_credentials(monkeypatch, None, "s3cret")
    stores = [ValkeyStore(server.url, TIMEOUT_S)]
    _set_credentials(monkeypatch, "alice", "hunter2")
    stores += [ValkeyStore(server.url, TIMEOUT_S), ValkeyStore(server.url.replace("//", "//alice@"))]
    for number, store in enumerate(stores):
        assert store.append(impressions([number], [1]), count).all()
        store.append_records("a", [b"1"])
        assert store.read_records("a", 0) and store.acquire_lease("l", "a", 1)
        store.trim_records("a", 1)
        store.write_document("d", b"1", store.read_document("d"))
        check_state_equals_replay(store)
        store.delete_events(lambda events: events.time_ms < 1, store.poll(START, 10).cursor)
        texts += [repr(store), repr(store._client), store.address]
        store.close()
    server.kill()
    with pytest.raises(Unavailable) as raised:
        stores[-1].poll(START, 1)
    texts += [str(raised.value), caplog.text, (server.folder / "server.log").read_text()]
    assert not [text for text in texts for secret in SECRETS if secret in text]


def test_tls_server_is_used_only_with_a_certificate_of_a_known_authority(start_server, monkeypatch, tmp_path):
    pytest.importorskip("cryptography")
    certificate, key = _make_certificate(tmp_path, "127.0.0.1")
    server = start_server(tls_cert_file=certificate, tls_key_file=key, tls_auth_clients="no")
    assert server.url.startswith("valkeys://")
    with pytest.raises(Unavailable, match="certificate verify failed"):
        ValkeyStore(server.url, TIMEOUT_S)
    with pytest.raises(Unavailable):
        ValkeyStore(server.url.replace("valkeys", "valkey"), TIMEOUT_S)
    monkeypatch.setenv(CA_FILE_VARIABLE, certificate)
    store = ValkeyStore(server.url, TIMEOUT_S)
    assert store.append(impressions([1], [1]), count).all()
    store.close()
    certificate, key = _make_certificate(tmp_path, "127.0.0.2")
    server = start_server(tls_cert_file=certificate, tls_key_file=key, tls_auth_clients="no")
    monkeypatch.setenv(CA_FILE_VARIABLE, certificate)
    with pytest.raises(Unavailable, match=r"IP address mismatch.*127\.0\.0\.1"):
        ValkeyStore(server.url, TIMEOUT_S)


def _set_credentials(monkeypatch, user, password):
    for variable, value in ((USER_VARIABLE, user), (PASSWORD_VARIABLE, password)):
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)


def _make_certificate(folder, address):
    """Returns the paths of a self-signed certificate for an IP address and of its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, address)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{address}.pem", folder / f"{address}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return tuple(map(str, paths))


def _wait_until(condition, deadline_s: float = 60.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.001)
