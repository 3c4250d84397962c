"""Results of a complete screening."""

import json
import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_uploads import SETTINGS, day, draw, plain, write_uploads

from karec.screening.near_duplicates import near_duplicates
from karec.screening.screen import read_result, screen
from karec.screening.settings import read_settings


def files(folder):
    """{name: bytes} of a screening's files."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def kept_of(folder):
    """{id: (day, quality)}."""
    rows = pq.read_table(folder / "kept.parquet").to_pydict()
    assert len(set(rows["id"])) == len(rows["id"])
    return dict(zip(rows["id"], zip(rows["day"], rows["quality"], strict=True), strict=True))


def fates(columns):
    """Returns for each row of a day the reason of its rejection, or None for a candidate."""
    c = plain(columns)
    result = []
    for n in range(len(c["id"])):
        if np.isnan(c["seconds"][n]):
            result.append("too short: seconds is missing")
        elif c["seconds"][n] < 30:
            result.append("too short")
        elif c["creator"][n] in (3, 7):
            result.append("blocked")
        elif c["type"][n] == "video" and c["height"][n] < 480:
            result.append("small picture")
        elif np.isnan(c["score"][n]):
            result.append("no quality")
        else:
            result.append(None)
    passed = np.flatnonzero([fate is None for fate in result])
    vectors = c["vector"][passed]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    dropped = near_duplicates(c["song"][passed], unit.astype(np.float16), c["score"][passed], 0.95)
    for n in passed[dropped]:
        result[n] = "near duplicate"
    return result


def test_work_counts_under_its_first_reason(days, out):
    summary = read_result(out).days
    assert summary[str(day(0))] == {
        "uploads": len(days[0]["id"]),
        "rejected": {"too old": len(days[0]["id"])},
        "kept": 0,
    }
    for number in range(1, 5):
        expected = Counter(fate for fate in fates(days[number]) if fate is not None)
        message = dict(summary[str(day(number))]["rejected"])
        message.pop("quota", None)
        assert message == dict(expected)


def test_rejected_and_kept_works_sum_to_uploads(days, out):
    screened, kept = read_result(out), kept_of(out)
    for number, columns in days.items():
        summary = screened.days[str(day(number))]
        assert summary["uploads"] == len(columns["id"]) == sum(summary["rejected"].values()) + summary["kept"]
        assert summary["kept"] == sum(on == day(number) for on, _ in kept.values())
    assert sum(screened.total().values()) == screened.uploads


def test_kept_work_has_its_quality_and_day(days, out):
    candidates = {}
    for number in range(1, 5):
        for row, fate in enumerate(fates(days[number])):
            if fate is None:
                candidates[int(days[number]["id"][row])] = (day(number), days[number]["score"][row])
    kept = kept_of(out)
    assert len(kept) == 60
    assert {work: candidates[work] for work in kept} == kept


def cells_of(days):
    """Returns {kind: [(quality, id)]} of all candidates; works of one kind have the same quotas."""
    result = {}
    for number in range(1, 5):
        c = plain(days[number])
        for row, fate in enumerate(fates(days[number])):
            if fate is None:
                kind = (c["type"][row] == "video", c["fans"][row] < 100, number == 4)
                result.setdefault(kind, []).append((float(c["score"][row]), int(c["id"][row])))
    return result


def test_work_below_the_least_quality_is_rejected(tmp_path):
    text = 'keep = 25\nuploads = "uploads"\n[columns]\nwork = "id"\n[quality]\ncolumn = "score"\nmin = 0.5\n'
    scores = np.array([0.4, 0.5, np.nan, 0.6, 0.49], np.float32)
    screen(
        read_settings(write_uploads(tmp_path, {0: {"id": np.arange(5), "score": scores}}, text)),
        tmp_path / "out",
    )
    assert read_result(tmp_path / "out").days[str(day(0))]["rejected"] == {"no quality": 1, "low quality": 2}
    assert kept_of(tmp_path / "out").keys() == {1, 3}


def test_best_works_of_each_cell_are_kept(days, out):
    kept = kept_of(out)
    for works in cells_of(days).values():
        inside = [score for score, work in works if work in kept]
        outside = [score for score, work in works if work not in kept]
        assert not inside or not outside or min(inside) >= max(outside)


def test_screen_keeps_works_of_the_newest_day_if_quality_is_equal(tmp_path):
    """The kept works are those of the last day and the first rows of the day before."""
    text = 'keep = 25\nuploads = "uploads"\n[columns]\nwork = "id"\n[quality]\ncolumn = "score"\n'
    columns = {n: {"id": np.arange(20) + 100 * n, "score": np.full(20, 0.5, np.float32)} for n in range(2)}
    screen(read_settings(write_uploads(tmp_path, columns, text)), tmp_path / "out")
    assert sorted(kept_of(tmp_path / "out")) == [*range(5), *range(100, 120)]


def test_quotas_are_satisfied_if_possible(days, out):
    kept = kept_of(out)
    of = {kind: sum(work in kept for _, work in works) for kind, works in cells_of(days).items()}
    video = sum(n for (is_video, _, _), n in of.items() if is_video)
    small = sum(n for (_, is_small, _), n in of.items() if is_small)
    new = sum(n for (_, _, is_new), n in of.items() if is_new)
    assert 18 <= video <= 30 and small >= 12 and new >= 12
    message = {quota["name"]: (quota["kept"], quota["violation"]) for quota in read_result(out).quotas}
    assert message == {"type is video": (video, 0), "small": (small, 0), "younger than 1 days": (new, 0)}
    assert not read_result(out).violations


def test_second_screening_reads_no_day_and_gives_equal_bytes(library, out):
    before = files(out)
    screened = screen(read_settings(library), out)
    assert screened.redone == [] and files(out) == before


def test_daily_screening_gives_the_bytes_of_one_run(library, out, tmp_path):
    for number in range(5):
        screen(read_settings(library), tmp_path, last=day(number))
    assert files(tmp_path) == files(out)


def test_only_changed_days_are_screened_again(days, library, out, tmp_path):
    folder, screened = tmp_path / "library", tmp_path / "screened"
    shutil.copytree(library.parent, folder)
    shutil.copytree(out, screened)
    write_uploads(folder, {3: draw(100, np.random.default_rng(9), 3000)})
    assert screen(read_settings(folder / "screen.toml"), screened).redone == [str(day(3))]
    fresh = screen(read_settings(folder / "screen.toml"), tmp_path / "fresh")
    assert len(fresh.redone) == 4 and files(tmp_path / "fresh") == files(screened)


@pytest.mark.parametrize(
    ("old", "new", "n_redone"),
    [
        ("keep = 60", "keep = 40", 0),
        ("floor = 0.3, cap = 0.5", "floor = 0.1, cap = 0.4", 0),
        ("age_days = 1, floor = 0.2", "age_days = 2, cap = 0.4", 0),
        ("min = 30", "min = 31", 4),
        ("cosine = 0.95", "cosine = 0.9", 4),
        ("below = 100", "below = 50", 4),
    ],
)
def test_changed_settings_screen_dependent_days_again(days, library, out, tmp_path, old, new, n_redone):
    folder, screened = tmp_path / "library", tmp_path / "screened"
    shutil.copytree(library.parent, folder)
    shutil.copytree(out, screened)
    assert old in SETTINGS
    (folder / "screen.toml").write_text(SETTINGS.replace(old, new))
    assert len(screen(read_settings(folder / "screen.toml"), screened).redone) == n_redone
    screen(read_settings(folder / "screen.toml"), tmp_path / "fresh")
    assert files(tmp_path / "fresh") == files(screened)


def test_changed_block_list_screens_days_again(library, out, tmp_path):
    folder, screened = tmp_path / "library", tmp_path / "screened"
    shutil.copytree(library.parent, folder)
    shutil.copytree(out, screened)
    (folder / "blocked.txt").write_text("3\n")
    assert len(screen(read_settings(folder / "screen.toml"), screened).redone) == 4


def test_rewritten_shard_with_equal_footer_is_screened_again(days, tmp_path):
    path = write_uploads(tmp_path, {0: days[0]})
    shard = next((tmp_path / "uploads").rglob("*.parquet"))
    plain_pages = {"compression": "none", "use_dictionary": False}
    table = pq.read_table(shard)
    at = table.schema.get_field_index("creator")
    creators = np.resize([1, 2, 3, 5], len(table))
    footers = []
    for creator in (creators, np.resize([1, 2, 2, 5], len(table))):
        screen(read_settings(path), tmp_path / "out")
        pq.write_table(table.set_column(at, "creator", pa.array(creator)), shard, **plain_pages)
        footers.append(shard.read_bytes()[-2000:])
        blocked = screen(read_settings(path), tmp_path / "out").total().get("blocked", 0)
        assert (blocked > 0) == (creator is creators)
    assert footers[0] == footers[1]


def test_temporary_folder_of_a_killed_run_is_removed(library, out, tmp_path):
    screened = tmp_path / "screened"
    shutil.copytree(out, screened)
    (screened / ".spill-killed").mkdir()
    (screened / ".spill-killed" / "block.tmp").write_bytes(bytes(100))
    assert screen(read_settings(library), screened).redone == []
    assert files(screened) == files(out)


def test_damaged_day_file_is_written_again(library, out, tmp_path):
    screened = tmp_path / "screened"
    shutil.copytree(out, screened)
    path = screened / "days" / f"{day(2)}.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert screen(read_settings(library), screened).redone == [str(day(2))]
    assert files(screened) == files(out)


def test_day_in_parts_has_the_candidates_of_a_whole_day(library, out, tmp_path, monkeypatch):
    monkeypatch.setattr("karec.screening.day.VECTORS", 1000)
    screened = screen(read_settings(library), tmp_path)
    before = read_result(out)
    assert screened.days == before.days and screened.quotas == before.quotas
    assert {value for _, value in kept_of(tmp_path).values()} == {value for _, value in kept_of(out).values()}


def test_candidates_keep_the_order_of_uploads_with_threads(tmp_path):
    columns = draw(60_000, np.random.default_rng(3))
    path = write_uploads(tmp_path, {0: columns}, SETTINGS.replace("[near_duplicates]\ncosine = 0.95", ""))
    shard = next((tmp_path / "uploads").rglob("*.parquet"))
    table = pq.read_table(shard)
    for part in range(3):
        pq.write_table(
            table.slice(part * 20_000, 20_000), shard.with_name(f"p-{part}.parquet"), row_group_size=2048
        )
    shard.unlink()
    screened = screen(read_settings(path), tmp_path / "out")
    ids = pq.read_table(tmp_path / "out" / "days" / f"{day(0)}.parquet")["id"].to_numpy()
    assert screened.total()["blocked"] > 0 and len(ids) > 10_000
    assert np.array_equal(ids, columns["id"][np.isin(columns["id"], ids)])


def test_empty_block_list_is_accepted(days, tmp_path):
    path = write_uploads(tmp_path, days)
    (tmp_path / "blocked.txt").write_text("# nobody\n")
    screened = screen(read_settings(path), tmp_path / "out")
    assert "blocked" not in screened.total() and sum(screened.total().values()) == screened.uploads


def test_text_ids_are_kept_unchanged(days, library, tmp_path):
    as_texts = {
        number: c | {"id": (np.arange(len(c["id"]), dtype=np.int32), [f"w{work}" for work in c["id"]])}
        for number, c in days.items()
    }
    screen(read_settings(write_uploads(tmp_path, as_texts)), tmp_path / "texts")
    screen(read_settings(library), tmp_path / "numbers")
    assert kept_of(tmp_path / "texts") == {
        f"w{work}": value for work, value in kept_of(tmp_path / "numbers").items()
    }


def test_repeated_work_of_a_day_counts_once(tmp_path):
    columns = draw(120, np.random.default_rng(1))
    columns |= {
        "seconds": np.full(120, 60.0),
        "height": np.full(120, 720, np.int32),
        "creator": np.full(120, 1),
    }
    columns["score"] = np.arange(120, dtype=np.float32)
    columns["vector"] = np.random.default_rng(2).standard_normal((120, 8)).astype(np.float32)
    columns["id"][60:] = columns["id"][:60]
    screened = screen(read_settings(write_uploads(tmp_path, {0: columns})), tmp_path / "out")
    assert screened.total()["same id"] == 60
    assert all(
        quality < 60 for _, quality in kept_of(tmp_path / "out").values()
    )  # the first row is the one that counts


def test_empty_day_is_noted(days, tmp_path):
    nothing = {name: (v[0][:0], v[1]) if isinstance(v, tuple) else v[:0] for name, v in days[1].items()}
    screened = screen(read_settings(write_uploads(tmp_path, {0: days[0], 1: nothing})), tmp_path / "out")
    assert screened.days[str(day(1))] == {"uploads": 0, "rejected": {}, "kept": 0}
    assert f"{day(1)}: no uploads" in screened.notes


def test_unused_block_list_ids_are_noted(days, tmp_path):
    path = write_uploads(tmp_path, days)
    (tmp_path / "blocked.txt").write_text("3\n999\n7\n")
    notes = screen(read_settings(path), tmp_path / "out").notes
    assert "blocked.txt: 1 of 3 ids have no uploads in these days, for example 999" in notes


def test_quota_without_candidates_is_noted(days, tmp_path):
    text = SETTINGS.replace('column = "fans", below = 100', 'column = "type", value = "vidio"').replace(
        'floor = 0.2, name = "small"', "cap = 0.2"
    )
    notes = screen(read_settings(write_uploads(tmp_path, days, text)), tmp_path / "out").notes
    assert "quota 'type is vidio': no candidate belongs to it" in notes


def test_works_without_song_are_not_compared_in_any_part(days, tmp_path, monkeypatch):
    path = write_uploads(tmp_path, {0: days[0]})
    shard = next((tmp_path / "uploads").rglob("*.parquet"))
    table = pq.read_table(shard)
    nothing = pa.nulls(len(table), table["song"].type)
    pq.write_table(table.set_column(table.schema.get_field_index("song"), "song", nothing), shard)
    for parts in (2**30, 1000):
        monkeypatch.setattr("karec.screening.day.VECTORS", parts)
        screened = screen(read_settings(path), tmp_path / f"out-{parts}")
        assert "near duplicate" not in screened.total()
        assert any("without a song or a content vector were not compared" in note for note in screened.notes)


def test_empty_vector_counts_as_missing(tmp_path):
    path = write_uploads(tmp_path, {0: draw(50, np.random.default_rng(1))})
    shard = next((tmp_path / "uploads").rglob("*.parquet"))
    table = pq.read_table(shard)
    vectors = table["vector"].to_pylist()
    for missing in ([], None):
        cells = pa.array(
            [missing if row < 40 else vector for row, vector in enumerate(vectors)], table["vector"].type
        )
        pq.write_table(table.set_column(table.schema.get_field_index("vector"), "vector", cells), shard)
        notes = screen(read_settings(path), tmp_path / str(missing)).notes
        assert any("without a song or a content vector were not compared" in note for note in notes)
    kept = [(tmp_path / str(missing) / "kept.parquet") for missing in ([], None)]
    assert pq.read_table(kept[0]).equals(pq.read_table(kept[1]))


@pytest.mark.parametrize("vectors", [[0.0] * 8, [float("nan")] * 8, [], None])
def test_works_without_vector_are_noted_and_not_compared(tmp_path, vectors):
    path = write_uploads(tmp_path, {0: draw(50, np.random.default_rng(1))})
    shard = next((tmp_path / "uploads").rglob("*.parquet"))
    table = pq.read_table(shard)
    nothing = pa.array([vectors] * 50, table["vector"].type)
    pq.write_table(table.set_column(table.schema.get_field_index("vector"), "vector", nothing), shard)
    screened = screen(read_settings(path), tmp_path / "out")
    assert "near duplicate" not in screened.total()
    assert any("without a song or a content vector were not compared" in note for note in screened.notes)


def test_too_few_candidates_are_all_kept_and_reported(days, tmp_path):
    text = SETTINGS.replace("keep = 60", "keep = 100_000").replace(
        "floor = 0.3, cap = 0.5", "cap = 1.0, floor = 0.0001"
    )
    screened = screen(read_settings(write_uploads(tmp_path, days, text)), tmp_path / "out")
    assert screened.total().get("quota", 0) == 0
    assert screened.violations[-1].endswith("expected 100,000; quotas allow no more")


def test_summary_and_kept_works_have_the_same_digest(out):
    summary = json.loads((out / "screen.json").read_text())
    assert pq.read_schema(out / "kept.parquet").metadata[b"screening.made_of"].decode() == summary["made_of"]


@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 3))
@settings(max_examples=15)
def test_each_work_of_a_random_library_counts_once(tmp_path_factory, seed, keep, n_days):
    folder, rng = tmp_path_factory.mktemp("any"), np.random.default_rng(seed)
    days = {number: draw(int(rng.integers(1, 120)), rng, number * 1000) for number in range(n_days)}
    path = write_uploads(folder, days, SETTINGS.replace("keep = 60", f"keep = {keep}"))
    screened, kept = screen(read_settings(path), folder / "out"), kept_of(folder / "out")
    assert len(kept) <= keep
    for number, columns in days.items():
        summary = screened.days[str(day(number))]
        candidates = sum(fate is None for fate in fates(columns))
        assert summary["kept"] + summary["rejected"].get("quota", 0) == candidates
        assert summary["kept"] + sum(summary["rejected"].values()) == len(columns["id"])
        assert summary["kept"] == sum(on == day(number) for on, _ in kept.values())
