"""Last.FM of HetRec 2011 (GroupLens / UAM): who listens to whom, friends, and tags, from the official file layout.

    artists.dat               id, name, url, pictureURL
    user_artists.dat          userID, artistID, weight (play count)
    user_friends.dat          userID, friendID, both directions
    user_taggedartists.dat    userID, artistID, tagID, day, month, year
    tags.dat                  tagID, tagValue

Tab-separated, nothing quoted. Listens have no moment and nothing was shown to anyone, so the result is a snapshot
without exposures: enough for recall, the social channel and diversity. Tags of artists that ``artists.dat`` does not
list are passed over (1,538 rows as published), and so are dates before Last.fm existed (5 rows); both are counted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from karec._clock import DAY_MS
from karec.data.tabular import MISSING, read_columns, require, require_ids, require_texts
from karec.errors import DataError
from karec.platform.relations import Relation
from karec.platform.snapshot import Snapshot
from karec.platform.table import Table
from karec.types import Array

FILES: dict[str, dict[str, type]] = {
    "artists.dat": {"id": int},
    "user_artists.dat": dict.fromkeys(("userID", "artistID", "weight"), int),
    "user_friends.dat": dict.fromkeys(("userID", "friendID"), int),
    "user_taggedartists.dat": dict.fromkeys(("userID", "artistID", "tagID", "day", "month", "year"), int),
    "tags.dat": {"tagID": int, "tagValue": str},
}
EARLIEST_YEAR, FIRST_YEAR, LAST_YEAR = 1900, 2002, 2011  # a slip may lie between the first two, and is no date
MOST_PLAYS = 10**9


def load(root: Path) -> tuple[Snapshot, tuple[str, ...]]:
    """(the snapshot in the folder ``root``, notes of what was passed over, a line each).

    A work is an artist, who is its creator and its song at once.

    Works: ``tag`` the tag assigned most often (ties: the lowest tag id; "missing" without any), ``upload_ms`` the day
    of the first tag (0 without any), numbers ``log_plays`` and ``log_listeners``. Users: ``log_plays``,
    ``log_friends``. Relations: ``history`` (artists by play count, the most played last), ``friends``. ``time_ms`` is
    the day after the last tag. Raises DataError naming file, column, line and what was expected.
    """
    root = Path(root)
    raw = {
        name: read_columns(root / name, columns, delimiter="\t", encoding="latin-1", quoted=False)
        for name, columns in FILES.items()
    }
    artists = _ids(root / "artists.dat", "id", raw["artists.dat"]["id"])
    listeners = raw["user_artists.dat"]["userID"]
    require(root / "user_artists.dat", "userID", listeners >= 0, "an id ≥ 0", listeners)
    users = Table(np.unique(listeners), {})
    history, user_plays, work_plays = _listens(root / "user_artists.dat", raw["user_artists.dat"], users, artists)
    friends = _friends(root / "user_friends.dat", raw["user_friends.dat"], users)
    tag_columns, tag_names, last_ms, notes = _tags(root, raw, users, artists)
    snapshot = Snapshot(
        time_ms=last_ms + DAY_MS,
        works=Table(
            artists.ids,
            {
                "creator_id": artists.ids,
                "song_id": artists.ids,
                "type": np.zeros(len(artists), np.int32),
                **tag_columns,
                "log_plays": work_plays,
                "log_listeners": _log1p(np.bincount(artists.lookup(history.values), minlength=len(artists))),
            },
        ),
        users=Table(users.ids, {"log_plays": user_plays, "log_friends": _log1p(np.diff(friends.indptr))}),
        relations={"history": history, "friends": friends},
        labels={"type": ["artist"], "tag": tag_names},
    )
    lonely = f"user_friends.dat: {(np.diff(friends.indptr) == 0).sum()} of {len(users)} users have no friend"
    return snapshot, (*notes, lonely)


def _listens(path: Path, listens: dict[str, Array], users: Table, artists: Table) -> tuple[Relation, Array, Array]:
    """(artists of each user by play count, log plays by user, log plays by artist)."""
    weight = listens["weight"]
    require(path, "weight", (weight > 0) & (weight <= MOST_PLAYS), f"a play count > 0, at most {MOST_PLAYS}", weight)
    artist = _rows(path, "artistID", listens["artistID"], artists, "an artist of artists.dat")
    user = users.lookup(listens["userID"])
    _once(path, "artistID", listens["artistID"], "each artist of a user once", user, artist)
    by_plays = np.lexsort((listens["artistID"], weight))
    history = Relation.from_pairs(user[by_plays], listens["artistID"][by_plays], len(users))
    return history, _log1p(np.bincount(user, weight, len(users))), _log1p(np.bincount(artist, weight, len(artists)))


def _friends(path: Path, friends: dict[str, Array], users: Table) -> Relation:
    user = _rows(path, "userID", friends["userID"], users, "a user of user_artists.dat")
    friend = _rows(path, "friendID", friends["friendID"], users, "a user of user_artists.dat")
    pair, back = user * len(users) + friend, friend * len(users) + user
    require(path, "friendID", user != friend, "another user than userID", friends["friendID"])
    _once(path, "friendID", friends["friendID"], "each friend of a user once", user, friend)
    require(path, "friendID", np.isin(back, pair), "a friendship in both directions", friends["friendID"])
    return Relation.from_pairs(user, friends["friendID"], len(users))


def _tags(
    root: Path, raw: dict[str, dict[str, Array]], users: Table, artists: Table
) -> tuple[dict[str, Array], list[str], int, tuple[str, ...]]:
    """({"tag", "upload_ms"} of each artist, names of the tag codes, the last day of all, notes)."""
    path, tagged = root / "user_taggedartists.dat", raw["user_taggedartists.dat"]
    user = _rows(path, "userID", tagged["userID"], users, "a user of user_artists.dat")
    require(path, "artistID", tagged["artistID"] >= 0, "an id ≥ 0", tagged["artistID"])
    tag = _ids(root / "tags.dat", "tagID", raw["tags.dat"]["tagID"])
    tag_row = _rows(path, "tagID", tagged["tagID"], tag, "a tag of tags.dat")
    _once(path, "tagID", tagged["tagID"], "each tag of a user and an artist once", user, tagged["artistID"], tag_row)
    moment = _moments(path, tagged)
    artist = artists.lookup(tagged["artistID"])
    known, dated = artist >= 0, moment > 0
    if not (known & dated).any():
        raise DataError(f"{path}: column 'year': no tag of a known artist is dated {FIRST_YEAR} … {LAST_YEAR}")
    best, names = _most_assigned(root / "tags.dat", artist[known], tag_row[known], raw["tags.dat"], len(artists))
    first = np.full(len(artists), np.iinfo(np.int64).max)
    np.minimum.at(first, artist[known & dated], moment[known & dated])
    first[first == np.iinfo(np.int64).max] = 0
    notes = (
        f"{path.name}: {len(artist)} rows read, {(~known).sum()} passed over whose artist is not in artists.dat",
        f"{path.name}: {(known & ~dated).sum()} dates passed over that lie before {FIRST_YEAR}",
    )
    return {"tag": best, "upload_ms": first}, names, int(moment[known & dated].max()), notes


def _ids(path: Path, column: str, ids: Array) -> Table:
    require_ids(path, column, ids)
    return Table(ids, {})


def _once(path: Path, column: str, values: Array, expected: str, *keys: Array) -> None:
    """DataError at the first of ``values`` whose ``keys`` stand together before it."""
    order = np.lexsort(keys)
    again = np.zeros(len(values), bool)
    again[order[1:]] = np.logical_and.reduce([key[order[1:]] == key[order[:-1]] for key in keys])
    require(path, column, ~again, expected, values)


def _rows(path: Path, column: str, ids: Array, table: Table, expected: str) -> Array:
    rows = table.lookup(ids)
    require(path, column, rows >= 0, expected, ids)
    return rows


def _log1p(counts: Array) -> Array:
    return np.asarray(np.log1p(counts), np.float32)


def _most_assigned(
    path: Path, artist: Array, tag_row: Array, tags: dict[str, Array], n_artists: int
) -> tuple[Array, list[str]]:
    """(code of each artist's most assigned tag (n_artists,) int32, names of the codes); code 0 is "missing"."""
    require_texts(path, "tagValue", tags["tagValue"])
    require(path, "tagValue", tags["tagValue"] != "", "a tag", np.full(len(tags["tagValue"]), "empty"))
    by_id = np.argsort(tags["tagID"], kind="stable")
    code = np.empty(len(by_id), np.int64)
    code[by_id] = np.arange(len(by_id))
    pairs, counts = np.unique(artist * len(by_id) + code[tag_row], return_counts=True)
    order = np.lexsort((-pairs, counts))
    best = np.zeros(n_artists, np.int32)
    best[pairs[order] // len(by_id)] = pairs[order] % len(by_id) + 1
    return best, [MISSING, *tags["tagValue"][by_id]]


def _moments(path: Path, tagged: dict[str, Array]) -> Array:
    """(M,) int64: the day of each tag in Unix ms, 0 before FIRST_YEAR."""
    year, month, day = tagged["year"], tagged["month"], tagged["day"]
    require(path, "year", (year >= EARLIEST_YEAR) & (year <= LAST_YEAR), f"{EARLIEST_YEAR} … {LAST_YEAR}", year)
    require(path, "month", (month >= 1) & (month <= 12), "1 … 12", month)
    months = (year - 1970) * 12 + month - 1
    first, after = (at.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) for at in (months, months + 1))
    require(path, "day", (day >= 1) & (day <= after - first), "a day of the month", day)
    return np.where(year >= FIRST_YEAR, (first + day - 1) * DAY_MS, 0)
