"""The event log: what is appended is read, in order, once; what is refused is counted; what a killed writer
left is cut whole.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from event_platform import HEAD, START, Happenings, events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from karec.aggregates.events import AHEAD_MS, COLUMNS, KINDS, Events, Head
from karec.errors import LogSchemaError
from karec.online.event_log.append import EventLogWriter
from karec.online.event_log.describe import describe_event_log
from karec.online.event_log.frames import frame, whole_frames
from karec.online.event_log.head import begin_log, is_event_log, read_head
from karec.online.event_log.parts import all_parts, hours, read_part
from karec.online.event_log.reader import by_hour, read_events
from karec.online.event_log.retention import retire
from karec.online.event_log.tail import Cursor, EventTail
from karec.times import HOUR_MS

NOW = START + 1000
ALWAYS = 0, 1 << 60


def shown(n: int, first: int = 0, **columns) -> Events:
    number = np.arange(first, first + n)
    return Events.from_columns(
        "exposure",
        **{
            "source": 1,
            "number": number,
            "time_ms": START + number,
            "user_id": 5,
            "item_id": number,
            "position": number % 10,
            "request_id": np.array([f"r-{at}-ä" for at in number], object),
            **columns,
        },
    )


def same(one: Events, other: Events, *, but: tuple[str, ...] = ("logged_ms",)) -> None:
    for name in COLUMNS:
        if name not in but:
            assert getattr(one, name).dtype == getattr(other, name).dtype, name
            assert getattr(one, name).tolist() == getattr(other, name).tolist(), name


def drained(tail: EventTail, most: int = 50_000) -> Events:
    found = [Events.empty()]
    while len(some := tail.poll(most)):
        found.append(some)
    return Events.concatenate(found)


ANY_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@pytest.mark.parametrize("sealed", [False, True])
@given(rows=Happenings, texts=st.lists(ANY_TEXT, max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_appended_is_read_in_every_column(tmp_path_factory, sealed, rows, texts):
    folder = tmp_path_factory.mktemp("log")
    texts = np.array([*texts, *[""] * len(rows)][: len(rows)], object)
    happened = replace(events(rows), text=texts, request_id=texts[::-1].copy())
    happened = replace(
        happened, scene=np.where(happened.scene >= len(HEAD.scenes), -1, happened.scene).astype(np.int32)
    )
    writer = EventLogWriter(folder, HEAD)
    assert writer.append(happened, NOW).events == len(rows)
    if sealed:
        writer.close()
    same(read_events(folder, *ALWAYS), happened.sort_unique())
    assert set(read_events(folder, *ALWAYS).logged_ms.tolist()) <= {NOW}
    writer.close()


@pytest.mark.parametrize("fsync", ["always", "seal", "never"])
def test_each_policy_seals_the_same_events(tmp_path, fsync):
    with EventLogWriter(tmp_path, HEAD, fsync=fsync, part_events=25) as writer:
        for at in range(0, 100, 10):
            writer.append(shown(10, at), NOW)
    assert all(part.crc is not None for part in all_parts(tmp_path))
    assert len([*all_parts(tmp_path)]) == 5  # of 20 each: an append is in one part
    same(read_events(tmp_path, *ALWAYS), shown(100))


def test_parts_lie_by_the_hour_of_their_append_and_events_are_read_by_their_own(tmp_path):
    """An event of the first hour comes late, in the third."""
    with EventLogWriter(tmp_path, HEAD) as writer:
        for hour in range(3):
            writer.append(shown(5, 10 * hour, time_ms=START + hour * HOUR_MS), NOW + hour * HOUR_MS)
        writer.append(shown(1, 99, time_ms=START), NOW + 2 * HOUR_MS)
    assert hours(tmp_path) == ["2026-09-21T14", "2026-09-21T15", "2026-09-21T16"]
    hour = START // HOUR_MS * HOUR_MS
    assert read_events(tmp_path, hour, hour + HOUR_MS).number.tolist() == [0, 1, 2, 3, 4, 99]
    found = [one.number.tolist() for one in by_hour(tmp_path, *ALWAYS)]
    assert found == [[0, 1, 2, 3, 4, 99], [10, 11, 12, 13, 14], [20, 21, 22, 23, 24]]
    assert [one.number.tolist() for one in by_hour(tmp_path, START + HOUR_MS, START + HOUR_MS + 1)] == found[
        1:2
    ]


def test_writers_share_a_folder_and_reading_merges_them_by_time(tmp_path):
    one, other = EventLogWriter(tmp_path, HEAD), EventLogWriter(tmp_path, HEAD)
    for at in range(50):
        (one, other)[at % 2].append(shown(1, at), NOW)
    same(read_events(tmp_path, *ALWAYS), shown(50))
    one.close()
    same(read_events(tmp_path, *ALWAYS), shown(50))
    other.close()
    same(read_events(tmp_path, *ALWAYS), shown(50))
    assert {part.writer for part in all_parts(tmp_path)} == {one._writer, other._writer}


def test_an_event_that_is_delivered_twice_is_read_once(tmp_path):
    with EventLogWriter(tmp_path, HEAD) as one, EventLogWriter(tmp_path, HEAD) as other:
        one.append(shown(20), NOW)
        other.append(shown(20, 10), NOW + HOUR_MS)
    same(read_events(tmp_path, *ALWAYS), shown(30))


BAD = {
    "unknown kind": {"kind": len(KINDS)},
    "impossible time": {"time_ms": -5},
    "from the future": {"time_ms": NOW + AHEAD_MS + 1},
    "too late": {"time_ms": NOW - HEAD.late_ms - 1},
    "no user": {"user_id": -1},
    "no work": {"item_id": -1},
    "no creator": {"kind": KINDS.index("follow"), "creator_id": -1},
    "no label": {"kind": KINDS.index("label")},
    "unknown label": {"labels": 1 << len(HEAD.labels)},
    "impossible play_ms": {"play_ms": 86_400_001},
    "impossible value": {"position": -2},
    "text too long": {"text": "ä" * 40_000},
}


@pytest.mark.parametrize("reason", BAD)
def test_what_is_refused_is_counted_by_reason_and_the_rest_is_appended(tmp_path, reason):
    three = shown(3)
    columns = {name: getattr(three, name).copy() for name in COLUMNS}
    for name, value in BAD[reason].items():
        columns[name][1] = value
    with EventLogWriter(tmp_path, HEAD) as writer:
        told = writer.append(Events(**columns), NOW)
    assert (told.events, told.refused) == (2, {reason: 1})
    assert read_events(tmp_path, *ALWAYS).number.tolist() == [0, 2]


def test_the_bounds_of_what_is_refused_are_accepted(tmp_path):
    bounds = np.array([NOW + AHEAD_MS, NOW - HEAD.late_ms])
    with EventLogWriter(tmp_path, HEAD) as writer:
        assert writer.append(shown(2, time_ms=bounds, play_ms=86_400_000, position=-1), NOW).events == 2


def test_what_is_no_text_or_has_no_utf_8_is_refused_by_that_reason(tmp_path):
    with EventLogWriter(tmp_path, HEAD) as writer:
        odd = shown(3, text=np.array(["\ud800", 7, "fine"], object))
        assert writer.append(odd, NOW).refused == {"text is not UTF-8": 2}


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"user_id": [1.5]}, "'user_id' is of float64"),
        ({"user_id": [1, 2], "item_id": [1, 2, 3]}, r"'user_id' has shape \(2,\), expected \(3,\)"),
        ({"position": 1 << 40}, "'position' holds .*, beyond int32"),
        ({"nobody": 1}, "given .*nobody"),
        ({"kind": "dance"}, "kind is 'dance'"),
    ],
)
def test_columns_that_are_none_are_refused_by_name(columns, told):
    with pytest.raises(ValueError, match=told):
        Events.from_columns(columns.pop("kind", "exposure"), source=1, number=1, time_ms=1, **columns)


def test_a_tail_gives_each_event_once_while_parts_grow_and_are_sealed(tmp_path):
    writer = EventLogWriter(tmp_path, HEAD, part_events=30)
    tail, found = EventTail(tmp_path), [Events.empty()]
    for at in range(0, 100, 5):
        writer.append(shown(5, at), NOW + at * 100_000)
        if at % 15 == 0:
            found.append(tail.poll(7))
            tail = EventTail(tmp_path, Cursor.of_bytes(tail.cursor.to_bytes())) if at % 30 == 0 else tail
    writer.close()
    found.append(drained(tail, 7))
    same(Events.concatenate(found), shown(100))
    assert not len(drained(tail))
    same(drained(EventTail(tmp_path)), shown(100))


def test_a_tail_takes_what_several_writers_append_each_in_its_order(tmp_path):
    writers = [EventLogWriter(tmp_path, HEAD) for _ in range(3)]
    tail, found = EventTail(tmp_path), []
    for at in range(60):
        writers[at % 3].append(shown(1, at), NOW + at * 200_000)
        found += tail.poll().number.tolist()
    assert sorted(found) == [*range(60)]
    assert all([n for n in found if n % 3 == w] == [*range(w, 60, 3)] for w in range(3))


class _Turning(EventTail):
    """A tail during whose first look at an open part ``meanwhile`` happens."""

    def _after(self, part, taken, most):
        found = super()._after(part, taken, most)
        if part.crc is None and self.meanwhile is not None:
            self.meanwhile, happens = None, self.meanwhile
            happens()
        return found


@pytest.mark.parametrize("before_reading", [True, False])
def test_a_tail_loses_nothing_when_a_writer_turns_the_hour_while_it_reads(tmp_path, before_reading):
    """Another writer has begun the next hour, so both hours are looked at in one poll."""
    one, other = EventLogWriter(tmp_path, HEAD), EventLogWriter(tmp_path, HEAD)
    one.append(shown(1, 0), NOW)
    tail = _Turning(tmp_path)
    tail.meanwhile = None
    found = [] if before_reading else tail.poll().number.tolist()
    other.append(shown(1, 10), NOW + HOUR_MS)

    def turn():
        one.append(shown(1, 1), NOW + 1)
        one.append(shown(1, 2), NOW + HOUR_MS)

    tail.meanwhile = turn
    found += [*tail.poll().number.tolist(), *drained(tail).number.tolist()]
    one.close()
    other.close()
    assert sorted([*found, *drained(tail).number.tolist()]) == [0, 1, 2, 10]


def test_a_tail_reads_a_part_that_begins_late_in_an_hour_that_was_read_whole(tmp_path):
    """The clocks of two machines differ, or a writer was stopped between taking the time and opening its
    part."""
    one, other = EventLogWriter(tmp_path, HEAD), EventLogWriter(tmp_path, HEAD)
    one.append(shown(1, 0), NOW)
    one.append(shown(1, 1), NOW + HOUR_MS)
    os.utime(tmp_path / "2026-09-21T14", (1, 1))  # long ago
    tail = EventTail(tmp_path)
    found = [*tail.poll().number.tolist(), *drained(tail).number.tolist()]
    other.append(shown(1, 2), NOW + 1)
    assert [*found, *drained(tail).number.tolist()] == [0, 1, 2]


def test_a_part_that_could_not_be_sealed_is_read_to_its_end_before_the_next_one(tmp_path):
    writer = EventLogWriter(tmp_path, HEAD, fsync="never")
    for at in range(0, 300, 50):
        writer.append(shown(50, at, text="x" * 65_000), NOW)  # 19 MB in all

    def full(part):
        raise OSError(28, "No space left on device")

    writer._seal, seal = full, writer._seal
    with pytest.raises(OSError, match="No space"):
        writer.close()
    writer._seal = seal
    writer.append(shown(50, 300), NOW)
    assert drained(EventTail(tmp_path)).number.tolist() == [*range(350)]
    writer.close()


def test_of_events_of_one_id_that_differ_one_is_read_whatever_others_lie_between(tmp_path):
    with EventLogWriter(tmp_path, HEAD) as writer:
        writer.append(shown(3, number=3, time_ms=START, user_id=[1, 2, 1], item_id=[10, 20, 30]), NOW)
    found = read_events(tmp_path, *ALWAYS)
    assert (found.user_id.tolist(), found.item_id.tolist()) == ([1, 2], [10, 20])


def test_ids_are_lists_of_any_whole_numbers_and_lists_may_be_empty():
    assert shown(2, source=[1, 2**64 - 1]).source.tolist() == [1, 2**64 - 1]
    assert not len(Events.from_columns("exposure", source=7, number=[], time_ms=START, user_id=5, item_id=[]))
    with pytest.raises(ValueError, match="'source' is of float64"):
        shown(2, source=[-1, 2**64 - 1])


@pytest.mark.parametrize("now_ms", [0, -1, 1 << 62, 1 << 63, float("nan")])
def test_a_present_that_is_no_moment_is_refused_and_the_next_append_goes_through(tmp_path, now_ms):
    with EventLogWriter(tmp_path, HEAD) as writer:
        with pytest.raises(ValueError, match="now_ms is"):
            writer.append(shown(1), now_ms)
        assert writer.append(shown(1), NOW).events == 1


def test_what_is_no_hour_in_a_log_s_folder_is_passed_over(tmp_path):
    with EventLogWriter(tmp_path, HEAD) as writer:
        writer.append(shown(1), NOW)
    (tmp_path / "2026-13-99T99").mkdir()
    (tmp_path / "2026-09-21T15").write_text("a file")
    assert hours(tmp_path) == ["2026-09-21T14"]
    assert len(drained(EventTail(tmp_path))) == len(read_events(tmp_path, *ALWAYS)) == 1


def test_when_the_clock_goes_back_the_log_does_not(tmp_path):
    writer = EventLogWriter(tmp_path, HEAD)
    writer.append(shown(1, 0), NOW + HOUR_MS)
    writer.append(shown(1, 1), NOW)
    writer.close()
    assert hours(tmp_path) == ["2026-09-21T15"]
    assert read_events(tmp_path, *ALWAYS).logged_ms.tolist() == [NOW + HOUR_MS] * 2


def test_whatever_is_cut_off_an_open_part_its_whole_appends_stay(tmp_path):
    """The bytes of three appends, cut at every place: a reader finds those that are whole, and the next
    writer seals them.
    """
    frames = [frame(shown(2, at)) for at in (0, 2, 4)]
    ends = np.cumsum([len(one) for one in frames])
    whole = b"".join(frames)
    for cut in range(len(whole) + 1):
        found, n_bytes = whole_frames(whole[:cut])
        assert [one.number.tolist() for one in found] == [[0, 1], [2, 3], [4, 5]][: int((ends <= cut).sum())]
        assert n_bytes == max([0, *ends[ends <= cut].tolist()])
    for cut in (0, 5, int(ends[0]) + 30, int(ends[1]), len(whole) - 1):
        folder = tmp_path / str(cut)
        EventLogWriter(folder, HEAD).close()
        (folder / "2026-09-21T14").mkdir()
        (folder / "2026-09-21T14" / "part-0123456789ab-000000.open").write_bytes(whole[:cut])
        n = 2 * int((ends <= cut).sum())
        same(read_events(folder, *ALWAYS), shown(n))
        EventLogWriter(folder, HEAD).close()
        (part,) = all_parts(folder)
        assert part.crc is not None and not part.open_path.exists()
        same(read_part(part, HEAD), shown(n))


def test_every_altered_byte_of_a_frame_ends_the_part_there():
    whole = frame(shown(2))
    for place in range(len(whole)):
        altered = bytes([*whole[:place], whole[place] ^ 4, *whole[place + 1 :]])
        assert whole_frames(altered + whole)[0] == []


def test_a_part_of_a_living_writer_is_not_sealed_by_another(tmp_path):
    writer = EventLogWriter(tmp_path, HEAD)
    writer.append(shown(2), NOW)
    EventLogWriter(tmp_path, HEAD).close()
    (part,) = all_parts(tmp_path)
    assert part.crc is None
    writer.append(shown(2, 2), NOW)
    writer.close()
    same(read_events(tmp_path, *ALWAYS), shown(4))


@pytest.mark.parametrize("when", ["it seals it", "it has sealed it"])
def test_a_part_that_another_writer_takes_before_it_is_locked_gets_no_event(tmp_path, monkeypatch, when):
    """Another writer begins between the opening of a part and its lock, and takes it for one that was
    left."""
    writer, lock, others = EventLogWriter(tmp_path, HEAD), fcntl.flock, []

    def late(file, how):
        if not others:
            others.append(None)
            if when == "it has sealed it":
                EventLogWriter(tmp_path, HEAD)
            else:
                others.append(open(file.name, "rb"))  # noqa: SIM115 (closed below)
                lock(others[1], how)
        lock(file, how)

    monkeypatch.setattr("fcntl.flock", late)
    assert writer.append(shown(3), NOW).events == 3
    monkeypatch.undo()
    for other in others[1:]:
        other.close()
    EventLogWriter(tmp_path, HEAD)
    writer.append(shown(3, 3), NOW)
    writer.close()
    assert (
        read_events(tmp_path, *ALWAYS).number.tolist()
        == drained(EventTail(tmp_path)).number.tolist()
        == [*range(6)]
    )


def test_without_locks_a_log_is_written_and_read_and_no_part_is_sealed_by_another(tmp_path, monkeypatch):
    def none(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    writer = EventLogWriter(tmp_path, HEAD)
    writer.append(shown(3), NOW)
    EventLogWriter(tmp_path, HEAD)
    assert [part.crc for part in all_parts(tmp_path)] == [None]
    assert read_events(tmp_path, *ALWAYS).number.tolist() == [0, 1, 2]


def test_a_part_that_is_there_open_and_sealed_is_read_once(tmp_path):
    """A writer that is killed between sealing a part and removing its open form leaves both."""
    with EventLogWriter(tmp_path, HEAD) as writer:
        writer.append(shown(3), NOW)
    (part,) = all_parts(tmp_path)
    part.open_path.write_bytes(frame(shown(3)))
    same(drained(EventTail(tmp_path)), shown(3))
    EventLogWriter(tmp_path, HEAD).close()
    assert not part.open_path.exists()


def test_a_sealed_part_that_is_altered_or_cut_is_refused_by_name(tmp_path):
    with EventLogWriter(tmp_path, HEAD) as writer:
        writer.append(shown(3), NOW)
    (part,) = all_parts(tmp_path)
    whole = part.path.read_bytes()
    for damaged in (whole[:-1], bytes([whole[0], whole[1] ^ 1, *whole[2:]]), b""):
        part.path.write_bytes(damaged)
        with pytest.raises(LogSchemaError, match=rf"{part.path.name} is damaged: its bytes have CRC-32"):
            read_events(tmp_path, *ALWAYS)
        with pytest.raises(LogSchemaError, match=part.path.name):
            describe_event_log(tmp_path)


def test_a_full_disk_loses_no_acknowledged_event_and_the_log_goes_on(tmp_path):
    """RLIMIT_FSIZE stands for the disk: the append that does not fit is refused whole."""
    import resource
    import signal

    writer = EventLogWriter(tmp_path, HEAD)
    writer.append(shown(5), NOW)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(OSError, match="File too large") as told:
            writer.append(shown(500, 5), NOW)
        assert str(tmp_path) in str(told.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    same(read_events(tmp_path, *ALWAYS), shown(5))
    writer.append(shown(5, 5), NOW)
    writer.close()
    same(read_events(tmp_path, *ALWAYS), shown(10))


def test_a_tail_that_read_an_append_before_its_fsync_failed_loses_none_that_is_acknowledged(
    tmp_path, monkeypatch
):
    writer, found = EventLogWriter(tmp_path, HEAD), []
    writer.append(shown(1, 0), NOW)
    tail = EventTail(tmp_path)

    def failing(descriptor):
        found.extend(tail.poll().number.tolist())
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.fsync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        writer.append(shown(1, 1), NOW)
    monkeypatch.undo()
    for at in (2, 3):
        writer.append(shown(1, at), NOW)
        found += tail.poll().number.tolist()
    writer.close()
    assert read_events(tmp_path, *ALWAYS).number.tolist() == [0, 2, 3]
    assert {0, 2, 3} <= {*found, *drained(tail).number.tolist()}


def test_after_a_fork_parent_and_child_write_parts_of_their_own(tmp_path):
    writer = EventLogWriter(tmp_path, HEAD)
    writer.append(shown(1, 0), NOW)
    child = os.fork()
    if not child:
        writer.append(shown(1, 1), NOW)
        writer.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    writer.append(shown(1, 2), NOW)
    writer.close()
    assert len([*all_parts(tmp_path)]) == 2
    same(read_events(tmp_path, *ALWAYS), shown(3))


def test_a_log_keeps_its_labels_and_scenes(tmp_path):
    EventLogWriter(tmp_path, HEAD).close()
    assert read_head(tmp_path) == HEAD
    for other in (Head(HEAD.labels), Head(HEAD.labels[::-1], HEAD.scenes), replace(HEAD, late_ms=1)):
        with pytest.raises(LogSchemaError, match="write to a new folder"):
            EventLogWriter(tmp_path, other)
    with pytest.raises(ValueError, match="fsync is 'often'"):
        EventLogWriter(tmp_path, HEAD, fsync="often")  # type: ignore[arg-type]


def test_of_two_writers_that_make_a_log_at_once_the_first_one_s_head_stays(tmp_path, monkeypatch):
    """Another writer makes the log just after this one saw none."""
    other, looked = Head(HEAD.labels[::-1]), []

    def late(folder):
        found = is_event_log(folder)
        if not looked:
            looked.append(folder)
            begin_log(folder, other)
        return found

    monkeypatch.setattr("karec.online.event_log.head.is_event_log", late)
    with pytest.raises(LogSchemaError, match="write to a new folder"):
        EventLogWriter(tmp_path, HEAD)
    assert read_head(tmp_path) == other


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "it has no log.json"),
        ("{", "is damaged"),
        (json.dumps({"format": 9}), "format 9"),
        ('{"format": 1}', "damaged"),
        ('{"format": 1, "labels": ["click"], "scenes": [], "late_ms": 1e999}', "damaged"),
    ],
)
def test_a_folder_that_is_no_log_is_refused_by_name(tmp_path, text, told):
    if text is not None:
        (tmp_path / "log.json").write_text(text)
    for use in (
        lambda: read_events(tmp_path, *ALWAYS),
        lambda: EventTail(tmp_path),
        lambda: retire(tmp_path, 1 << 60),
    ):
        with pytest.raises(LogSchemaError, match=told):
            use()


def test_hours_that_are_too_old_go_and_a_cursor_stays_right(tmp_path):
    writer = EventLogWriter(tmp_path, HEAD)
    for hour in range(4):
        writer.append(shown(5, 5 * hour, time_ms=START + hour * HOUR_MS), NOW + hour * HOUR_MS)
    tail = EventTail(tmp_path)
    read = tail.poll(15).number.tolist()
    end_of_second = (START // HOUR_MS + 2) * HOUR_MS
    assert retire(tmp_path, end_of_second - 1) == ["2026-09-21T14"]
    assert retire(tmp_path, 1 << 60) == ["2026-09-21T15", "2026-09-21T16"]  # the last one has an open part
    read += drained(tail).number.tolist()
    assert read == [*range(15), *range(15, 20)]
    assert read_events(tmp_path, *ALWAYS).number.tolist() == [*range(15, 20)]
    writer.close()


def test_people_are_told_what_a_log_holds(tmp_path):
    with EventLogWriter(tmp_path, HEAD) as writer:
        writer.append(shown(3, labels=np.array([1, 3, 0])), NOW)
        writer.append(
            Events.from_columns("follow", source=1, number=9, time_ms=START, user_id=1, creator_id=2), NOW
        )
    told = describe_event_log(tmp_path)
    assert (told["events"], told["  exposure"], told["  follow"]) == ("4, repeats included", "3", "1")
    assert told["labels"].startswith("click 2, long_view 1, like 0") and told["parts"] == "1, 0 of them open"
