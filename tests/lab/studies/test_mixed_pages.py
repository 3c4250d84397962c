"""The check of mixed pages counts by itself: it finds broken constraints that the page does not name."""

import pytest

from karec.lab.studies.mixed_pages import check_page

FULL = {"work": 10, "live": 10, "song": 10}
GOOD = ["live", *["work"] * 8, "song"]


def page(types, n_items=FULL, degraded=()):
    named = [f"mix.item_types: {name}" for name in degraded]
    return {"k": 10, "types": types, "n_items": n_items, "degraded": named}


def test_page_that_holds_all_constraints_passes():
    assert all(check_page(page(GOOD)).values())


@pytest.mark.parametrize(
    ("types", "names"),
    [
        (["live"] * 4 + ["work"] * 5 + ["song"], ["cap of live"]),
        (["live"] + ["work"] * 9, ["guarantee of song"]),
        (["work", "live"] + ["work"] * 7 + ["song"], ["position 0 of live"]),
    ],
)
def test_broken_constraint_is_counted_and_must_be_named(types, names):
    facts = check_page(page(types))
    assert facts["is_possible"] and not facts["holds_all"] and not facts["is_named"]
    assert facts["holds_shares"] == (names == ["position 0 of live"])
    assert check_page(page(types, degraded=names))["is_named"]
    assert not check_page(page(GOOD, degraded=names))["is_named"]


def test_page_is_impossible_without_enough_items():
    no_songs = {"work": 10, "live": 10, "song": 0}
    facts = check_page(page(["live", *["work"] * 9], no_songs, ["guarantee of song"]))
    assert not facts["is_possible"] and facts["is_named"] and facts["is_full"]
    few_works = {"work": 2, "live": 10, "song": 10}  # live and songs have caps of 3 and 4
    assert not check_page(page(["live"] * 10, few_works))["has_shares"]
    assert not check_page(page(["live", "work"], {"work": 2, "live": 1, "song": 1}))["is_full"]
