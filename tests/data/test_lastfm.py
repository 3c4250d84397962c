"""The preset of Last.fm: the dataset of the official files, and mistakes in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lastfm_files import ARTISTS, TAKEN, Files, lastfm_files, load_lastfm

from karec.errors import DataError


@pytest.fixture
def files() -> Files:
    return lastfm_files()


@pytest.fixture
def write_files(write: Callable[..., Path]) -> Callable[[Files], Path]:
    """Writes the files in their official encodings: artists in UTF-8, others in Latin-1."""

    def written(files: Files) -> Path:
        folder = write(files, "\t")
        if "artists.dat" in files:
            artists = folder / "artists.dat"
            artists.write_text(artists.read_text(encoding="latin-1"), encoding="utf-8")
        return folder

    return written


def test_lastfm_listens_are_positives_and_artists_have_tags(
    files: Files, write_files: Callable[[Files], Path]
) -> None:
    dataset = load_lastfm(write_files(files))
    snapshot = dataset.snapshot
    assert snapshot.works.ids.tolist() == list(ARTISTS) and snapshot.users.ids.tolist() == [2, 4, 6]
    assert [snapshot.relations["friends"].row_values(row).tolist() for row in range(3)] == [[4], [2], []]
    tags = [
        [snapshot.labels["tag"][code] for code in snapshot.works[name] if code >= 0]
        for name in ("tag", "tag2")
    ]
    assert tags == [["chanson française", "rock"], ["rock", "chanson française"]]
    history = [snapshot.relations["history"].row_values(row).tolist() for row in range(3)]
    positive = dataset.exposures.labels["positive"] == 1
    for user, before in zip(TAKEN, history, strict=True):
        later = dataset.exposures.work_id[positive & (dataset.exposures.user_id == user)].tolist()
        assert sorted(before + later) == sorted(TAKEN[user])
    assert len(snapshot.relations["skipped"].values) == 0  # negatives are drawn: nobody passed them over
    assert any("items.values.tags: 6 rows read, of which are left out" in note for note in dataset.notes)


def test_repeated_friends_are_counted(files: Files, write_files: Callable[[Files], Path]) -> None:
    files["user_friends.dat"].append(["4", "2"])
    notes = load_lastfm(write_files(files)).notes
    assert "relations.friends: 3 rows read, of which are left out: the same pair as another row: 1" in notes


def set_cell(name: str, row: int, column: int, value: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        files[name][row][column] = value

    return change


MISTAKES: dict[str, tuple[Callable[[Files], object], list[str]]] = {
    "no plays": (
        set_cell("user_artists.dat", 2, 2, "0"),
        ["user_artists.dat:3", "'weight'", "not within 1 …"],
    ),
    "unknown artist": (
        set_cell("user_artists.dat", 1, 1, "77"),
        ["user_artists.dat:2", "the item is not in items"],
    ),
    "unknown user": (
        set_cell("user_friends.dat", 1, 0, "77"),
        ["user_friends.dat:2", "'userID'", "no user of the log"],
    ),
    "unknown friend": (
        set_cell("user_friends.dat", 1, 1, "77"),
        ["user_friends.dat:2", "'friendID'", "no user"],
    ),
    "own friend": (set_cell("user_friends.dat", 1, 1, "2"), ["user_friends.dat:2", "are one user"]),
    "unknown tag": (
        set_cell("user_taggedartists.dat", 2, 2, "77"),
        ["user_taggedartists.dat:3", "'tagID'", "names"],
    ),
    "tag twice": (set_cell("tags.dat", 1, 0, "5"), ["tags.dat:3", "'tagID'", "appears twice"]),
    "tag is no text": (
        set_cell("tags.dat", 1, 1, "a\x1bb"),
        ["tags.dat:2", "'tagValue'", "control character"],
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistake_in_a_file_is_reported_with_line_and_column(
    case: str, files: Files, write_files: Callable[[Files], Path]
) -> None:
    change, words = MISTAKES[case]
    change(files)
    with pytest.raises(DataError) as error:
        load_lastfm(write_files(files))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_lastfm_download_is_read_completely(lastfm_root: Path) -> None:
    dataset = load_lastfm(lastfm_root)
    s = dataset.snapshot
    assert dataset.notes[-1] == (
        "items.values.tags: 186,479 rows read, of which are left out: the item is not in items: 1,538"
    )
    friends, history = s.relations["friends"], s.relations["history"]
    assert (len(s.users), len(s.works)) == (1892, 17632)
    assert len(history.values) + int(dataset.exposures.labels["positive"].sum()) == 92834
    assert len(friends.values) == 25434 and (np.diff(friends.indptr) > 0).all()
    user = np.repeat(s.users.ids, np.diff(friends.indptr))
    pairs = set(zip(user.tolist(), friends.values.tolist(), strict=True))
    assert pairs == {(b, a) for a, b in pairs}
    metallica = int(s.works.lookup(np.array([707]))[0])
    assert s.labels["tag"][s.works["tag"][metallica]] in {"metal", "thrash metal", "heavy metal"}
