"""Relations of users to creators and to other users."""

import pytest
from own_files import START_S, TOML, shop_rows, write_log, write_shop

from karec.errors import DataError

ITEMS = '[items]\npath = "items.csv"\nid = "sku"\nroles = { creator = "maker", song = "tune" }\n'
FOLLOWS = (
    '[relations.follows]\npath = "follows.csv"\ncolumns = { user = "who", to = "whom", time = "since" }\n'
)


@pytest.fixture
def shop(tmp_path):
    """A shop whose items have creators. Some creators are users."""
    folder = write_shop(tmp_path / "shop", shop_rows(), toml=TOML)
    skus = sorted({row[1] for row in shop_rows()})
    makers = [f"c-{at % 4:02}" if at % 2 else f"maker {at}" for at in range(len(skus))]
    rows = "".join(f"{sku},{maker},song of {sku}\n" for sku, maker in zip(skus, makers, strict=True))
    (folder / "items.csv").write_text("sku,maker,tune\n" + rows)
    (folder / "data.toml").write_text(TOML.format(ending="csv") + ITEMS + FOLLOWS)
    return folder


def pairs_of(result, name):
    """Returns {(id of the user, number of the other)}."""
    relation, users = result.dataset.snapshot.relations[name], result.dataset.snapshot.users
    names = result.ids["users"].names(users.ids)
    actual = set()
    for row in range(len(users)):
        values = relation.row_values(row)
        actual |= {(str(names[row]), int(value)) for value in values}
    return actual


def test_follows_contain_creators_of_items(shop, read):
    follows = [
        ("c-01", "maker 2", START_S),
        ("c-01", "c-03", START_S + 9),
        ("c-05", "c-01", ""),
        ("c-01", "c-03", START_S),
    ]
    write_log(shop, follows, head=("who", "whom", "since"), name="follows")
    result = read(shop)
    creators = result.ids["creators"]
    expected = {(who, int(creators.numbers([whom])[0])) for who, whom, _ in follows}
    assert pairs_of(result, "follows") == expected
    works = result.dataset.snapshot.works
    assert {str(name) for name in creators.names(works["creator_id"])} >= {"maker 2", "c-01", "c-03"}
    assert {number for _, number in expected} <= set(works["creator_id"].tolist())
    # one person has one number
    assert result.ids["users"].numbers(["c-03"])[0] == creators.numbers(["c-03"])[0]
    (table,) = [table for table in result.report.tables if table.name == "relations.follows"]
    assert (table.rows, table.kept) == (4, 3)


def test_follows_contain_integer_creators_if_users_are_texts(shop, read):
    lines = (shop / "items.csv").read_text().splitlines()
    numbered = [
        f"{sku},{100 + at % 4},{tune}"
        for at, (sku, _, tune) in enumerate(line.split(",") for line in lines[1:])
    ]
    (shop / "items.csv").write_text("\n".join([lines[0], *numbered]) + "\n")
    write_log(
        shop, [("c-01", 102, START_S), ("c-05", 100, "")], head=("who", "whom", "since"), name="follows"
    )
    result = read(shop)
    assert set(result.dataset.snapshot.works["creator_id"].tolist()) == {100, 101, 102, 103}
    assert pairs_of(result, "follows") == {("c-01", 102), ("c-05", 100)}


def test_pair_without_an_id_is_reported(shop, read):
    write_log(
        shop,
        [("c-01", "maker 2", START_S), ("", "c-03", START_S)],
        head=("who", "whom", "since"),
        name="follows",
    )
    with pytest.raises(DataError, match=r"^follows\.csv:3: column 'who': the id is missing"):
        read(shop)
    (table,) = [t for t in read(shop, skip_bad=True).report.tables if t.name == "relations.follows"]
    assert (table.rows, table.kept) == (2, 1)


FRIENDS = '[relations.friends]\npath = "friends.csv"\ncolumns = { user = "who", to = "whom" }\n'


def test_friends_of_themselves_and_unknown_users_are_counted(shop, read):
    (shop / "data.toml").write_text(TOML.format(ending="csv") + ITEMS + FRIENDS)
    friends = [("c-01", "c-02"), ("c-01", "c-01"), ("c-02", "c-02"), ("ghost", "c-02"), ("c-02", "ghost")]
    write_log(shop, friends, head=("who", "whom"), name="friends")
    result = read(shop)
    (table,) = [table for table in result.report.tables if table.name == "relations.friends"]
    assert (table.rows, table.kept, dict(table.unusable)) == (5, 2, {})
    assert {cause: (entry.count, entry.places[0]) for cause, entry in table.left_out.items()} == {
        "column 'who': no user of the log": (1, "friends.csv:5"),
        "who and whom are one user": (2, "friends.csv:3"),
    }
    # an unknown friend may be a creator
    assert {who for who, _ in pairs_of(result, "friends")} == {"c-01", "c-02"}
