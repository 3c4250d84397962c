"""Online store on a Valkey or Redis server, shared by the processes of many hosts.

Keys        A partition p has ``{karec:p}:`` with
                last     number of the newest event
                events   stream; the id of event n is 0-n
                seen     set of the ids of these events
                items    hash of ITEM_LETTERS; of the lifecycle partition: lifecycle and BASE_COUNTERS
                state    hash of all other state, which no snapshot reads
            and there are ``karec:log:NAME``, ``karec:document:NAME``, ``karec:lease:NAME``.
Commit      A script per partition checks that ``last`` is the number that was read, then writes all five
            keys. If another process was faster, the state is read and computed again.
Durability  ``append`` waits by WAITAOF until the server has synced its append-only file.
Restart     A server may come back from an older file. A cursor contains the server's run id; after a restart
            it is stale, and a process takes a new snapshot.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import Events
from karec.errors import Unavailable
from karec.online.store.event_bytes import event_ids, from_bytes
from karec.online.store.group_commit import GroupCommit
from karec.online.store.online_store import (
    Cursor,
    Rewrite,
    Select,
    StaleCursor,
    StateUpdate,
    StoredEvents,
    Update,
)
from karec.online.store.records import BASE_COUNTERS, CREATOR_BLOCK, WORK_LIFE, letter_of
from karec.online.store.valkey_client import check_server, open_client
from karec.online.store.valkey_partitions import (
    ITEM_LETTERS,
    LIFECYCLE,
    N_PARTITIONS,
    Part,
    decode_cursor,
    encode_cursor,
    group_by_hash,
    group_by_partition,
    key_name,
    partitions_of,
)

TIMEOUT_S = 1.0
MAX_CONFLICTS = 1000  # of one append; one of the processes that conflict always commits
MAX_EVENTS = 2000  # of one commit; a script of 2,000 uploads keeps the server busy for about 45 ms
EVENTS_PER_READ = 1000
MIN_READ = 64  # events of one stream
SCAN_COUNT = 1000  # entries; the server answers no other client meanwhile

SNAPSHOT_LETTERS = (*ITEM_LETTERS, BASE_COUNTERS, WORK_LIFE, CREATOR_BLOCK)

# Scripts. Each runs as one step: the server answers no other client meanwhile.

# KEYS last, events, seen, state, items
# ARGV expected last, number of events; (id, bytes) of the events; (hash, key, value) of the entries, where
#      hash is an index into KEYS, negative to delete the key
# A write without events skips a number, so that an append that read the former state fails.
COMMIT = """
local last = redis.call('GET', KEYS[1]) or '0'
if last ~= ARGV[1] then return 0 end
local number, first_entry = tonumber(last) + (ARGV[2] == '0' and 1 or 0), 3 + 2 * ARGV[2]
for i = 3, first_entry - 1, 2 do
  number = number + 1
  redis.call('XADD', KEYS[2], string.format('0-%.0f', number), 'e', ARGV[i + 1])
  redis.call('SADD', KEYS[3], ARGV[i])
end
redis.call('SET', KEYS[1], string.format('%.0f', number))
for i = first_entry, #ARGV, 3 do
  local hash = tonumber(ARGV[i])
  if hash > 0 then
    redis.call('HSET', KEYS[hash], ARGV[i + 1], ARGV[i + 2])
  else
    redis.call('HDEL', KEYS[-hash], ARGV[i + 1])
  end
end
return 1
"""

# KEYS document; ARGV new value, then the expected value, absent if there must be no document
WRITE_DOCUMENT = """
if redis.call('GET', KEYS[1]) ~= (ARGV[2] or false) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""
# KEYS lease; ARGV holder, milliseconds, 0 to end it
ACQUIRE_LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 1
"""


class ValkeyStore:
    """An ``OnlineStore`` on a server. A child of a fork may use it, unless a thread was in ``append`` then.

    Args:
        url: ``valkey://HOST:PORT/DB``, see ``open_client`` for credentials and TLS.
        timeout_s: maximum wait for a connection or a reply, in seconds; then the call raises Unavailable.

    Raises:
        ConfigError: the server does not keep what it acknowledges, see ``check_server``.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self._client, self.address = open_client(url, timeout_s)
        # Shorter than the socket's timeout, so that the error names the reason. Servers check every 100 ms.
        self._sync_timeout_ms = int(700 * timeout_s)
        self._group_commit = GroupCommit(self._commit)
        with self._errors():
            check_server(self._client, self.address)

    def append(self, events: Events, update: Update) -> NDArray[Any]:
        parts = [events.take(slice(n, n + MAX_EVENTS)) for n in range(0, max(1, len(events)), MAX_EVENTS)]
        return np.concatenate([self._group_commit.append(part, update) for part in parts])

    def read_user(self, user_id: int, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._read(int(partitions_of(np.array([user_id]))[0]), keys)

    def read_items(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._read(LIFECYCLE, keys)

    def poll(self, cursor: Cursor, max_events: int) -> StoredEvents:
        run_id, numbers = decode_cursor(cursor)
        streams = {key_name(p, "events"): f"0-{number}" for p, number in enumerate(numbers)}
        with self._pipeline() as pipe:
            pipe.info("server")
            # One stream may have all new events, or every stream may have many.
            pipe.xread(streams, count=min(max_events, max_events // N_PARTITIONS + MIN_READ))
            info, replies = _execute(pipe)
        new_run_id = self._check_run_id(run_id, info)
        partitions = {name.encode(): p for p, name in enumerate(streams)}
        data = list[bytes]()
        for name, entries in replies:
            for entry_id, fields in entries[: max_events - len(data)]:
                data.append(fields[b"e"])
                numbers[partitions[name]] = _to_number(entry_id)
        new_cursor = encode_cursor(new_run_id, numbers) if data else cursor
        return StoredEvents(*from_bytes(data), new_cursor)

    def delete_events(self, select: Select, cursor: Cursor | None = None) -> int:
        run_id, numbers = decode_cursor(cursor or b"")
        with self._errors():
            self._check_run_id(run_id, self._client.info("server"))
            ends = ["+"] * N_PARTITIONS if cursor is None else [f"0-{last}" for last in numbers]
            return sum(self._delete_events(p, select, end) for p, end in enumerate(ends))

    def _delete_events(self, partition: int, select: Select, last_id: str) -> int:
        stream = key_name(partition, "events")
        n_deleted = first = 0
        while entries := self._client.xrange(stream, f"0-{first}", last_id, count=EVENTS_PER_READ):
            stored, _ = from_bytes([fields[b"e"] for _, fields in entries])
            rows = np.flatnonzero(select(stored))
            if len(rows):
                with self._pipeline(transaction=True) as pipe:
                    pipe.xdel(stream, *[entries[row][0] for row in rows])
                    pipe.srem(key_name(partition, "seen"), *event_ids(stored.take(rows)))
                    n_deleted += _execute(pipe)[0]
            first = _to_number(entries[-1][0]) + 1
        return n_deleted

    def write_user(self, user_id: int, entries: Mapping[bytes, bytes | None]) -> None:
        partition = int(partitions_of(np.array([user_id]))[0])
        self._rewrite(partition, [*entries], lambda key, value: entries[key])

    def rewrite_state(self, rewrite: Rewrite) -> int:
        n_changed = 0
        for p in range(N_PARTITIONS):
            with self._errors():
                names = [key_name(p, "items"), key_name(p, "state")]
                scans = [self._client.hscan_iter(name, count=SCAN_COUNT) for name in names]
                keys = [key for scan in scans for key, value in scan if rewrite(key, value) != value]
            for begin in range(0, len(keys), MAX_EVENTS):
                n_changed += self._rewrite(p, keys[begin : begin + MAX_EVENTS], rewrite)
        return n_changed

    def _rewrite(self, partition: int, keys: Sequence[bytes], rewrite: Rewrite) -> int:
        none = np.empty(0, bool)
        part = Part(partition, Events.empty(), none, [], none, none)
        for _ in range(MAX_CONFLICTS):
            with self._errors():
                part.last = self._client.get(key_name(partition, "last")) or b"0"
            values = zip(keys, self._read(partition, keys), strict=True)
            entries = {key: new for key, value in values if (new := rewrite(key, value)) != value}
            if not entries or self._write({part: StateUpdate(entries)}, [part])[part]:
                return len(entries)
        raise self._conflict_error()

    def snapshot(self, letters: Sequence[bytes]) -> tuple[Cursor, Iterator[tuple[bytes, bytes]]]:
        """See ``OnlineStore``. Other clients wait while the server reads one partition, not all of them."""
        if not {letter[-1:] for letter in letters} <= {*SNAPSHOT_LETTERS}:
            raise ValueError(
                f"letters are {letters!r}, expected some that end with one of {SNAPSHOT_LETTERS}"
            )
        with self._errors():
            run_id = self._check_run_id(None, self._client.info("server"))  # first: a restart makes it stale
        numbers, has_counters = [], any(letter[-1:] in ITEM_LETTERS for letter in letters)
        counters = list[dict[bytes, bytes]]()
        for p in range(N_PARTITIONS):
            with self._pipeline(transaction=True) as pipe:
                pipe.get(key_name(p, "last"))
                if has_counters and p != LIFECYCLE:
                    pipe.hgetall(key_name(p, "items"))
                last, *hashes = _execute(pipe)
            numbers.append(int(last or 0))
            counters += hashes
        entries = chain((entry for fields in counters for entry in fields.items()), self._scan_items())
        return encode_cursor(run_id, numbers), (entry for entry in entries if letter_of(entry[0]) in letters)

    def _scan_items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yields the entries of the lifecycle partition. An entry may occur twice, the newer one last."""
        with self._errors():
            yield from self._client.hscan_iter(key_name(LIFECYCLE, "items"), count=SCAN_COUNT)

    def append_records(self, log: str, records: Sequence[bytes]) -> None:
        with self._pipeline(transaction=True) as pipe:
            for record in records:
                pipe.xadd(f"karec:log:{log}", {"r": record}, id="0-*")
            _execute(pipe)

    def read_records(self, log: str, after: int) -> list[tuple[int, bytes]]:
        with self._errors():
            entries = self._client.xrange(f"karec:log:{log}", f"(0-{after}")
        return [(_to_number(entry_id), fields[b"r"]) for entry_id, fields in entries]

    def trim_records(self, log: str, through: int) -> None:
        with self._errors():
            self._client.xtrim(f"karec:log:{log}", minid=f"0-{through + 1}", approximate=False)

    def read_document(self, name: str) -> bytes | None:
        with self._errors():
            value: bytes | None = self._client.get(f"karec:document:{name}")
        return value

    def write_document(self, name: str, value: bytes, expected: bytes | None) -> bool:
        arguments = [value] if expected is None else [value, expected]
        with self._errors():
            return bool(self._client.eval(WRITE_DOCUMENT, 1, f"karec:document:{name}", *arguments))

    def acquire_lease(self, name: str, holder: str, seconds: float) -> bool:
        milliseconds = math.ceil(1000 * seconds)
        with self._errors():
            return bool(self._client.eval(ACQUIRE_LEASE, 1, f"karec:lease:{name}", holder, milliseconds))

    def close(self) -> None:
        self._client.close()

    def _read(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """Returns values of keys of one partition, all of one commit if they are in one hash."""
        groups = group_by_hash(partition, keys)
        values = dict[bytes, bytes | None]()
        with self._pipeline() as pipe:
            for name, group in groups.items():
                pipe.hmget(name, group)
            for group, reply in zip(groups.values(), _execute(pipe), strict=True):
                values |= zip(group, reply, strict=True)
        return [values[key] for key in keys]

    def _read_more(self, part: Part, keys: Sequence[bytes]) -> list[bytes | None]:
        """Returns values of keys of ``part.values``; reads those that it lacks."""
        missing = [key for key in keys if key not in part.values]
        if missing:
            part.values |= zip(missing, self._read(part.partition, missing), strict=True)
        return [part.values[key] for key in keys]

    def _commit(self, events: Events, update: Update) -> NDArray[Any]:
        """Commits ``events``, one transaction for each partition. Returns (M,) bool, True for a new event."""
        is_new = np.zeros(len(events), bool)
        pending = group_by_partition(events)
        for _ in range(MAX_CONFLICTS):
            if not pending:
                return is_new
            self._read_parts(pending)
            changes = {
                part: update(part.events.take(part.is_new), partial(self._read_more, part))
                for part in pending
                if part.is_new.any()
            }
            is_committed = self._write(changes, pending)
            for part in changes:
                if is_committed[part]:
                    is_new[part.rows[part.is_new]] = True
            pending = [part for part in changes if not is_committed[part]]
        raise self._conflict_error()

    def _conflict_error(self) -> Unavailable:
        return Unavailable(
            f"{self.address}: other processes committed first {MAX_CONFLICTS} times. Send the events again."
        )

    def _read_parts(self, parts: Sequence[Part]) -> None:
        """Reads the newest number, which events are new, and the state that most updates read.

        One round trip for all partitions: with appendfsync always, each waits for syncs of other processes.
        The number is read first: if another process commits later, the script finds another number.
        """
        with self._pipeline() as pipe:
            for part in parts:
                pipe.get(key_name(part.partition, "last"))
                pipe.smismember(key_name(part.partition, "seen"), part.ids)
                for name, group in part.state_keys.items():
                    pipe.hmget(name, group)
            replies = iter(_execute(pipe))
        for part in parts:
            part.last = next(replies) or b"0"
            part.is_new = part.is_first & ~np.array(next(replies), bool)
            part.values = {
                key: value
                for group in part.state_keys.values()
                for key, value in zip(group, next(replies), strict=True)
            }

    def _write(self, changes: Mapping[Part, StateUpdate], parts: Sequence[Part]) -> dict[Part, bool]:
        """Runs the script of each partition and waits for the sync. Returns {part: True if it committed}."""
        with self._pipeline() as pipe:
            for change in changes.values():
                for key, value in change.base_counters.items():
                    pipe.hsetnx(key_name(LIFECYCLE, "items"), key, value)
            if len(changes) < len(parts):
                # All events of a partition are repeated. WAITAOF waits for the writes of its own connection,
                # and the first delivery may have been written by another one a moment ago.
                pipe.set("karec:sync", "")
            for part, change in changes.items():
                pipe.eval(COMMIT, 5, *part.keys, *part.arguments(change))
            pipe.execute_command("WAITAOF", 1, 0, self._sync_timeout_ms)
            *replies, (n_synced, _) = _execute(pipe)
        if not n_synced:
            raise Unavailable(
                f"{self.address}: the server did not sync its append-only file within "
                f"{self._sync_timeout_ms} ms. Set appendfsync always in the server's configuration."
            )
        results = replies[len(replies) - len(changes) :]
        return {part: bool(result) for part, result in zip(changes, results, strict=True)}

    def _check_run_id(self, run_id: bytes | None, info: Mapping[str, Any]) -> bytes:
        """Returns the server's run id. Raises StaleCursor if it is not ``run_id``; None: not compared."""
        new_run_id = bytes.fromhex(str(info["run_id"]).zfill(40))  # The client parses digits as a number.
        if run_id is not None and run_id != new_run_id:
            raise StaleCursor(f"{self.address}: the server restarted after this cursor. Take a new snapshot.")
        return new_run_id

    @contextmanager
    def _pipeline(self, *, transaction: bool = False) -> Iterator[Any]:
        with self._errors(), self._client.pipeline(transaction=transaction) as pipe:
            yield pipe

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns errors of the client and of sockets into Unavailable.

        The next call connects again: the address may lead to another server then.
        """
        from valkey import ValkeyError

        try:
            yield
        except (ValkeyError, OSError) as error:
            self._client.connection_pool.disconnect(inuse_connections=False)
            raise Unavailable(f"online store at {self.address} cannot be used: {error}") from error


def _execute(pipe: Any) -> list[Any]:
    """Returns the replies, or raises the first error. The client's own message would contain the commands."""
    replies: list[Any] = pipe.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def _to_number(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[2])
