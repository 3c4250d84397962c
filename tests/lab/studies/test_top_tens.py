"""Distinct works in users' best tens: counted on an index whose best tens are known."""

from dataclasses import replace

import numpy as np
import pytest

from karec import ItemIndex
from karec.cascade import Cascade, Recall
from karec.errors import DataError
from karec.lab.studies.top_tens import distinct_in_top_tens, top_tens_sentence
from karec.prerank.inner_product import InnerProduct
from karec.prerank.rows import IndexRows
from karec.recall.merger import QuotaMerger
from karec.stage import RequestHydrator, Source, Stage
from karec.types import Candidates, Request

DIM, WORKS = 8, 400
IDS = np.arange(WORKS) + 1_000
VECTORS = np.random.default_rng(3).standard_normal((WORKS, DIM)).astype(np.float32)


class AllWorks(Source):
    quota = WORKS

    def recall(self, request):
        return Candidates.of(IDS)


class VectorOf(RequestHydrator):
    """User u has the vector that is drawn from the seed u."""

    gives = ("request.user_vector",)

    def hydrate_request(self, request):
        return {
            "user_vector": np.random.default_rng(request.user_number)
            .standard_normal((1, DIM))
            .astype(np.float32)
        }


@pytest.fixture
def index():
    return ItemIndex.build(IDS, VECTORS, dtype="float32")


@pytest.fixture
def cascade(index):
    prerank = Stage("prerank", (IndexRows(index), InnerProduct(index, 100)))
    recall = Recall((AllWorks(),), QuotaMerger([WORKS], WORKS))
    return Cascade("home", (VectorOf(),), recall, (prerank,), index=index)


def asked(users):
    return [Request(user, scene="home", time_ms=0, request_id=str(user)) for user in users]


def best_tens(users, rows):
    vectors = [np.random.default_rng(user).standard_normal(DIM) for user in users]
    return {IDS[rows][at] for v in vectors for at in np.argsort(-(VECTORS[rows].astype(np.float64) @ v))[:10]}


def test_distinct_works_are_those_of_the_best_ten_of_every_user(cascade, index):
    found = distinct_in_top_tens(cascade, index, asked(range(9)))
    works = len(best_tens(range(9), np.arange(WORKS)))
    assert found == {"users": 9, "pool": WORKS, "distinct_works": works, "at_most": 90}


def test_all_users_choose_from_one_pool_drawn_from_the_seed(cascade, index):
    few = distinct_in_top_tens(cascade, index, asked(range(60)), pool=40)
    assert few["pool"] == few["at_most"] == 40 and 10 < few["distinct_works"] <= 40
    drawn = np.random.default_rng(0).choice(WORKS, 40, replace=False)
    assert few["distinct_works"] == len(best_tens(range(60), np.sort(drawn)))


def test_removed_works_are_in_no_pool(cascade, index):
    index.remove(IDS[:395])
    found = distinct_in_top_tens(cascade, index, asked([1, 2]))
    assert found == {"users": 2, "pool": 5, "distinct_works": 5, "at_most": 5}


def test_users_without_vectors_are_refused(cascade, index):
    with pytest.raises(DataError, match="no user has a vector"):
        distinct_in_top_tens(replace(cascade, request_hydrators=()), index, asked([1]))


def test_the_sentence_says_how_many_of_how_many():
    sentence = top_tens_sentence({"users": 400, "pool": 50_000, "distinct_works": 1234, "at_most": 4000})
    assert sentence == (
        "Best ten of 50,000 works by the inner product alone, for 400 users: 1,234 distinct works of 4,000 "
        "at most."
    )
