"""advance() against a plain reading of its contract."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.aggregates.advance import advance
from karec.catalog.impressions import Impressions
from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table

USERS = np.array([5, 3, 9])
WORKS = np.array([70, 10, 40, 20])
CREATORS = np.array([3, 9, 9, 5])
LABELS = ("click", "long_view", "like", "follow")
SCENES = ["home", "city"]


def snapshot(time_ms: int = 0, **relations: Relation) -> Snapshot:
    zeros = np.zeros(len(WORKS), np.int32)
    columns = {"creator_id": CREATORS, "song_id": WORKS, "type": zeros, "tag": zeros, "upload_ms": zeros}
    users = Table(USERS, {"count_exposed": np.ones(3, np.float32)})
    meaning = Meaning(("click", "long_view"), ("like",), ("follow",))
    return Snapshot(
        time_ms,
        Table(WORKS, columns),
        users,
        relations,
        {"scene": SCENES},
        meaning=meaning,
    )


def exposures(rows: list[tuple[int, int, int, tuple[int, ...], int]]) -> Impressions:
    """Rows (user row, work row, time, labels, scene), sorted by time here."""
    rows = sorted(rows, key=lambda row: row[2])
    flags = np.array([row[3] for row in rows], np.uint8).reshape(-1, len(LABELS))
    return Impressions(
        user_id=USERS[[row[0] for row in rows]],
        work_id=WORKS[[row[1] for row in rows]],
        time_ms=np.array([row[2] for row in rows], np.int64),
        scene=np.array([row[4] for row in rows], np.int32),
        labels={task: flags[:, i] for i, task in enumerate(LABELS)},
        play_ms=np.zeros(len(rows), np.int64),
    )


Row = st.tuples(
    st.integers(0, 2),
    st.integers(0, 3),
    st.integers(0, 20),
    st.tuples(*[st.integers(0, 1)] * len(LABELS)),
    st.integers(-1, len(SCENES)),  # the first and the last name no scene
)


@dataclass
class Plain:
    """Aggregates of one user, and their updates."""

    history: list[tuple[int, int]] = field(default_factory=list)
    skipped: list[tuple[int, int]] = field(default_factory=list)
    history_scenes: list[int] = field(default_factory=list)
    skipped_scenes: list[int] = field(default_factory=list)
    liked: list[tuple[int, int]] = field(default_factory=list)
    follows: list[tuple[int, int]] = field(default_factory=list)

    def see(self, work: int, creator: int, time: int, scene: int, flags: dict[str, int]) -> None:
        name = "history" if flags["click"] or flags["long_view"] else "skipped"
        getattr(self, name).append((work, time))
        getattr(self, f"{name}_scenes").append(scene if 0 <= scene < len(SCENES) else -1)
        if flags["like"] and work not in [w for w, _ in self.liked]:
            self.liked.append((work, time))
        if flags["follow"] and creator not in [c for c, _ in self.follows]:
            self.follows.append((creator, time))


@given(st.lists(Row, max_size=30), st.integers(0, 10), st.integers(0, 12))
def test_advance_equals_a_plain_replay(
    rows: list[tuple[int, int, int, tuple[int, ...], int]], start: int, passed: int
) -> None:
    shown = exposures(rows)
    old = Relation(np.array([0, 1, 1, 3]), np.array([40, 10, 10]), None)
    s = advance(snapshot(start, history=old, liked=old, friends=old), shown, start + passed)
    plain = [Plain([(40, 0)], liked=[(40, 0)]), Plain(), Plain([(10, 0), (10, 0)], liked=[(10, 0)])]
    plain[0].history_scenes, plain[2].history_scenes = [-1], [-1, -1]
    counts = {name: np.zeros(4) for name in ("count_exposed", *(f"count_{task}" for task in LABELS))}
    in_scene = {name: np.zeros((3, len(SCENES))) for name in counts}
    for i in range(len(shown)):
        if start <= shown.time_ms[i] < start + passed:
            flags = {task: int(shown.labels[task][i]) for task in LABELS}
            row = WORKS.tolist().index(shown.work_id[i])
            user = USERS.tolist().index(shown.user_id[i])
            plain[user].see(
                int(WORKS[row]), int(CREATORS[row]), int(shown.time_ms[i]), int(shown.scene[i]), flags
            )
            for name, more in (("count_exposed", 1), *((f"count_{task}", flags[task]) for task in LABELS)):
                counts[name][row] += more
                if 0 <= shown.scene[i] < len(SCENES):
                    in_scene[name][user, shown.scene[i]] += more
    assert s.time_ms == start + passed
    for name in ("history", "skipped", "liked", "follows"):
        relation = s.relations[name]
        assert relation.times is not None
        for user in range(3):
            expected = getattr(plain[user], name)
            at = slice(relation.indptr[user], relation.indptr[user + 1])
            assert (
                list(zip(relation.values[at].tolist(), relation.times[at].tolist(), strict=True)) == expected
            )
            if name in ("history", "skipped"):
                assert relation.scenes is not None and relation.scenes.dtype == np.int16
                assert relation.scenes[at].tolist() == getattr(plain[user], f"{name}_scenes")
    for name, expected_counts in counts.items():
        assert s.works[name].dtype == np.float32
        assert s.works[name].tolist() == expected_counts.tolist()
        assert s.user_scene_counters is not None
        assert s.user_scene_counters[name].dtype == np.float32
        assert s.user_scene_counters[name].tolist() == in_scene[name].ravel().tolist()
    assert s.users["count_exposed"].sum() == 3 + counts["count_exposed"].sum()
    assert s.relations["friends"] is old


@given(st.lists(Row, max_size=30), st.integers(0, 21), st.integers(0, 21))
def test_advance_in_two_steps_equals_one_step(
    rows: list[tuple[int, int, int, tuple[int, ...], int]], first: int, second: int
) -> None:
    first, second = sorted((first, second))
    shown = exposures(rows)
    once = advance(snapshot(), shown, second)
    twice = advance(advance(snapshot(), shown, first), shown, second)
    for name, relation in once.relations.items():
        assert relation.indptr.tolist() == twice.relations[name].indptr.tolist()
        assert relation.values.tolist() == twice.relations[name].values.tolist()
        assert np.array_equal(relation.scenes, twice.relations[name].scenes)
    assert all(np.array_equal(once.works[name], twice.works[name]) for name in once.works.columns)
    assert all(np.array_equal(once.users[name], twice.users[name]) for name in once.users.columns)
    assert once.user_scene_counters is not None
    assert twice.user_scene_counters is not None
    for name, column in once.user_scene_counters.items():
        assert np.array_equal(column, twice.user_scene_counters[name])


@given(st.lists(Row, min_size=1, max_size=30), st.integers(0, 21))
def test_advance_ignores_later_impressions(
    rows: list[tuple[int, int, int, tuple[int, ...], int]], until: int
) -> None:
    before = advance(snapshot(), exposures([row for row in rows if row[2] < until]), until)
    everything = advance(snapshot(), exposures(rows), until)
    assert all(np.array_equal(before.works[name], everything.works[name]) for name in before.works.columns)
    assert before.user_scene_counters is not None
    assert everything.user_scene_counters is not None
    for name, column in before.user_scene_counters.items():
        assert np.array_equal(column, everything.user_scene_counters[name])
    assert all(
        relation.values.tolist() == everything.relations[name].values.tolist()
        for name, relation in before.relations.items()
    )


def test_advance_without_scenes_has_no_scene_counters() -> None:
    nameless = replace(snapshot(), labels={})
    assert advance(nameless, exposures([(0, 0, 1, (1, 0, 0, 0), 0)]), 5).user_scene_counters is None


def test_advance_refuses_unordered_early_and_unknown_impressions() -> None:
    rows = exposures([(0, 0, 1, (1, 0, 0, 0), 0), (1, 1, 2, (0, 0, 0, 0), 1)])
    with pytest.raises(ValueError, match="until_ms 5 is before"):
        advance(snapshot(6), rows, 5)
    with pytest.raises(ValueError, match="row 1 is earlier"):
        advance(snapshot(), rows.take(np.array([1, 0])), 5)
    unlabelled = Impressions(
        rows.user_id, rows.work_id, rows.time_ms, rows.scene, {"like": rows.play_ms}, rows.play_ms
    )
    with pytest.raises(ValueError, match="expected at least one that means enjoyed"):
        advance(snapshot(), unlabelled, 5)
    stranger = Impressions(
        np.array([5, 8]), rows.work_id, rows.time_ms, rows.scene, rows.labels, rows.play_ms
    )
    with pytest.raises(ValueError, match="exposure 1 names user 8"):
        advance(snapshot(), stranger, 5)
    lost = Impressions(rows.user_id, np.array([11, 10]), rows.time_ms, rows.scene, rows.labels, rows.play_ms)
    with pytest.raises(ValueError, match="exposure 0 names work 11"):
        advance(snapshot(), lost, 5)


def test_advance_adds_no_list_of_consumed_items_without_such_a_label():
    shown = exposures([(0, 1, 0, (1, 1, 1, 0), 0)])
    assert "consumed" not in advance(snapshot(), shown, 1).relations
    start = replace(snapshot(), meaning=Meaning(("click",), consumed=("long_view",)))
    assert advance(start, shown, 1).relations["consumed"].row_values(0).tolist() == [10]
