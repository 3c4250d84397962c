"""Shares exports of torch modules between the tests of this folder."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def exports(shared_exports):
    """Tests of this folder share exports of torch modules."""


@pytest.fixture
def tiny_models():
    """Settings of a training that takes seconds."""
    return {
        "features": {"history_length": 8, "min_count": 3, "dim": 4, "bins": 3},
        "ranker": {"kind": "mmoe", "epochs": 1, "hidden": 8, "experts": 2, "auxiliary": ()},
        "towers": {"epochs": 1, "hidden": 16, "vector": 8},
        "distil": {"list_works": 10, "lists_per_step": 4},
        "shadow": {"works": 20},
        "evaluation": {"baselines": (), "resamples": 5},
    }
