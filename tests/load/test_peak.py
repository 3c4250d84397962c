"""The peak of services whose goodput is known at each rate."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.load.peak import MOST_STEPS, find_peak


def peak_of(goodput, first_rate):
    """find_peak on a service that answers ``goodput(rate)`` feeds a second in time."""
    asked = []

    async def run(rate):
        asked.append(rate)
        return {"goodput_per_s": goodput(rate)}

    peak, reports = asyncio.run(find_peak(run, first_rate))
    assert len(reports) == len(asked)
    return peak, asked


@given(capacity=st.floats(10, 10_000), first=st.floats(1, 20_000))
def test_the_peak_of_a_service_that_refuses_the_rest_is_what_it_can_do(capacity, first):
    peak, asked = peak_of(lambda rate: min(rate, capacity), first)
    assert 0.9 * capacity <= peak <= capacity * (1 + 1e-9)
    assert len(asked) <= MOST_STEPS + 2


@given(capacity=st.floats(10, 10_000), first=st.floats(1, 20_000))
def test_a_service_that_breaks_down_above_its_peak_is_found_below_it(capacity, first):
    peak, _ = peak_of(lambda rate: rate if rate <= capacity else 0.1 * capacity, first)
    assert capacity / 1.4 <= peak * (1 + 1e-9) and peak <= capacity


@given(capacity=st.floats(10, 10_000), first=st.floats(100, 20_000), share=st.floats(0.3, 1))
def test_a_service_that_refuses_some_at_every_rate_has_its_peak_where_it_can_do_no_more(
    capacity, first, share
):
    peak, _ = peak_of(lambda rate: min(share * rate, capacity), first)
    assert 0.9 * capacity <= peak <= capacity * (1 + 1e-9)


def test_a_service_that_answers_nothing_ends_the_search():
    peak, asked = peak_of(lambda _: 0.0, 100)
    assert peak == 0 and len(asked) <= MOST_STEPS + 2


@pytest.mark.parametrize("first", [1.0, 1e6])
def test_rates_go_up_or_down_from_the_first(first):
    peak, asked = peak_of(lambda rate: min(rate, 1000), first)
    assert (asked[2] > asked[0]) is (first < 1000) and peak >= 900
