"""Ready-made splits: files, a column, and the last positives of each user."""

import itertools

import numpy as np
import pytest
from own_files import START_S, write_log

HEAD = ("who", "what", "at", "stars", "part")
TOML = """\
[events]
path = "log.csv"
columns = { user = "who", item = "what", time = "at" }
"""
PARTS = ("train", "validation", "test")


def rows_of_users(parts=PARTS, *, n_users=12, n_items=40):
    """Returns 20 rows for each user, in the given parts, at times of their own."""
    generator = np.random.default_rng(0)
    return [
        (
            f"u{user}",
            f"i{item}",
            START_S + user * 400_000 + at * 3600,
            1 + int(item) % 5,
            parts[at * len(parts) // 20],
        )
        for user in range(n_users)
        for at, item in enumerate(generator.permutation(n_items)[:20])
    ]


def write(folder, toml, rows, head=HEAD):
    folder.mkdir(exist_ok=True)
    write_log(folder, rows, head=head)
    (folder / "data.toml").write_text(toml)
    return folder


def pairs_of(result, *, label="positive"):
    """Returns the set of (user, item) of positives for training, validation and test."""
    pairs = []
    for part in result.dataset.split():
        rows = part.take(part.labels[label] == 1)
        users, items = result.ids["users"].names(rows.user_id), result.ids["items"].names(rows.work_id)
        pairs.append(set(zip(map(str, users), map(str, items), strict=True)))
    return pairs


def expected_pairs(rows, part):
    return {(user, item) for user, item, *_, name in rows if name == part}


def test_column_gives_the_parts_of_a_split(read, tmp_path):
    rows = rows_of_users()
    result = read(write(tmp_path, TOML + '[split]\ncolumn = "part"\nhistory = 0.0\n', rows))
    assert pairs_of(result) == [expected_pairs(rows, part) for part in PARTS]
    assert result.dataset.timeless and any("parts overlap" in note for note in result.dataset.notes)


def test_files_give_the_same_split_as_a_column(read, same, tmp_path):
    rows = rows_of_users()
    by_column = write(tmp_path / "column", TOML + '[split]\ncolumn = "part"\n', rows)
    by_files = tmp_path / "files"
    by_files.mkdir()
    for part in PARTS:
        write_log(by_files, [row for row in rows if row[4] == part], head=HEAD, name=part)
    files = '[split]\nfiles = { train = "train.csv", validation = "validation.csv", test = "test.csv" }\n'
    (by_files / "data.toml").write_text(TOML.replace('path = "log.csv"\n', "") + files)
    same(read(by_column), read(by_files))


def test_parts_in_order_of_time_keep_their_times(read, tmp_path):
    rows = rows_of_users()
    shift = {"train": 0, "validation": 10**7, "test": 2 * 10**7}
    late = [(user, item, at + shift[part], stars, part) for user, item, at, stars, part in rows]
    result = read(write(tmp_path, TOML + '[split]\ncolumn = "part"\nhistory = 0.0\n', late))
    assert pairs_of(result) == [expected_pairs(rows, part) for part in PARTS]
    assert not result.dataset.timeless
    assert {row[2] * 1000 for row in late} == set(result.dataset.exposures.time_ms.tolist())


@pytest.mark.parametrize("has_times", [True, False])
def test_split_without_validation_takes_it_from_train(read, tmp_path, has_times):
    rows = rows_of_users(("train", "test"))
    toml = TOML if has_times else TOML.replace(', time = "at"', "")
    result = read(write(tmp_path, toml + '[split]\ncolumn = "part"\nhistory = 0.0\nvalidation = 0.2\n', rows))
    train, validation, test = pairs_of(result)
    assert test == expected_pairs(rows, "test") and train | validation == expected_pairs(rows, "train")
    assert len(validation) == 12 * 2


def test_last_positives_of_each_user_are_test_and_validation(read, tmp_path):
    rows = rows_of_users()
    single = [("new", "i1", START_S, 5, ""), ("new", "i2", START_S + 1, 5, "")]
    result = read(write(tmp_path, TOML + '[split]\nby = "last"\nhistory = 0.0\n', rows + single))
    last = {
        user: [row[:2] for row in of_user] for user, of_user in itertools.groupby(rows, lambda row: row[0])
    }
    train, validation, test = pairs_of(result)
    assert validation == {pairs[-2] for pairs in last.values()}
    assert test == {pairs[-1] for pairs in last.values()}
    assert {("new", "i1"), ("new", "i2")} <= train
    assert any("1 of 13 users have fewer than 3 positives" in note for note in result.dataset.notes)


def test_history_of_a_row_has_the_earlier_rows_of_the_user(read, tmp_path):
    rows = rows_of_users()
    result = read(write(tmp_path, TOML + '[split]\nby = "last"\nhistory = 0.0\n', rows))
    exposures = result.dataset.exposures
    exposures = exposures.take(exposures.labels["positive"] == 1)
    for user in np.unique(exposures.user_id):
        of_user = exposures.take(exposures.user_id == user)
        names = zip(
            result.ids["users"].names(of_user.user_id),
            result.ids["items"].names(of_user.work_id),
            strict=True,
        )
        name = str(result.ids["users"].names(np.array([user]))[0])
        assert [(str(u), str(i)) for u, i in names] == [row[:2] for row in rows if row[0] == name]


def test_ratings_without_times_keep_their_low_stars_as_negatives(read, tmp_path):
    rows = rows_of_users()
    toml = TOML.replace(', time = "at"', "") + '[labels]\nliked = { column = "stars", at_least = 4 }\n'
    result = read(write(tmp_path, toml + '[split]\nby = "user"\nhistory = 0.0\n', rows))
    exposures = result.dataset.exposures
    assert len(exposures) == len(rows) and result.dataset.drawn is None
    assert exposures.labels["liked"].sum() == sum(row[3] >= 4 for row in rows)


def test_pair_in_two_parts_counts_in_the_first(read, tmp_path):
    rows = rows_of_users(("train", "validation", "test"))
    again = [(user, item, at, stars, "test") for user, item, at, stars, part in rows if part == "train"][:5]
    result = read(write(tmp_path, TOML + '[split]\ncolumn = "part"\nhistory = 0.0\n', rows + again))
    assert pairs_of(result)[2] == expected_pairs(rows, "test")
    (events,) = result.report.tables
    assert sum(reason.count for reason in events.left_out.values()) == 5


def test_unknown_part_is_a_mistake_with_its_line(refused, tmp_path):
    rows = rows_of_users()
    folder = write(
        tmp_path, TOML + '[split]\ncolumn = "part"\n', [*rows, ("u1", "i1", START_S, 3, "holdout")]
    )
    assert "log.csv:242" in refused(folder)


def test_split_without_test_rows_is_refused(refused, tmp_path):
    folder = write(tmp_path, TOML + '[split]\ncolumn = "part"\n', rows_of_users(("train",)))
    assert "no row is in test" in refused(folder)


def test_file_in_two_parts_is_refused(refused, tmp_path):
    toml = TOML.replace('path = "log.csv"\n', "") + '[split]\nfiles = { train = "log.csv", test = "*.csv" }\n'
    assert "a file in two parts" in refused(write(tmp_path, toml, rows_of_users()))
