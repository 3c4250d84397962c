"""One small bundle for all contracts, and cascades from the text of a karec.toml."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from small_bundle import publish_small_bundle
from step_cases import of_role

from karec.bundle import Bundle
from karec.config import load_cascade
from karec.pipeline.cascade import Cascade

pytest.register_assert_rewrite("step_contract", "checked_index", "online_store")
from step_contract import ADDED, BLOCKED, REMOVED, ROLLED  # noqa: E402


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small bundle (fixtures/small_bundle.py)."""
    root = tmp_path_factory.mktemp("small")
    publish_small_bundle(root, consumed=("like",))
    return root


@pytest.fixture(scope="module")
def bundle(published: Path) -> Bundle:
    """A bundle whose index lacks some items and blocks others. It contains one item that the snapshot
    lacks, and two of the next model version, which has no user tower."""
    bundle = Bundle.open(published / "bundles")
    index = bundle.index
    columns = {name: column[:1] for name, column in index.columns.items()}
    index.upsert([ADDED], index.embeddings([0]) + 0.25, columns, model_version=index.model_version)
    rows = index.lookup(ROLLED)
    columns = {name: column[rows] for name, column in index.columns.items()}
    index.upsert(ROLLED, -index.embeddings(rows), columns, model_version=index.model_version + 1)
    index.remove(REMOVED)
    index.block(BLOCKED)
    return bundle


@pytest.fixture
def build(bundle: Bundle, tmp_path: Path) -> Iterator[Callable[[str], Cascade]]:
    """Returns a function: text of a scene → its cascade, closed at the end.

    Exposure control has items to explore and counts no pages, so that equal requests get equal pages.
    """
    built: list[Cascade] = []

    def of(text: str) -> Cascade:
        path = tmp_path / "karec.toml"
        path.write_text(text)
        cascade = load_cascade(path, "home", bundle)
        if cascade.exposure is not None:
            cascade.exposure.restore(None, bundle.snapshot.time_ms)
            queues = (q for q in cascade.side_effects if q.side_effect.name != "exposure_counter")
            cascade = replace(cascade, side_effects=tuple(queues))
        built.append(cascade)
        return cascade

    yield of
    for cascade in built:
        cascade.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a contract test with the argument ``use`` for every step of the contract's role."""
    role = getattr(metafunc.cls, "role", None)
    if role is not None and "use" in metafunc.fixturenames:
        metafunc.parametrize("use", of_role(role))
