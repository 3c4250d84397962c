"""Examples of the small dataset, and shared exports of torch modules."""

import pytest
from small_settings import SMALL

from karec.learn.fit.prepare import prepare
from karec.samples.examples import build_examples


@pytest.fixture(scope="session", autouse=True)
def exports(shared_exports):
    """Tests of this folder share exports of torch modules."""


@pytest.fixture(scope="module")
def examples(dataset, encoder):
    return build_examples(encoder, dataset.snapshot, dataset.exposures)


@pytest.fixture(scope="module")
def prepared(request, dataset, tmp_path_factory):
    """The small dataset, prepared with SETTINGS of the test module."""
    settings = getattr(request.module, "SETTINGS", SMALL)
    return prepare(dataset, settings, tmp_path_factory.mktemp("prepared"))
