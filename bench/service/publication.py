"""Measures what a publication and a training compute from all users on one machine.

    python bench/service/publication.py --users 20000 60000

Communities (``karec.refresh.communities``): each user follows 6 users and has 6 friends, 80 % of them of a
group of 200 users, and enjoyed 30 works. Co-watch vectors and ALS factors (``karec.learn.fit.cowatch``): one
moment of 50 events a user. Works are as many as users; their popularity is Zipf's. Each line is of its own
process: processor time, edges or events per second of it, and the highest resident memory.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
from numpy.typing import NDArray
from refresh import report  # beside this script

from karec.catalog.relation import Relation
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.evaluate.als import factorize
from karec.learn.fit.als import enjoyed_pairs
from karec.learn.fit.cowatch import decompose_pairs
from karec.refresh.communities import communities

GROUP, SOCIAL, ENJOYED, EVENTS = 200, 6, 30, 50
IN_GROUP = 0.8
RANK, ALS_WEIGHT, ALS_PENALTY = 64, 10, 30


def popular_works(n_works: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Returns (n,) works; the probability of work w is proportional to 1 / (w + 1)."""
    return (np.exp(rng.uniform(0, np.log(n_works + 1), n)) - 1).astype(np.int64)


def social_snapshot(n: int) -> Snapshot:
    rng, ids = np.random.default_rng(0), np.arange(n)

    def lists(values: NDArray[np.int64], size: int) -> Relation:
        return Relation(np.arange(n + 1) * size, values.reshape(-1))

    def neighbours() -> NDArray[np.int64]:
        near = ids[:, None] // GROUP * GROUP + rng.integers(0, GROUP, (n, SOCIAL))
        return np.where(
            rng.random((n, SOCIAL)) < IN_GROUP, np.minimum(near, n - 1), rng.integers(0, n, (n, SOCIAL))
        )

    works = Table(ids, {"creator_id": ids})
    history = popular_works(n, n * ENJOYED, rng)
    relations = {
        "follows": lists(neighbours(), SOCIAL),
        "friends": lists(neighbours(), SOCIAL),
        "history": lists(history, ENJOYED),
    }
    return Snapshot(0, works, Table(ids, {}), relations, {})


def cowatch(n: int) -> None:
    rng = np.random.default_rng(0)
    enjoyed = enjoyed_pairs(np.repeat(np.arange(n), EVENTS), popular_works(n, n * EVENTS, rng))
    user, item = enjoyed.pairs.tocoo().coords
    decompose_pairs(user, item, enjoyed.pairs.shape, RANK, 0)
    factorize(enjoyed.pairs, RANK, ALS_WEIGHT, ALS_PENALTY, seed=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--users", type=int, nargs="+", default=[20_000])
    for n in parser.parse_args().users:
        n_edges = n * (2 * SOCIAL + 4 * ENJOYED)
        report(f"communities of {n:,}", n_edges, lambda n=n: communities(social_snapshot(n)))
        report(f"co-watch of {n:,}", n * EVENTS, partial(cowatch, n))


if __name__ == "__main__":
    main()
