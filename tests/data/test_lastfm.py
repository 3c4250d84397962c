"""The Last.FM loader: what of the official files becomes what, and what a bad file gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lastfm_files import Files, lastfm_files

from karec._clock import DAY_MS
from karec.data import lastfm
from karec.errors import DataError


@pytest.fixture
def files() -> Files:
    return lastfm_files()


def test_artists_are_works_and_listening_is_history(files: Files, write: Callable[..., Path]) -> None:
    s, notes = lastfm.load(write(files, "\t"))
    assert notes == (
        "user_taggedartists.dat: 6 rows read, 1 passed over whose artist is not in artists.dat",
        "user_taggedartists.dat: 1 dates passed over that lie before 2002",
        "user_friends.dat: 0 of 2 users have no friend",
    )
    assert s.works.ids.tolist() == [20, 10, 30]
    assert s.works["creator_id"].tolist() == s.works["song_id"].tolist() == [20, 10, 30]
    assert [s.labels["tag"][code] for code in s.works["tag"]] == ["chanson française", "rock", "missing"]
    first = [np.datetime64(day).astype("datetime64[D]").astype(int) * DAY_MS for day in ("2011-01-01", "2009-02-01")]
    assert s.works["upload_ms"].tolist() == [*first, 0]
    assert s.time_ms == first[0] + DAY_MS
    assert s.users.ids.tolist() == [2, 4]
    assert [s.relations["history"].of(row).tolist() for row in range(2)] == [[10, 20], [30]]
    assert [s.relations["friends"].of(row).tolist() for row in range(2)] == [[4], [2]]
    np.testing.assert_allclose(s.works["log_plays"], np.log1p([9, 7, 1]), rtol=1e-6)
    np.testing.assert_allclose(s.works["log_listeners"], np.log1p([1, 1, 1]), rtol=1e-6)
    np.testing.assert_allclose(s.users["log_plays"], np.log1p([16, 1]), rtol=1e-6)


def set_cell(name: str, row: int, column: int, value: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        files[name][row][column] = value

    return change


BAD: dict[str, tuple[Callable[[Files], object], list[str]]] = {
    "no artists": (lambda f: f.pop("artists.dat"), ["artists.dat", "missing", "id"]),
    "empty": (lambda f: f.update({"tags.dat": []}), ["tags.dat", "empty", "tagValue"]),
    "column gone": (set_cell("user_artists.dat", 0, 2, "plays"), ["user_artists.dat", "'weight'", "plays"]),
    "text for a number": (set_cell("user_artists.dat", 1, 2, "many"), ["user_artists.dat", "'weight'", "int", "many"]),
    "no plays": (set_cell("user_artists.dat", 2, 2, "0"), ["user_artists.dat", "'weight'", "line 3", "> 0"]),
    "unknown artist": (set_cell("user_artists.dat", 1, 1, "77"), ["user_artists.dat", "'artistID'", "77"]),
    "unknown friend": (set_cell("user_friends.dat", 1, 1, "77"), ["user_friends.dat", "'friendID'", "77"]),
    "unknown tag": (set_cell("user_taggedartists.dat", 2, 2, "77"), ["user_taggedartists.dat", "'tagID'", "77"]),
    "month 13": (set_cell("user_taggedartists.dat", 1, 4, "13"), ["user_taggedartists.dat", "'month'", "1 … 12"]),
    "artist twice": (set_cell("artists.dat", 1, 0, "10"), ["artists.dat", "'id'", "line 3", "10", "once"]),
    "commas": (
        lambda f: f.update({"user_friends.dat": [["userID,friendID"], ["2,4"]]}),
        ["user_friends.dat", "userID"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_with_its_column_and_what_was_expected(
    case: str, files: Files, write: Callable[..., Path]
) -> None:
    change, words = BAD[case]
    change(files)
    with pytest.raises(DataError) as error:
        lastfm.load(write(files, "\t"))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_the_published_files_are_whole(lastfm_root: Path) -> None:
    s, notes = lastfm.load(lastfm_root)
    assert [note.split(": ")[1].split(" passed")[0] for note in notes] == [
        "186479 rows read, 1538",
        "5 dates",
        "0 of 1892 users have no friend",
    ]
    friends, history = s.relations["friends"], s.relations["history"]
    assert (len(s.users), len(s.works)) == (1892, 17632)
    assert (len(history.values), len(friends.values)) == (92834, 25434)
    user = np.repeat(s.users.ids, np.diff(friends.indptr))
    pairs = set(zip(user.tolist(), friends.values.tolist(), strict=True))
    assert pairs == {(b, a) for a, b in pairs}
    metallica = int(s.works.lookup(np.array([707]))[0])
    assert s.labels["tag"][s.works["tag"][metallica]] in {"metal", "thrash metal", "heavy metal"}
