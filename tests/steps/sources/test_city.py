"""Items of the user's own city."""

from dataclasses import replace

import numpy as np
import pytest

from karec.catalog.table import Table
from karec.pipeline.types import Request
from karec.steps.sources.city import City


def ids_of(source, user_id=1):
    return source.recall(Request(user_id=user_id)).ids.tolist()


@pytest.fixture
def cities(platform):
    """Even items are of city 0, odd ones of city 5. User 1 is of city 0, 2 of 5, 3 of 9 (no items), 4 of
    none."""
    works = Table(platform.works.ids, {**platform.works.columns, "city": np.array([0, 5] * 5)})
    return replace(platform, works=works, users=Table(platform.users.ids, {"city": np.array([0, 5, 9, -1])}))


def test_city_alternates_popular_and_new_items(cities):
    """Of the even items 108 is the most popular and 100 the newest."""
    assert ids_of(City(cities, quota=20)) == [108, 100, 106, 102, 104]
    assert ids_of(City(cities, quota=3), user_id=2) == [109, 101, 107]


@pytest.mark.parametrize("user_id", [3, 4, 999])
def test_city_is_empty_for_users_without_city(cities, user_id):
    assert ids_of(City(cities, quota=20), user_id) == []


def test_city_rejects_a_column_missing_in_users_or_works(cities, platform):
    for snapshot, of in (
        (replace(cities, users=platform.users), "users"),
        (replace(cities, works=platform.works), "works"),
    ):
        with pytest.raises(
            ValueError, match=f"the source city needs the column 'city' .* columns of {of} are"
        ):
            City(snapshot, quota=3)
    with pytest.raises(
        ValueError, match="needs the column 'town' of users and of works; columns of users are"
    ):
        City(cities, quota=3, column="town")


def test_city_rejects_a_float_column(cities):
    towns = replace(cities, users=Table(cities.users.ids, {"city": np.array([0.0, np.nan, 5.0, 1.5])}))
    with pytest.raises(ValueError, match="the column 'city' holds float64, expected integers"):
        City(towns, quota=3)
