"""A user without events is new, also one that the table of users has."""

from dataclasses import replace

import numpy as np
import pytest
from small_bundle import publish_small_bundle

from karec.bundle import Bundle
from karec.catalog.table import Table
from karec.pipeline.types import Request
from karec.steps.query.user_features import UserFeatures


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return publish_small_bundle(tmp_path_factory.mktemp("small"))


def is_cold(bundle, snapshot, user):
    features = UserFeatures(snapshot, bundle.encoder).hydrate_request(Request(int(user), time_ms=1))
    return bool(features["cold_start"][0])


def test_user_features_mark_every_user_without_events_as_cold_start(bundle):
    snapshot = bundle.snapshot
    known, unknown = int(snapshot.users.ids[0]), 10**12
    assert not is_cold(bundle, snapshot, known) and is_cold(bundle, snapshot, unknown)
    columns = {
        name: np.zeros_like(values) if name.startswith("count_") else values
        for name, values in snapshot.users.columns.items()
    }
    uncounted = replace(snapshot, users=Table(snapshot.users.ids, columns))
    assert not is_cold(bundle, uncounted, known)  # the history has items
    listed_only = replace(uncounted, relations={})
    assert is_cold(bundle, listed_only, known)
