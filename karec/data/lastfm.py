"""Last.FM of HetRec 2011 (GroupLens / UAM): who listens to whom, friends, and tags, from the official file layout.

    artists.dat               id, name, url, pictureURL
    user_artists.dat          userID, artistID, weight (play count)
    user_friends.dat          userID, friendID, both directions
    user_taggedartists.dat    userID, artistID, tagID, day, month, year
    tags.dat                  tagID, tagValue

Tab-separated, nothing quoted. Listens have no moment and nothing was shown to anyone, so the result is a snapshot
without exposures: enough for recall, the social channel and diversity. Tags of artists that ``artists.dat`` does not
list are passed over (1,538 rows as published), and so are dates before Last.fm existed (5 rows).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from karec._clock import DAY_MS
from karec.data.tabular import MISSING, read_columns, require
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
FIRST_YEAR, LAST_YEAR = 2002, 2011


def load(root: Path) -> Snapshot:
    """The snapshot in the folder ``root``: a work is an artist, who is its creator and its song at once.

    Works: ``tag`` the tag assigned most often (ties: the lowest tag id; "missing" without any), ``upload_ms`` the day
    of the first tag (0 without any), numbers ``log_plays`` and ``log_listeners``. Users: ``log_plays``,
    ``log_friends``. Relations: ``history`` (artists by play count, the most played last), ``friends``. ``time_ms`` is
    the day after the last tag. Raises DataError naming file, column and what was expected.
    """
    root = Path(root)
    raw = {
        name: read_columns(root / name, columns, delimiter="\t", encoding="latin-1", quoted=False)
        for name, columns in FILES.items()
    }
    artists = _ids(root / "artists.dat", "id", raw["artists.dat"]["id"])
    users = Table(np.unique(raw["user_artists.dat"]["userID"]), {})
    history, user_plays, work_plays = _listens(root / "user_artists.dat", raw["user_artists.dat"], users, artists)
    friends = _friends(root / "user_friends.dat", raw["user_friends.dat"], users)
    tag_columns, tag_names, last_ms = _tags(root, raw, artists)
    return Snapshot(
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


def _listens(path: Path, listens: dict[str, Array], users: Table, artists: Table) -> tuple[Relation, Array, Array]:
    """(artists of each user by play count, log plays by user, log plays by artist)."""
    weight = listens["weight"]
    require(path, "weight", weight > 0, "a play count > 0", weight)
    artist = _rows(path, "artistID", listens["artistID"], artists, "an artist of artists.dat")
    user = users.lookup(listens["userID"])
    by_plays = np.lexsort((listens["artistID"], weight))
    history = Relation.from_pairs(user[by_plays], listens["artistID"][by_plays], len(users))
    return history, _log1p(np.bincount(user, weight, len(users))), _log1p(np.bincount(artist, weight, len(artists)))


def _friends(path: Path, friends: dict[str, Array], users: Table) -> Relation:
    user = _rows(path, "userID", friends["userID"], users, "a user of user_artists.dat")
    _rows(path, "friendID", friends["friendID"], users, "a user of user_artists.dat")
    return Relation.from_pairs(user, friends["friendID"], len(users))


def _tags(root: Path, raw: dict[str, dict[str, Array]], artists: Table) -> tuple[dict[str, Array], list[str], int]:
    """({"tag", "upload_ms"} of each artist, names of the tag codes, the last day of all)."""
    tagged = raw["user_taggedartists.dat"]
    known = artists.lookup(tagged["artistID"]) >= 0
    tagged = {name: column[known] for name, column in tagged.items()}
    artist = artists.lookup(tagged["artistID"])
    tag, names = _most_assigned(root, artist, tagged["tagID"], raw["tags.dat"], len(artists))
    first_ms, last_ms = _tag_days(root / "user_taggedartists.dat", tagged, artist, len(artists))
    return {"tag": tag, "upload_ms": first_ms}, names, last_ms


def _ids(path: Path, column: str, ids: Array) -> Table:
    try:
        return Table(ids, {})
    except ValueError as error:
        raise DataError(f"{path}: column {column!r}: {error}") from error


def _rows(path: Path, column: str, ids: Array, table: Table, expected: str) -> Array:
    rows = table.lookup(ids)
    require(path, column, rows >= 0, expected, ids)
    return rows


def _log1p(counts: Array) -> Array:
    return np.asarray(np.log1p(counts), np.float32)


def _most_assigned(
    root: Path, artist: Array, tag_id: Array, tags: dict[str, Array], n_artists: int
) -> tuple[Array, list[str]]:
    """(code of each artist's most assigned tag (n_artists,) int32, names of the codes); code 0 is "missing"."""
    table = _ids(root / "tags.dat", "tagID", tags["tagID"])
    row = _rows(root / "user_taggedartists.dat", "tagID", tag_id, table, "a tag of tags.dat")
    by_id = np.argsort(tags["tagID"], kind="stable")
    code = np.empty(len(table), np.int64)
    code[by_id] = np.arange(len(table))
    pairs, counts = np.unique(artist * len(table) + code[row], return_counts=True)
    order = np.lexsort((-pairs, counts))
    best = np.zeros(n_artists, np.int32)
    best[pairs[order] // len(table)] = pairs[order] % len(table) + 1
    return best, [MISSING, *tags["tagValue"][by_id]]


def _tag_days(path: Path, tagged: dict[str, Array], artist: Array, n_artists: int) -> tuple[Array, int]:
    """(first tag of each artist (n_artists,) Unix ms, 0 = none; the last tag of all)."""
    year, month, day = tagged["year"], tagged["month"], tagged["day"]
    require(path, "month", (month >= 1) & (month <= 12), "1 … 12", month)
    require(path, "day", (day >= 1) & (day <= 31), "1 … 31", day)
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    moment = (months.astype("datetime64[D]").astype(np.int64) + day - 1) * DAY_MS
    dated = (year >= FIRST_YEAR) & (year <= LAST_YEAR)
    if not dated.any():
        raise DataError(f"{path}: column 'year': no date in {FIRST_YEAR} … {LAST_YEAR}")
    first = np.full(n_artists, np.iinfo(np.int64).max)
    np.minimum.at(first, artist[dated], moment[dated])
    first[first == np.iinfo(np.int64).max] = 0
    return first, int(moment[dated].max())
