"""Examples of the small dataset, and shared exports of torch modules."""

import pytest

from karec.samples.examples import build_examples


@pytest.fixture(scope="session", autouse=True)
def exports(shared_exports):
    """Tests of this folder share exports of torch modules."""


@pytest.fixture(scope="module")
def examples(dataset, encoder):
    return build_examples(encoder, dataset.snapshot, dataset.exposures)
